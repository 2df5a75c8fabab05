from __future__ import annotations

import pytest

from rsdecode.core.cost import ModelShape, paper_flops
from rsdecode.core.types import (
    FinishReason,
    Ledger,
    Problem,
    Role,
    Segment,
    Step,
    Trajectory,
    Usage,
)
from rsdecode.server.accounts import TokenCounts, count_tokens, flops_record, usage_record

SMALL, LARGE = ModelShape(100, 1, 8, 8, 16), ModelShape(1000, 2, 16, 16, 16)
STEPS = tuple(
    Step(Segment("x"), Role.DRAFT, FinishReason.STOP, token_count=count) for count in (5, 7)
)


def trajectory(**usage: Usage) -> Trajectory:
    return Trajectory(Problem.ask("?"), STEPS, FinishReason.EOS, Ledger(**usage))


def test_a_prompt_without_a_tokenizer_is_worked_out_from_all_contexts() -> None:
    # Two drafts read the prompt of 20 tokens, the second after a step of 5.
    draft = Usage(prefill_tokens=26, cached_tokens=19, decoded_tokens=12, calls=2)
    assert count_tokens(trajectory(draft=draft), None, 12, 0.0).prompt == 20


def test_cached_tokens_are_never_more_than_the_prompt() -> None:
    draft = Usage(prefill_tokens=4, cached_tokens=900, calls=5)
    counts = count_tokens(trajectory(draft=draft), 20, 12, 0.25)
    assert (counts.cached, counts.completion, counts.reasoning) == (16, 12, 3)
    record = usage_record([counts, counts])
    assert record["prompt_tokens"] == 20
    assert record["completion_tokens"] == 24
    assert record["total_tokens"] == 44


def test_the_target_alone_saves_nothing() -> None:
    target = Usage(prefill_tokens=20, decoded_tokens=12, calls=1, attended_tokens=31 * 32 // 2)
    record = flops_record(
        trajectory(target=target), TokenCounts(20, 0, 12, 0), {Role.TARGET: LARGE}
    )
    assert record["saved"] == pytest.approx(0.0)
    assert record["total"] == record["target"] == record["target_alone"]
    assert record["paper"]["saved"] == pytest.approx(0.0)


def test_the_draft_alone_saves_most() -> None:
    shapes = {Role.DRAFT: SMALL, Role.TARGET: LARGE}
    draft = Usage(prefill_tokens=20, decoded_tokens=12, calls=1)
    record = flops_record(trajectory(draft=draft), TokenCounts(20, 0, 12, 0), shapes)
    assert record["paper"]["saved"] == pytest.approx(0.9)
    assert record["paper"]["total"] == paper_flops(Role.DRAFT, draft, SMALL)


def test_what_is_not_known_is_not_made_up() -> None:
    draft = Usage(prefill_tokens=20, decoded_tokens=12, calls=1)
    record = flops_record(trajectory(draft=draft), TokenCounts(20, 0, 12, 0), {Role.TARGET: LARGE})
    assert record["draft"] is None
    assert record["total"] is None
    assert record["saved"] is None
    assert record["target_alone"] > 0
