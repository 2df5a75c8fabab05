"""One llama.cpp process: what it is run with, and what its last words mean."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from rsdecode.backends.llama_cpp import serve
from rsdecode.backends.llama_cpp.settings import ServeSettings
from rsdecode.backends.vllm_server import ServerProcess, State, Watcher
from rsdecode.core.errors import ConfigError, ModelLoadError

SLEEPS = {"GOMP_SPINCOUNT": "0", "OMP_WAIT_POLICY": "passive"}
"""How llama.cpp's threads wait for each other, several hundred times for each token. By themselves
they spin; where another program has one of the cores, two of them then take 5 to 30 times as long
as one alone. Asleep they cost hardly more than one, beside others and beside each other."""
_UNKNOWN_FAMILY = "unknown model architecture"


def require_binding() -> None:
    """See that llama.cpp is there.

    Raises:
        ConfigError: it is not.
    """
    if importlib.util.find_spec(serve.BINDING) is None:
        raise ConfigError(
            "gguf: models run on llama.cpp, which is not installed: pip install "
            "'rsdecode[llamacpp]', or set llamacpp.dequantise (--dequantise) to run them in the "
            "engine with their weights dequantised, slower and larger"
        )


class LlamaServer(ServerProcess):
    """A llama.cpp process and the thread that watches it.

    Args:
        settings: what to serve, and how.
        watcher: is told of crashes.
        logs: folder for its log; None for one of its own, which is kept after a failure.
        ready_timeout_s: how long a start may take.
    """

    tick_s = 0.02

    def __init__(
        self,
        settings: ServeSettings,
        watcher: Watcher,
        *,
        logs: Path | None = None,
        ready_timeout_s: float = 1800.0,
    ) -> None:
        name = Path(settings.file).stem
        self._own_logs = logs is None
        folder = Path(tempfile.mkdtemp(prefix="rsd-llama-")) if logs is None else logs
        folder.mkdir(parents=True, exist_ok=True)
        what = f"llama.cpp with {settings.file}"
        super().__init__(name, what, folder / f"{name}.log", watcher, ready_timeout_s)
        self.settings = settings
        self.key = secrets.token_urlsafe(16)

    def command(self, port: int) -> list[str]:
        """See `ServerProcess`."""
        return [sys.executable, serve.__file__, json.dumps(asdict(self.settings)), str(port)]

    def environment(self) -> dict[str, str]:
        """See `ServerProcess`."""
        waits = {} if SLEEPS.keys() & os.environ.keys() else SLEEPS
        return {serve.KEY_VARIABLE: self.key, **waits}

    def hint(self, told: str) -> str:
        """See `ServerProcess`."""
        if _UNKNOWN_FAMILY in told:
            return " (a newer llama.cpp may know it: pip install -U xllamacpp)"
        return ""

    def wait(self) -> None:
        """Start, and wait until the model is loaded.

        Raises:
            ModelLoadError: it cannot be loaded.
        """
        self.since = time.monotonic()
        self.start()
        try:
            while self.state is State.STARTING:
                time.sleep(self.tick_s)
        except BaseException:
            self.close()
            raise
        if self.state is not State.READY:
            raise self.error or ModelLoadError(f"{self.name} was closed")

    def close(self) -> None:
        """See `ServerProcess`."""
        super().close()
        if self._own_logs and self.error is None and self.epoch == 0:
            shutil.rmtree(self.log.parent, ignore_errors=True)
