from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from rsdecode.backends.transformers.engine import Engine
from rsdecode.backends.transformers.guesses import MISSES, WINDOW, Guess
from rsdecode.backends.transformers.jobs import Decode, Decoded
from rsdecode.backends.transformers.network import CausalNetwork
from rsdecode.core.requests import Failed, Sampling
from rsdecode.core.segment import parse_boundary
from tests.backends.transformers import tiny


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
    assert usage.accepted_tokens == usage.verified_tokens
    assert usage.decoded_tokens + usage.accepted_tokens == plain.usage.decoded_tokens
    assert usage.prefill_tokens == plain.usage.prefill_tokens + usage.verified_tokens
    assert usage.attended_tokens == pytest.approx(plain.usage.attended_tokens, abs=100)


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
    guess.go_on(0, 0)
    assert guess.window(10) == [2, 3, 4, 5]
    guess.go_on(4, 1)  # 2 was right, another token came for 3
    assert guess.window(10) == [4, 5]
    assert guess.window(2) == [4]
    assert guess.window(1) == []
