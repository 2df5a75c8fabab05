from __future__ import annotations

import math

import pytest

from rsdecode.core.requests import (
    Announce,
    Generate,
    Generated,
    Sampling,
    Score,
    Scored,
    generate,
    score,
    tell,
)
from rsdecode.core.types import (
    Context,
    FinishReason,
    Message,
    Role,
    Segment,
    Step,
    Tokens,
    Usage,
)

CONTEXT = Context((Message("user", "q"),))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("temperature", -0.1, "temperature -0.1 must be a number >= 0"),
        ("temperature", math.nan, "temperature nan"),
        ("temperature", math.inf, "temperature inf"),
        ("top_p", 0.0, r"top_p 0.0 must be in \(0, 1\]"),
        ("top_p", 1.1, "top_p 1.1"),
        ("top_p", math.nan, "top_p nan"),
        ("top_k", -1, "top_k -1 must be >= 0"),
    ],
)
def test_sampling_out_of_range(name: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**{name: value})


def test_sampling_in_range() -> None:
    assert Sampling() == Sampling(0.0, 1.0, 0)
    assert Sampling(0.7, 0.9, 40).top_k == 40


def test_tokens_of_a_reply_are_its_ids_where_known() -> None:
    usage = Usage(decoded_tokens=5)
    with_ids = Generated(Segment("ab", Tokens("v", (1, 2, 3))), FinishReason.STOP, usage)
    assert with_ids.token_count == 3
    assert Generated(Segment("ab"), FinishReason.STOP, usage).token_count == 5


def test_helpers_pass_requests_out_and_replies_back() -> None:
    ask = Generate(Role.DRAFT, CONTEXT, 8)
    asking = generate([ask])
    assert next(asking) == [ask]
    reply = Generated(Segment("a"), FinishReason.EOS)
    with pytest.raises(StopIteration) as done:
        asking.send([reply])
    assert done.value.value == [reply]

    scoring = score([Score(CONTEXT, (Segment("a"),))])
    assert next(scoring) == [Score(CONTEXT, (Segment("a"),))]
    with pytest.raises(StopIteration) as done:
        scoring.send([Scored((0.5,))])
    assert done.value.value == [Scored((0.5,))]

    step = Step(Segment("a"), Role.DRAFT, FinishReason.EOS)
    assert list(tell(step)) == [[Announce(step)]]
