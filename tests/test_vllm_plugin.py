from __future__ import annotations

import sys
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
