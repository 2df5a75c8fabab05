from __future__ import annotations

import sys
import time
import tomllib
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


class Registry:
    """Stands for vLLM's."""

    def __init__(self, *known: str) -> None:
        self.models = dict.fromkeys(known, "vLLM's own")

    def get_supported_archs(self) -> list[str]:
        return list(self.models)

    def register_model(self, architecture: str, place: str) -> None:
        self.models[architecture] = place


def registered(monkeypatch: pytest.MonkeyPatch, registry: Registry) -> dict[str, str]:
    """What vLLM knows after it has loaded its entry points."""
    vllm = ModuleType("vllm")
    monkeypatch.setattr(vllm, "ModelRegistry", registry, raising=False)
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["entry-points"]["vllm.general_plugins"]["rsdecode"].partition(":")
    getattr(import_module(module), name)()
    return registry.models


def test_skywork_is_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    place = registered(monkeypatch, Registry())["Qwen2ForPrmModel"]
    module, _, name = place.partition(":")
    source = ROOT / "src" / Path(*module.split(".")).with_suffix(".py")
    assert f"class {name}(" in source.read_text(encoding="utf-8")


def test_vllms_own_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    known = registered(monkeypatch, Registry("Qwen2ForPrmModel"))
    assert known == {"Qwen2ForPrmModel": "vLLM's own"}


class SpinCondition:
    """Stands for vLLM's."""

    busy_loop_s = 1.0
    last_read = 0.0

    def record_read(self) -> None:
        self.last_read = time.monotonic()


def spins_for(monkeypatch: pytest.MonkeyPatch) -> float:
    """For how long a process looks for the next message, with the plugin registered."""
    place = "vllm.distributed.device_communicators"
    names = [place.rpartition(".")[0], place, f"{place}.shm_broadcast"]
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    condition = type("Condition", (SpinCondition,), {})
    monkeypatch.setattr(sys.modules[place], "shm_broadcast", sys.modules[names[-1]], raising=False)
    monkeypatch.setattr(sys.modules[names[-1]], "SpinCondition", condition, raising=False)
    registered(monkeypatch, Registry())
    waiting = condition()
    before = time.monotonic()
    waiting.record_read()
    return waiting.last_read + waiting.busy_loop_s - before


def test_processes_spin_as_long_as_they_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RSD_VLLM_SPIN_S", raising=False)
    assert spins_for(monkeypatch) == pytest.approx(1.0, abs=0.1)
    monkeypatch.setenv("RSD_VLLM_SPIN_S", "0.25")
    assert spins_for(monkeypatch) == pytest.approx(0.25, abs=0.1)


def test_a_vllm_that_waits_in_another_way_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSD_VLLM_SPIN_S", "0.25")
    assert "Qwen2ForPrmModel" in registered(monkeypatch, Registry())
