from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rsdecode.backends.vllm_server import Footprint, Machine, ServerPlan, ServerSpec, plan

MIB = 2**20
FAKE = Path(__file__).with_name("fake_vllm.py")
Behave = Callable[..., None]


class Notebook:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.statuses: list[str] = []
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def status(self, text: str) -> None:
        self.statuses.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def vllm(tmp_path: Path) -> str:
    """A `vllm` command that needs no vLLM."""
    command = tmp_path / "bin" / "vllm"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{FAKE}" "$@"\n')
    command.chmod(0o755)
    return str(command)


@pytest.fixture
def behave(monkeypatch: pytest.MonkeyPatch) -> Behave:
    """behave(draft={"start_s": 1}) says what fake servers do."""

    def tell(**servers: dict[str, Any]) -> None:
        monkeypatch.setenv("FAKE_VLLM", json.dumps(servers))

    return tell


def footprint(weight_mib: int = 100, *, heads: int = 8, context: int = 4096) -> Footprint:
    return Footprint(weight_mib * MIB, 1024, context, heads, "Qwen2ForCausalLM")


def plans(*names: str) -> list[ServerPlan]:
    """Small servers on the processors."""
    specs = [ServerSpec(name, f"models/{name}", footprint()) for name in names]
    return plan(specs, Machine(cores=2, memory_bytes=2**33))


def ask(url: str, path: str) -> Any:
    address = url.removesuffix("/v1") + path
    with urllib.request.urlopen(address, timeout=10) as reply:
        return json.load(reply)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pids: list[int], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(alive, pids))


def eventually(condition: Callable[[], object], within_s: float = 15.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc")
