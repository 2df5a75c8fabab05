"""A llama.cpp server for tests: `python serve.py FILE [SLOTS] [CONTEXT]` says its address.

One thread: llama.cpp's spin while they wait. It ends with its standard input.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

SLOTS, CONTEXT = 4, 1024


def main(file: str, slots: int = SLOTS, context: int = CONTEXT) -> None:
    """Serve the model in `file` with so many slots of so many tokens each."""
    xllamacpp: Any = importlib.import_module("xllamacpp")

    params = xllamacpp.CommonParams()
    params.model.path = file
    params.n_parallel, params.n_ctx, params.kv_unified = slots, slots * context, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.port = 0
    params.endpoint_slots = params.endpoint_metrics = True
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
