from __future__ import annotations

import sys
import time
import tomllib
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

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


def registered(
    monkeypatch: pytest.MonkeyPatch, registry: Registry, **content: object
) -> dict[str, str]:
    """What vLLM knows after it has loaded its entry points."""
    vllm = ModuleType("vllm")
    vars(vllm).update(content, ModelRegistry=registry)
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


class Socket:
    """Stands for ZeroMQ's."""

    def __init__(self) -> None:
        self.options: dict[str, int] = {}

    def setsockopt(self, option: str, value: int) -> None:
        self.options[option] = value


class SpinCondition:
    """Stands for vLLM's."""

    busy_loop_s = 1.0

    def __init__(self, is_reader: bool, notify_address: str) -> None:
        self.last_read = 0.0
        self.address = notify_address
        self.local_notify_socket = Socket()

    def record_read(self) -> None:
        self.last_read = time.monotonic()


def condition_class(monkeypatch: pytest.MonkeyPatch) -> type[SpinCondition]:
    """What the plugin makes of vLLM's condition."""
    condition = type("Condition", (SpinCondition,), {})
    communicator(monkeypatch, SpinCondition=condition, zmq=SimpleNamespace(XPUB_NODROP="nodrop"))
    registered(monkeypatch, Registry())
    return condition


def communicator(monkeypatch: pytest.MonkeyPatch, **content: object) -> None:
    """Stands for the module in which vLLM's processes wait."""
    place = "vllm.distributed.device_communicators"
    for name in ("vllm.distributed", place, f"{place}.shm_broadcast"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    vars(sys.modules[f"{place}.shm_broadcast"]).update(content)


def spins_for(condition: SpinCondition) -> float:
    """For how long a process looks for the next message."""
    before = time.monotonic()
    condition.record_read()
    return condition.last_read + condition.busy_loop_s - before


def test_processes_wait_as_vllm_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RSD_VLLM_SPIN_S", raising=False)
    made = condition_class(monkeypatch)(is_reader=False, notify_address="a")
    assert spins_for(made) == pytest.approx(1.0, abs=0.1)
    assert not made.local_notify_socket.options


def test_processes_spin_as_long_as_they_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSD_VLLM_SPIN_S", "0.25")
    made = condition_class(monkeypatch)(True, notify_address="a")
    assert spins_for(made) == pytest.approx(0.25, abs=0.1)
    assert made.address == "a"


def test_who_sleeps_is_woken_by_every_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSD_VLLM_SPIN_S", "0.25")
    condition = condition_class(monkeypatch)
    options = [condition(reads, notify_address="a").local_notify_socket for reads in (True, False)]
    assert [socket.options for socket in options] == [{}, {"nodrop": 1}]


@pytest.mark.parametrize("content", [None, {"SpinTimer": object}])
def test_a_vllm_that_waits_in_another_way_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, content: dict[str, object] | None
) -> None:
    monkeypatch.setenv("RSD_VLLM_SPIN_S", "0.25")
    if content is not None:
        communicator(monkeypatch, **content)
    assert "Qwen2ForPrmModel" in registered(monkeypatch, Registry())


class Parameters:
    """Stands for vLLM's parameters of one pooling request."""

    skip_reading_prefix_cache: bool | None = None
    step_tag_id: int | None = None

    def __init__(self, task: str) -> None:
        self.task = task

    def verify(self, model_config: object) -> None:
        self.skip_reading_prefix_cache = self.task == "token_classify"
        self.step_tag_id = 7


def verified(
    monkeypatch: pytest.MonkeyPatch, task: str, base: type[Any] = Parameters
) -> tuple[bool | None, int | None]:
    """Whether a request of this task skips the cache, and the mark whose rows it wants."""
    parameters = type("PoolingParams", (base,), {})
    registered(monkeypatch, Registry(), PoolingParams=parameters)
    made = parameters(task)
    made.verify(object())
    return made.skip_reading_prefix_cache, made.step_tag_id


@pytest.mark.parametrize("value", [None, "0", "1"])
def test_token_classifiers_continue_prefixes_when_they_are_told_to(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("RSD_VLLM_PREFIX_CACHE", raising=False)
    if value is not None:
        monkeypatch.setenv("RSD_VLLM_PREFIX_CACHE", value)
    expected = (False, None) if value == "1" else (True, 7)
    assert verified(monkeypatch, "token_classify") == expected
    assert verified(monkeypatch, "classify") == (False, 7)


def test_a_vllm_whose_classifiers_know_no_prefix_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    class Older:
        def __init__(self, task: str) -> None:
            self.task = task

    monkeypatch.setenv("RSD_VLLM_PREFIX_CACHE", "1")
    registered(monkeypatch, Registry(), PoolingParams=Older)
    assert not hasattr(Older, "verify")
    assert "Qwen2ForPrmModel" in registered(monkeypatch, Registry())
