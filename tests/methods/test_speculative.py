from __future__ import annotations

import random
from collections import Counter
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsdecode.backends.scripted import ScriptedModel
from rsdecode.core.cost import ModelShape, paper_flops
from rsdecode.core.errors import Cancelled, ConfigError
from rsdecode.core.limits import Limits
from rsdecode.core.protocols import Models, Proposer, Verifier
from rsdecode.core.requests import Generate, Propose, Proposed, Sampling, Verified, Verify
from rsdecode.core.types import FinishReason, Problem, Role, Segment, Tokens, Trajectory, Usage
from rsdecode.methods import Single, Speculative, require
from rsdecode.session.drive import advance, drive
from rsdecode.testing.categorical import CategoricalModel, Ids
from tests.methods.play import EOS, LENGTH, PROBLEM, STEP_LIMIT, play, text

WORDS = ("", "a ", "b ", "c\n\n")


def table(seed: int, *, ends: float = 1.0) -> CategoricalModel:
    """A model whose next token depends on the last two; `ends` scales the end of sequence."""

    def following(before: Ids) -> list[float]:
        draw = random.Random(repr((seed, before[-2:])))
        weights = [draw.random() ** 2 for _ in WORDS]
        weights[0] *= ends
        return [weight / sum(weights) for weight in weights]

    return CategoricalModel(WORDS, following)


def run(method: Speculative | Single, models: Models, sample: int = 0) -> Trajectory:
    return drive(method(PROBLEM, seed=7, sample=sample), models)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 30))
def test_greedy_is_identical_to_the_target(
    draft: int, target: int, gamma: int, max_tokens: int
) -> None:
    models = Models(table(draft), table(target))
    limits = Limits(max_tokens=max_tokens)
    alone = run(Single(Role.TARGET, limits=limits), models)
    speculative = run(Speculative(gamma, limits=limits), models)
    assert speculative.text == alone.text
    assert speculative.stop_reason is alone.stop_reason
    assert [s.finish_reason for s in speculative.steps] == [s.finish_reason for s in alone.steps]


@pytest.mark.parametrize(
    ("sampling", "gamma"),
    [
        (Sampling(1.0), 1),
        (Sampling(1.0), 4),
        (Sampling(0.6), 2),
        (Sampling(1.0, 0.8), 2),
        (Sampling(1.0, top_k=2), 2),
    ],
)
async def test_the_law_of_the_first_three_tokens_is_the_targets(
    sampling: Sampling, gamma: int
) -> None:
    target = table(11)
    models, runs = Models(table(3), target), 1000
    limits = Limits(max_tokens=3)
    method = Speculative(gamma, limits=limits, sampling=sampling)
    drawn: Counter[str] = Counter()
    for sample in range(runs):
        trajectory = await advance(method(PROBLEM, seed=7, sample=sample), models)
        drawn[trajectory.text] += 1

    law: Counter[str] = Counter()
    for ids in product(range(len(WORDS)), repeat=3):
        probability, before = 1.0, ()
        for token in ids:
            if before[-1:] == (0,):
                probability *= token == 0
            else:
                probability *= target.distribution(before, sampling)[token]
            before = (*before, token)
        law["".join(WORDS[i] for i in ids)] += probability  # type: ignore[assignment]
    assert sum(law.values()) == pytest.approx(1.0)
    assert set(drawn) <= {text_ for text_, p in law.items() if p > 0}

    common = {key: p * runs for key, p in law.items() if p * runs >= 5}
    rest = runs - sum(common.values())
    cells = [(drawn[key], expected) for key, expected in common.items()]
    if rest >= 5:
        cells.append((runs - sum(count for count, _ in cells), rest))
    statistic = sum((count - expected) ** 2 / expected for count, expected in cells)
    freedom = len(cells) - 1
    assert statistic < freedom + 3.5 * (2 * freedom) ** 0.5 + 5  # about the 99.9th percentile


def test_the_law_test_would_notice_the_draft() -> None:
    """The two models differ by far more than the statistic allows."""
    p = table(11).distribution((), Sampling(1.0))
    q = table(3).distribution((), Sampling(1.0))
    assert sum(abs(a - b) for a, b in zip(p, q, strict=True)) > 0.2


def test_the_same_model_twice_accepts_everything() -> None:
    model = table(5, ends=0.1)
    trajectory = run(Speculative(4, limits=Limits(max_tokens=40)), Models(model, model))
    assert trajectory.token_acceptance_rate == 1.0
    usage = trajectory.ledger.target
    assert usage.verified_tokens == usage.accepted_tokens > usage.decoded_tokens
    assert trajectory.acceptance_rate == 0.0  # all steps are the target's


def segment(*ids: int) -> Segment:
    return Segment("".join(WORDS[i] for i in ids), Tokens("v", ids))


def proposed(*ids: int, finish: FinishReason = STEP_LIMIT) -> Proposed:
    return Proposed(segment(*ids), "rows", finish, Usage(9, 0, len(ids), 1))


