"""How many threads passes take, and that nobody else's number changes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from rsdecode.backends.transformers.engine import Engine  # noqa: E402
from rsdecode.backends.transformers.jobs import Decode  # noqa: E402
from rsdecode.backends.transformers.network import CausalNetwork  # noqa: E402
from rsdecode.backends.transformers.threads import SMALL, VARIABLE, team  # noqa: E402
from tests.backends.transformers import tiny  # noqa: E402

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_a_small_model_takes_one_and_another_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # what joblib reads besides cgroups
    assert team(CPU, SMALL - 1) == 1
    assert team(CPU, SMALL) == 1
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT")
    assert (team(CPU, SMALL) or 0) >= 1
    assert team(CPU, SMALL - 1, wanted=3) == 3
    assert team(GPU, SMALL) is None


def test_the_users_variable_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "2")
    assert team(CPU, 1) is None
    assert team(CPU, 1, wanted=1) == 1


def in_a_thread(call: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


async def test_passes_take_the_threads_that_are_set_and_others_keep_theirs() -> None:
    seen: set[int] = set()

    class Counting(CausalNetwork):
        def forward(self, *given: Any, **options: Any) -> Any:
            seen.add(torch.get_num_threads())
            return super().forward(*given, **options)

    before = torch.get_num_threads(), in_a_thread(torch.get_num_threads)
    wanted = max(before) + 1
    model = tiny.causal_model("qwen2")
    engine = Engine(Counting(model), tokenizer=tiny.tokenizer(), max_context=64, threads=wanted)
    try:
        await engine.decode([Decode("", (1, 2, 3), 4)])
    finally:
        engine.close()
    assert seen == {wanted}
    assert (torch.get_num_threads(), in_a_thread(torch.get_num_threads)) == before
