from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from rsdecode.backends.transformers.engine import Engine
from rsdecode.backends.transformers.guesses import MISSES, WINDOW, Guess
from rsdecode.backends.transformers.jobs import Decode, Decoded
from rsdecode.backends.transformers.network import CausalNetwork
from rsdecode.core.cost import attended_tokens
from rsdecode.core.requests import Failed, Sampling
from rsdecode.core.segment import parse_boundary
from rsdecode.core.types import FinishReason, Usage
from tests.backends.transformers import tiny

SENTENCE = parse_boundary("sentence")


class Counting:
    """A network that counts its passes."""

    def __init__(self, model: Any) -> None:
        self.network = CausalNetwork(model)
        self.passes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.passes += 1
        return self.network.forward(*args, **kwargs)


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny.causal_model()


def engine_of(network: Any) -> Engine:
    eos = frozenset({0})
    return Engine(network, tokenizer=tiny.tokenizer(), eos=eos, slots=4, max_context=200)


async def write(model: Any, *jobs: Decode) -> tuple[list[Decoded], int]:
    network = Counting(model)
    engine = Engine(
        network, tokenizer=tiny.tokenizer(), eos=frozenset({0}), slots=4, max_context=200
    )
    try:
        replies = await engine.decode(jobs)
    finally:
        engine.close()
    assert not any(isinstance(reply, Failed) for reply in replies)
    return list(replies), network.passes  # type: ignore[arg-type]


def job(place: int, guess: tuple[int, ...] = (), temperature: float = 0.0, **more: Any) -> Decode:
    ids = tuple(range(10 + place, 20 + 2 * place))
    more = {"max_tokens": 40, "boundary": parse_boundary("tokens:30")} | more
    return Decode(
        f"s{place}",
        ids,
        sampling=Sampling(temperature),
        seed=place,
        guess=guess,
        logprobs=True,
        **more,
    )


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("agreement", [0.0, 0.5, 0.7, 1.0])
async def test_a_guess_changes_no_reply(model: Any, temperature: float, agreement: float) -> None:
    """Nor does its length, nor what else is in the batch."""
    plain, _ = await write(model, *(job(place, temperature=temperature) for place in range(4)))
    draw = random.Random(3)
    jobs = list[Decode]()
    for place, reply in enumerate(plain):
        guess = [t if draw.random() < agreement else draw.randrange(1, 250) for t in reply.ids]
        guess = [*guess, 5, 6, 7][: 33 - 9 * place]
        jobs.append(job(place, tuple(guess), temperature=temperature))
    guessed, _ = await write(model, *jobs)
    for a, b in zip(plain, guessed, strict=True):
        assert (a.ids, a.text, a.finish_reason, a.end) == (b.ids, b.text, b.finish_reason, b.end)
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


async def test_the_cache_holds_what_was_written(model: Any) -> None:
    """What follows a guessed step reuses it, and is what it is without."""
    [plain], _ = await write(model, job(0))
    wrong = (*plain.ids[:9], 99, *plain.ids[10:])
    network = CausalNetwork(model)
    engine = Engine(
        network, tokenizer=tiny.tokenizer(), eos=frozenset({0}), slots=2, max_context=200
    )
    for guess in (plain.ids, wrong):
        [first] = await engine.decode([job(0, guess)])
        assert isinstance(first, Decoded)
        ids = (*job(0).ids, *first.ids)
        [second] = await engine.decode([Decode("s0", (*ids, 7), 12)])
        [alone] = await engine.decode([Decode("other", (*ids, 7), 12)])
        assert isinstance(second, Decoded)
        assert isinstance(alone, Decoded)
        assert second.ids == alone.ids
        assert second.usage.cached_tokens >= len(ids) - 1
    engine.close()


