"""Stands in for the `vllm` command: serves what rsd asks of it, and dies when it is told to.

It behaves as the environment variable FAKE_VLLM says, a JSON object by served name:

    start_s     seconds until it answers
    refuse      print this and exit with 1 instead
    deaf        go on after SIGTERM
    once        file: behave like this only if it does not exist yet, and make it

Like vLLM it has a helper process in its own process group. GET /die ends it at once, the helper
left alone; GET /stats gives its command line and process ids.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HELPER = "import signal, time; {} time.sleep(600)"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


class Handler(BaseHTTPRequestHandler):
    helper: subprocess.Popen[bytes]

    def do_GET(self) -> None:
        if self.path == "/die":
            print("ValueError: told to die", flush=True)
            os._exit(3)
        if self.path == "/stats":
            pids = [os.getpid(), self.helper.pid]
            environment = {k: v for k, v in os.environ.items() if k.startswith(("VLLM", "CUDA"))}
            self._reply({"argv": sys.argv[1:], "pids": pids, "environment": environment})
        else:
            self._reply({})

    def _reply(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def behaviour(name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(os.environ.get("FAKE_VLLM", "{}")).get(name, {})
    if once := told.get("once"):
        if Path(once).exists():
            return {}
        Path(once).touch()
    return told


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.add_argument("model")
    parser.add_argument("--port", type=int)
    parser.add_argument("--host")
    parser.add_argument("--served-model-name")
    options, _ = parser.parse_known_args()
    told = behaviour(options.served_model_name)
    print("loading", options.model, flush=True)
    if "refuse" in told:
        print(told["refuse"], flush=True)
        return 1
    if told.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    source = HELPER.format(DEAF if told.get("deaf") else "")
    Handler.helper = subprocess.Popen([sys.executable, "-IS", "-c", source])
    time.sleep(told.get("start_s", 0))
    ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
