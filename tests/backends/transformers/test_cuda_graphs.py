"""With a recorder that computes again; that of CUDA needs a GPU (`python -m benchmarks.gpu`)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.tiny_families import tiny_model
from rsdecode.backends.transformers.cuda_graphs import SEEN, SPAN, recorder_for
from rsdecode.backends.transformers.engine import Engine
from rsdecode.backends.transformers.jobs import Decode, Decoded
from rsdecode.backends.transformers.load import LoadOptions
from rsdecode.backends.transformers.model import LocalModel
from rsdecode.backends.transformers.network import CausalNetwork
from rsdecode.core.errors import ModelLoadError
from rsdecode.core.requests import Sampling
from tests.backends.transformers import tiny


class Again:
    """Records by keeping the function; plays by calling it, into the tensor of the first time.

    As in a graph, what is played sees the fixed tensors alone, and gives the same tensor anew.
    """

    def __init__(self, wrong: float = 0.0) -> None:
        self.recorded: list[tuple[int, ...]] = []
        self.played = 0
        self._wrong = wrong

    def record(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        output = run()
        self.recorded.append(tuple(output.shape))

        def play() -> Tensor:
            self.played += 1
            return output.copy_(run()).add_(self._wrong * torch.randn_like(output))

        return play


class Unable:
    """A device on which nothing can be recorded."""

    def record(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        raise RuntimeError("operation not permitted when stream is capturing")


def engine(model: Any, recorder: Any, slots: int = 5) -> Engine:
    network = CausalNetwork(model)
    return Engine(
        network,
        tokenizer=tiny.tokenizer(),
        eos=frozenset({0}),
        slots=slots,
        max_context=500,
        recorder=recorder,
    )


JOBS = [
    Decode(
        str(i), tuple(range(1, 3 + 11 * i)), 40 - 5 * i, sampling=Sampling(0.7 * (i % 2)), seed=i
    )
    for i in range(7)
]


async def replies(served: Engine, jobs: list[Decode]) -> list[tuple[int, ...]]:
    found = [reply.ids for reply in await served.decode(jobs) if isinstance(reply, Decoded)]
    assert len(found) == len(jobs)
    return found


@pytest.mark.parametrize("family", tiny.CONFIGS)
async def test_tokens_are_those_of_plain_passes(family: str) -> None:
    model, recorder = tiny.causal_model(family), Again()
    plain, graphs = engine(model, None), engine(model, recorder)
    expected = await replies(plain, JOBS)
    assert await replies(graphs, JOBS) == expected
    assert await replies(graphs, JOBS) == expected
    for one, ids in zip(JOBS, expected, strict=True):
        assert await replies(graphs, [one]) == [ids]
    assert recorder.played > 100
    plain.close()
    graphs.close()


async def test_sizes_are_rounded_up_and_recorded_once_they_come_often() -> None:
    recorder = Again()
    served = engine(tiny.causal_model(), recorder)
    await replies(served, [Decode("a", (1, 2), SEEN)])  # the first token is the prompt's
    assert recorder.recorded == []
    await replies(served, [Decode(str(i), (1, 2, 3), 20) for i in range(3)])
    assert {rows for rows, *_ in recorder.recorded} == {4}
    await replies(served, [Decode(str(i), (1, 2, 3), 20) for i in range(5)])
    assert {rows for rows, *_ in recorder.recorded} == {4, 5}  # there are five slots
    served.close()


async def test_a_cache_that_grows_is_recorded_anew() -> None:
    model, recorder = tiny.causal_model(), Again()
    plain, graphs = engine(model, None), engine(model, recorder)
    long = [Decode("a", tuple(1 + i % 200 for i in range(100)), SPAN + 20)]
    assert await replies(graphs, long) == await replies(plain, long)
    assert len(recorder.recorded) >= 3
    plain.close()
    graphs.close()


@pytest.mark.parametrize(
    ("recorder", "reason"),
    [
        (Unable(), "RuntimeError: operation not permitted"),
        (Again(wrong=1.0), "away from those of a plain pass"),
        (Again(wrong=float("nan")), "outputs are nan away from those of a plain pass"),
    ],
)
async def test_what_cannot_be_recorded_rightly_is_left_and_told(
    recorder: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny.causal_model()
    plain, graphs = engine(model, None), engine(model, recorder)
    with caplog.at_level(logging.WARNING):
        assert await replies(graphs, JOBS) == await replies(plain, JOBS)
    told = [record.getMessage() for record in caplog.records]
    assert [reason in line and "CUDA graphs are not used" in line for line in told] == [True]
    assert reason in str(graphs.why_no_graphs)
    assert plain.why_no_graphs is None
    plain.close()
    graphs.close()


async def test_a_plain_pass_that_is_compared_with_is_not_computed_again() -> None:
    model, recorder, passes = tiny.causal_model(), Again(), 0
    served = engine(model, recorder)
    forward = model.forward

    def counting(*args: Any, **options: Any) -> Any:
        nonlocal passes
        passes += 1
        return forward(*args, **options)

    model.forward = counting
    await replies(served, [Decode("a", (1, 2), 20)])
    assert len(recorder.recorded) == 1
    assert passes == 20 + 2  # beside the plain pass: recording it, and playing it to compare
    served.close()


def test_they_need_a_gpu() -> None:
    with pytest.raises(ModelLoadError, match=r"--cuda-graphs need a CUDA device, not cpu: leave"):
        recorder_for(torch.device("cpu"))


def test_a_model_says_why_it_goes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsdecode.backends.transformers.model.recorder_for", lambda _: Again())
    options = LoadOptions(slots=2, cuda_graphs=True)
    told: dict[str, tuple[str, ...]] = {}
    for name, made in (("attends", tiny.causal_model()), ("hybrid", tiny_model("lfm2"))):
        served = LocalModel(made, tiny.tokenizer(), options, name=name)
        told[name] = served.notes
        served.close()
    reason = "hybrid: CUDA graphs are not used: its layers have a state"
    assert told == {"attends": (), "hybrid": (reason,)}
