from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsdecode.config import RunConfig, load_config
from rsdecode.models.abacus import model_path

ROOT = Path(__file__).parents[3]
WANTED = "RSD_TEST_VLLM"
MARK = "RSD_TEST_VLLM_MARK"
"""A variable that every process of a test inherits, so that none of them is overlooked."""


@pytest.fixture(scope="session", autouse=True)
def vllm() -> Iterator[str]:
    """The `vllm` command of the environment that `make test-vllm` keeps."""
    folder = Path(os.environ.get(WANTED, ""))
    if WANTED not in os.environ:
        pytest.skip("starts real vLLM servers: make test-vllm")
    if (folder / "reason").exists():
        pytest.skip((folder / "reason").read_text().strip())
    command = folder / "bin" / "vllm"
    if not command.exists():
        pytest.skip(f"there is no vLLM in {folder}: make test-vllm installs it")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSD_VLLM", str(command.absolute()))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv(MARK, f"{os.getpid()}-{time.time_ns()}")
        yield str(command)


def family(**overrides: object) -> RunConfig:
    """The embedded family behind vLLM servers, in float32."""
    places = {role: f"vllm:{model_path(role)}" for role in ("draft", "target", "prm")}
    settings = {
        "draft": places["draft"],
        "target": places["target"],
        "reward.spec": places["prm"],
        "prompt.system": None,
        "engine.dtype": "float32",
    }
    return load_config(overrides=settings | {k.replace("__", "."): v for k, v in overrides.items()})


def left_over(mark: str) -> list[str]:
    """Command lines of the processes that carry the mark, this one left out."""
    found: list[str] = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_text().replace("\0", " ")[:200])
        except OSError:
            continue
    return found