def verified(accepted: int, *ids: int, finish: FinishReason = STEP_LIMIT) -> Verified:
    usage = Usage(5, 4, 1, 1, verified_tokens=2, accepted_tokens=accepted)
    return Verified(segment(*ids), accepted, finish, usage)


def test_a_trace_by_hand() -> None:
    method = Speculative(2, sampling=Sampling(0.5), limits=Limits(max_tokens=9))
    asked, trajectory = play(
        method(PROBLEM, seed=3, sample=1),
        [proposed(1, 2)], [verified(1, 1, 3)],
        [proposed(1, finish=EOS)], [verified(1, 1, finish=EOS)],
    )  # fmt: skip
    [ask], [check], [again], [recheck] = asked
    assert isinstance(ask, Propose)
    assert (ask.count, ask.sampling, ask.session, ask.context.answer) == (
        2, Sampling(0.5), "p/1", (),
    )  # fmt: skip
    assert isinstance(check, Verify)
    assert (check.context, check.proposal, check.session) == (ask.context, proposed(1, 2), "p/1")
    assert isinstance(again, Propose)
    assert again.context.answer == (segment(1, 3),)
    assert isinstance(recheck, Verify)
    assert len({ask.seed, check.seed, again.seed, recheck.seed}) == 4
    assert [s.text for s in trajectory.steps] == ["a c\n\n", "a "]
    assert {(s.source, s.accepted) for s in trajectory.steps} == {(Role.TARGET, False)}
    assert trajectory.stop_reason is EOS
    assert trajectory.ledger.draft == Usage(18, 0, 3, 2)
    assert trajectory.ledger.target == Usage(10, 8, 2, 2, verified_tokens=4, accepted_tokens=2)
    assert trajectory.token_acceptance_rate == 0.5


def test_the_paper_charges_the_target_for_every_verified_token() -> None:
    usage = Usage(5, 4, 1, 1, verified_tokens=5, accepted_tokens=2)
    assert paper_flops(Role.TARGET, usage, ModelShape(10)) == 2 * 10 * 6


def test_the_target_alone_writes_the_last_token_and_goes_on_where_the_draft_cannot() -> None:
    limits = Limits(max_tokens=3)
    asked, trajectory = play(
        Speculative(5, limits=limits)(PROBLEM),
        [proposed(1, 2)], [verified(1, 1, 3)], [text("b", STEP_LIMIT)],
    )  # fmt: skip
    first, last = asked[0][0], asked[2][0]
    assert isinstance(first, Propose)
    assert first.count == 2
    assert isinstance(last, Generate)
    assert (last.role, last.max_tokens) == (Role.TARGET, 1)
    assert trajectory.stop_reason is LENGTH
    asked, trajectory = play(
        Speculative(5)(PROBLEM), [proposed(finish=LENGTH)], [text("b\n\nc", EOS)]
    )
    assert (trajectory.text, trajectory.stop_reason) == ("b\n\nc", EOS)


def test_a_full_context_of_the_target_ends_the_answer() -> None:
    _, trajectory = play(
        Speculative(2)(PROBLEM), [proposed(1, 2)], [verified(1, 1, 3, finish=LENGTH)]
    )
    assert (trajectory.text, trajectory.stop_reason) == ("a c\n\n", LENGTH)


def test_a_cancellation_keeps_what_was_written() -> None:
    _, trajectory = play(
        Speculative(2)(PROBLEM), [proposed(1, 2)], [verified(1, 1, 3)], Cancelled("late")
    )
    assert (trajectory.text, trajectory.stop_reason) == ("a c\n\n", FinishReason.CANCELLED)


def test_models_are_checked_before_anything_is_decoded() -> None:
    model, other = table(1), CategoricalModel(WORDS, lambda _: [1.0, 0, 0, 0], vocabulary="other")
    assert isinstance(model, Proposer)
    assert isinstance(model, Verifier)
    require(Speculative(), Models(model, model))
    with pytest.raises(ConfigError, match=r"different tokenizers \(categorical and other\)"):
        require(Speculative(), Models(model, other))
    plain = ScriptedModel(lambda request: "x")
    with pytest.raises(ConfigError, match="the draft cannot propose"):
        require(Speculative(), Models(plain, model))
    with pytest.raises(ConfigError, match="the target cannot verify"):
        require(Speculative(), Models(model, plain))
    with pytest.raises(ConfigError, match="--target"):
        require(Speculative(), Models(model))


def test_a_failed_model_ends_the_problem_alone() -> None:
    model = table(1)
    foreign = Problem.ask("q", id="f")
    trajectory = drive(
        Speculative()(foreign),
        Models(model, CategoricalModel(WORDS, lambda _: [1.0, 0, 0, 0], vocabulary="other")),
    )
    assert trajectory.stop_reason is FinishReason.ERROR
    assert "vocabulary 'other'" in (trajectory.error or "")


def test_gamma() -> None:
    assert Speculative().roles == {Role.DRAFT, Role.TARGET}
    with pytest.raises(ValueError, match="gamma 0"):
        Speculative(0)