async def test_passes_and_the_ledger(model: Any) -> None:
    [plain], passes = await write(model, job(0))
    assert len(plain.ids) == 30
    assert passes == 30
    [right], fewer = await write(model, job(0, plain.ids))
    assert fewer == 1 + -(-29 // (WINDOW + 1))
    usage = right.usage
    assert usage.decoded_tokens == fewer
    assert usage.verified_tokens == 28  # two passes wrote one more than they read
    assert usage.accepted_tokens == 27  # from the last token nothing follows
    assert usage.prefill_tokens == plain.usage.prefill_tokens + usage.verified_tokens
    computed = usage.prefill_tokens + usage.decoded_tokens - 1
    assert usage.attended_tokens == attended_tokens(0, computed)


async def in_parts(
    model: Any, whole: Decode, guesses: Callable[[int], tuple[int, ...]]
) -> tuple[list[Decoded], int]:
    """A step written by jobs that pause; `guesses` gives what follows so many of its tokens."""
    network, ids = Counting(model), tuple[int, ...]()
    engine, parts = engine_of(network), list[Decoded]()
    try:
        while not parts or parts[-1].finish_reason is FinishReason.STEP_LIMIT:
            job = replace(
                whole,
                ids=(*whole.ids, *ids),
                begun=len(ids),
                guess=guesses(len(ids)),
                pauses=True,
            )
            [part] = await engine.decode([job])
            assert isinstance(part, Decoded)
            assert part.ids[: len(ids)] == ids
            parts.append(part)
            ids = part.ids
            if len(ids) >= whole.max_tokens:
                break
    finally:
        engine.close()
    return parts, network.passes


@pytest.mark.parametrize("name", ["qwen2", "mistral-sliding"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("limits", [{}, {"max_tokens": 17}, {"boundary": SENTENCE}])
async def test_a_step_in_parts_is_the_step_in_one_piece(
    name: str, temperature: float, limits: dict[str, Any]
) -> None:
    """Its text, its log-probabilities and what it cost, whatever was guessed."""
    model, draw = tiny.causal_model(name), random.Random(5)
    for place in range(3):
        asked = job(place, temperature=temperature, told=2, **limits)
        [plain], _ = await write(model, asked)

        def guesses(at: int, ids: tuple[int, ...] = plain.ids) -> tuple[int, ...]:
            ahead = ids[at : at + draw.randrange(9)]
            return tuple(t if draw.random() < 0.7 else draw.randrange(1, 250) for t in ahead)

        parts, passes = await in_parts(model, asked, guesses)
        last = parts[-1]
        assert len(parts) > 1 or len(plain.ids) == 1
        same = (plain.ids, plain.text, plain.finish_reason, plain.end)
        assert (last.ids, last.text, last.finish_reason, last.end) == same
        logprobs = [logprob for part in parts for logprob in part.logprobs or ()]
        assert logprobs == pytest.approx(plain.logprobs, abs=1e-4)
        told = [token.text for part in parts for token in part.told or ()]
        assert told == [token.text for token in plain.told or ()]
        usage = sum((part.usage for part in parts), Usage())
        assert usage.decoded_tokens == passes
        assert usage.decoded_tokens + usage.accepted_tokens == plain.usage.decoded_tokens
        computed = usage.prefill_tokens + usage.decoded_tokens - usage.calls
        right = plain.usage.prefill_tokens + plain.usage.decoded_tokens - 1
        assert computed == right + usage.verified_tokens - usage.accepted_tokens


async def test_a_pause_comes_where_nothing_is_guessed_any_more(model: Any) -> None:
    [plain], _ = await write(model, job(0))
    wrong = (*plain.ids[:4], plain.ids[4] + 1, *plain.ids[5:8])
    for guess, written in ((plain.ids[:6], 7), (wrong, 5), ((), 1), ((1, 1), 1)):
        [part], passes = await write(model, replace(job(0), guess=guess, pauses=True))
        assert part.ids == plain.ids[:written]
        assert part.finish_reason is FinishReason.STEP_LIMIT
        assert part.usage.decoded_tokens == passes
    whole = replace(job(0), guess=plain.ids, pauses=True)
    [end], _ = await write(model, whole)
    assert (end.ids, end.finish_reason) == (plain.ids, FinishReason.STOP)


async def test_a_step_that_fills_the_context_ends_there(model: Any) -> None:
    asked = Decode("s", tuple(range(1, 191)), 40, guess=(5, 6, 7), pauses=True)
    [plain], _ = await write(model, replace(asked, guess=(), pauses=False))
    parts, _ = await in_parts(model, asked, lambda at: plain.ids[at : at + 2])
    assert (parts[-1].ids, parts[-1].finish_reason) == (plain.ids, FinishReason.LENGTH)


async def test_agreement_on_seven_of_ten_tokens_halves_the_passes(model: Any) -> None:
    draw = random.Random(0)
    plain, _ = await write(model, *(job(place) for place in range(4)))
    total = fewer = 0
    for place, reply in enumerate(plain):
        guess = tuple(t if draw.random() < 0.7 else draw.randrange(1, 250) for t in reply.ids)
        total += (await write(model, job(place)))[1]
        fewer += (await write(model, job(place, guess)))[1]
    assert fewer <= total / 2


async def test_a_wrong_guess_is_given_up(model: Any) -> None:
    [plain], passes = await write(model, job(0))
    guess = tuple(1 + (token + 100) % 200 for token in plain.ids)
    [reply], more = await write(model, job(0, guess))
    assert reply.ids == plain.ids
    assert more == passes
    assert reply.usage.verified_tokens <= MISSES * WINDOW
    assert reply.usage.accepted_tokens == 0


async def test_limits_hold_within_a_guess(model: Any) -> None:
    [plain], _ = await write(model, job(0, max_tokens=11))
    [guessed], _ = await write(model, job(0, (await write(model, job(0)))[0][0].ids, max_tokens=11))
    assert guessed.ids == plain.ids
    assert guessed.finish_reason is plain.finish_reason
    long = Decode("s", tuple(range(1, 191)), 40, guess=tuple(range(20, 60)))
    [cut], _ = await write(model, long)
    [same], _ = await write(model, Decode("s", tuple(range(1, 191)), 40))
    assert (cut.ids, cut.finish_reason) == (same.ids, same.finish_reason)


def test_a_guess_goes_on_behind_another_token() -> None:
    guess = Guess([1, 2, 3, 4, 5])
    assert guess.go_on(0, 0, 1)
    assert guess.window(10) == [2, 3, 4, 5]
    assert not guess.go_on(4, 1, 9)  # 2 was right, another token came for 3
    assert guess.window(10) == [4, 5]
    assert guess.window(2) == [4]
    assert guess.window(1) == []
