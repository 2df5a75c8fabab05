"""Serves one GGUF file with llama.cpp until its process is ended: `python serve.py SETTINGS PORT`.

A program of its own, run by `server.py`; SETTINGS is the JSON of `settings.ServeSettings`. The
process holds nothing but llama.cpp: its threads share no lock with ours, what it crashes over is
its own, and all of its memory is given back when it ends.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from typing import Any

BINDING, KEY_VARIABLE = "xllamacpp", "RSD_LLAMA_CPP_KEY"


def parameters(params: Any, given: dict[str, Any]) -> Any:
    """The settings in llama.cpp's words."""
    params.model.path = given["file"]
    params.n_parallel, params.n_ctx = given["slots"], given["slots"] * given["context"]
    params.kv_unified = False  # else requests that fit alone can fail together, in the middle
    params.swa_full = True  # a rejected step may go back further than a window
    params.cache_ram_mib = given["cache_mib"]
    params.fit_params = (
        False  # else there is less context than was asked for, where memory is short
    )
    for threads in (params.cpuparams, params.cpuparams_batch):
        threads.n_threads, threads.poll = given["threads"], given["poll"]
    params.n_gpu_layers = given["gpu_layers"]
    if given["hidden_states"]:
        params.embedding = True
        none = importlib.import_module(BINDING).llama_pooling_type.LLAMA_POOLING_TYPE_NONE
        params.pooling_type = none
        params.n_batch = params.n_ubatch = given["context"]  # it reads a sequence in one piece then
    params.endpoint_slots = params.endpoint_props = True
    params.ui = False
    return params


def main(settings: str, port: str) -> None:
    """Serve until a signal ends the process."""
    xllamacpp: Any = importlib.import_module(BINDING)
    params = parameters(xllamacpp.CommonParams(), json.loads(settings))
    params.hostnames, params.port = ["127.0.0.1"], int(port)
    params.api_keys = [os.environ[KEY_VARIABLE]]
    server = xllamacpp.Server(params)
    print(f"serving at {server.listening_address}", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
