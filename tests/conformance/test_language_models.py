"""What every local language model must do, whatever runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rsdecode.backends.transformers.model import load_model
from rsdecode.core.errors import RsdError
from rsdecode.core.protocols import Caching, Choose, Chooser, Chosen, Closeable, Sized, Streamer
from rsdecode.core.requests import Failed, Generate, Generated, Sampling
from rsdecode.core.segment import PARAGRAPH, WHOLE_ANSWER, Boundary
from rsdecode.core.types import Context, FinishReason, Message, Role, Segment
from tests.rewards import tiny


def engine(folder: Path) -> Any:
    return load_model(str(tiny.save_causal(folder)[0]), tiny.OPTIONS)


def llama_cpp(folder: Path) -> Any:
    pytest.importorskip("gguf")
    pytest.importorskip("xllamacpp")
    from rsdecode.backends.llama_cpp import LlamaCppOptions, load_llama_cpp
    from tests.backends.llama_cpp import tiny_gguf

    options = LlamaCppOptions(slots=4, max_context=512, threads=1)
    return load_llama_cpp(tiny_gguf.write(folder / "tiny.gguf"), options)


MODELS: dict[str, Callable[[Path], Any]] = {"engine": engine, "llama.cpp": llama_cpp}
BOUNDARIES = (WHOLE_ANSWER, Boundary(stops=("e", "a")), Boundary(tokens=5))


@pytest.fixture(scope="module", params=MODELS)
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("model")
    return lambda: MODELS[request.param](folder)


@pytest.fixture(scope="module")
def model(make):
    made = make()
    yield made
    made.close()


def ask(i: int, boundary: Boundary = WHOLE_ANSWER, temperature: float = 0.0) -> Generate:
    context = Context((Message("user", f"Question {i}?" + " It is long." * (i % 3)),))
    sampling = Sampling(temperature)
    return Generate(Role.DRAFT, context, 6 + i % 5, boundary, sampling, i, f"session {i}")


def test_it_has_the_seams_of_local_models(model):
    for seam in (Streamer, Chooser, Caching, Closeable, Sized):
        assert isinstance(model, seam), seam


@pytest.mark.parametrize("boundary", BOUNDARIES, ids=["answer", "stops", "tokens"])
async def test_replies_have_the_order_of_the_requests_and_keep_their_limits(model, boundary):
    asked = [ask(i, boundary, 0.8) for i in range(9)]
    replies = await model.generate(asked)
    for request, reply in zip(asked, replies, strict=True):
        assert isinstance(reply, Generated)
        ids = reply.segment.tokens.ids
        assert len(ids) <= reply.usage.decoded_tokens
        assert len(ids) <= (boundary.tokens or request.max_tokens)
        if reply.finish_reason is FinishReason.STOP and boundary.stops:
            assert any(stop in reply.segment.text for stop in boundary.stops)
        if reply.finish_reason is FinishReason.STEP_LIMIT:
            assert reply.usage.decoded_tokens == request.max_tokens
    assert await model.generate([]) == []


async def test_an_answer_in_steps_is_the_answer_in_one(model):
    request = replace(ask(1), max_tokens=16)
    [whole] = await model.generate([request])
    segments: list[Segment] = []
    while True:
        context = replace(request.context, answer=tuple(segments))
        [step] = await model.generate(
            [replace(request, context=context, boundary=Boundary(tokens=4), max_tokens=4)]
        )
        segments.append(step.segment)
        if sum(len(s.tokens.ids) for s in segments) >= 16 or step.finish_reason is FinishReason.EOS:
            break
    ids = [i for s in segments for i in s.tokens.ids]
    assert ids[: len(whole.segment.tokens.ids)] == list(whole.segment.tokens.ids)


async def test_a_continued_session_reads_only_what_is_new(model):
    request = replace(ask(2), session="growing")
    [first] = await model.generate([request])
    context = replace(request.context, answer=(first.segment,))
    [second] = await model.generate([replace(request, context=context)])
    read = first.usage.prefill_tokens + first.usage.cached_tokens
    assert second.usage.cached_tokens >= read
    assert second.usage.prefill_tokens <= 2


async def test_what_is_shown_is_what_is_replied(model):
    shown = dict.fromkeys(range(4), "")

    def show(place: int, text: str) -> None:
        shown[place] += text

    replies = await model.stream([ask(i, PARAGRAPH) for i in range(4)], show)
    for place, reply in enumerate(replies):
        assert shown[place].startswith(reply.segment.text)


async def test_choices_sum_to_one_and_a_choice_must_be_a_token(model):
    asked = [
        Choose((Message("user", "a or b?"),), ("a", "b"), "judge"),
        Choose((Message("user", "a or b?"),), ("a", "no single token"), "judge"),
    ]
    chosen, failed = await model.choose(asked)
    assert isinstance(chosen, Chosen)
    assert sum(chosen.probabilities) == pytest.approx(1.0)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, RsdError)


async def test_text_that_is_not_unicode_harms_nobody_else(model):
    broken = replace(ask(3), context=Context((Message("user", "\ud800"),)))
    first, _, third = await model.generate([ask(0), broken, ask(1)])
    assert isinstance(first, Generated)
    assert isinstance(third, Generated)


async def test_closing_twice_is_safe_and_a_closed_model_does_not_hang(make):
    model = make()
    model.close()
    model.close()
    [reply] = await asyncio.wait_for(model.generate([ask(0)]), timeout=20)
    assert isinstance(reply, Failed)


def test_describe_is_text_for_people(model):
    assert all(isinstance(value, str) and value for value in model.describe().values())
