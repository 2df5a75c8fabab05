from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from rsdecode.core.budget import Budget
from rsdecode.core.errors import Cancelled, ContextFull, RequestError, RsdError
from rsdecode.core.limits import Limits
from rsdecode.core.requests import (
    Announce,
    Decoding,
    Drop,
    Generate,
    Generated,
    Reply,
    Request,
    Sampling,
    Score,
    Scored,
    Start,
)
from rsdecode.core.segment import parse_boundary
from rsdecode.core.types import (
    FinishReason,
    Ledger,
    Problem,
    Proposal,
    Role,
    Segment,
    Step,
    Trajectory,
    Usage,
)
from rsdecode.core.weighting import BinaryStep, Constant
from rsdecode.methods import RSD

STOP, EOS = FinishReason.STOP, FinishReason.EOS
STEP_LIMIT, LENGTH = FinishReason.STEP_LIMIT, FinishReason.LENGTH
PROBLEM = Problem.ask("q", id="p")


def text(written: str, finish: FinishReason = STOP, tokens: int = 3) -> Generated:
    return Generated(Segment(written), finish, Usage(10, 0, tokens, 1, 0.5, 20))


def reward(value: float) -> Scored:
    return Scored((value,), Usage(7, 1, 0, 1))


def play(decoding: Decoding, *replies: Reply | RsdError) -> tuple[list[Request], Trajectory]:
    """Feed replies one by one; returns what was asked for, news left out, and the result."""
    waiting = list(replies)
    asked: list[Request] = []
    try:
        requests = next(decoding)
        while True:
            questions = [r for r in requests if not isinstance(r, Announce)]
            asked += questions
            if questions and isinstance(waiting[0], RsdError):
                requests = decoding.throw(waiting.pop(0))
                continue
            requests = decoding.send(
                [None if isinstance(r, Announce) else waiting.pop(0) for r in requests]
            )
    except StopIteration as end:
        assert not waiting
        return asked, end.value


def kinds(asked: list[Request]) -> list[str]:
    return [r.role.value if isinstance(r, Generate) else "score" for r in asked]


def test_accept_then_reject_then_accept_the_end() -> None:
    asked, trajectory = play(
        RSD()(PROBLEM, seed=5),
        text("a\n\n"), reward(0.9),
        text("bad\n\n", tokens=2), reward(0.2), text("b\n\n", tokens=4),
        text("c", EOS), reward(0.7),
    )  # fmt: skip
    assert kinds(asked) == ["draft", "score", "draft", "score", "target", "draft", "score"]
    assert trajectory == Trajectory(
        problem=PROBLEM,
        steps=(
            Step(Segment("a\n\n"), Role.DRAFT, STOP, 0.9, 1.0, True, (), 3),
            Step(
                Segment("b\n\n"), Role.TARGET, STOP, 0.2, 0.0, False,
                (Proposal("bad\n\n", 0.2, STOP, 2),), 4,
            ),
            Step(Segment("c"), Role.DRAFT, EOS, 0.7, 1.0, True, (), 3),
        ),
        stop_reason=EOS,
        ledger=Ledger(
            draft=Usage(30, 0, 8, 3, 1.5, 60),
            target=Usage(10, 0, 4, 1, 0.5, 20),
            reward=Usage(21, 3, 0, 3),
        ),
        seed=5,
    )  # fmt: skip


def test_what_each_request_contains() -> None:
    draft, target = Sampling(0.7, 0.9, 5), Sampling(0.5)
    boundary = parse_boundary("newline")
    limits = Limits(max_steps=9, max_step_tokens=6, max_tokens=10)
    method = RSD(limits=limits, boundary=boundary, draft_sampling=draft, target_sampling=target)
    first = text("a\n", tokens=5)
    asked, _ = play(
        method(PROBLEM, sample=2), first, reward(0.9), text("b", EOS), reward(0.1), text("c", EOS)
    )
    ask, scoring, second, rescoring, rewrite = asked
    assert isinstance(ask, Generate)
    assert (ask.role, ask.context.messages, ask.context.answer) == ("draft", PROBLEM.messages, ())
    assert (ask.boundary, ask.sampling, ask.max_tokens, ask.session) == (boundary, draft, 6, "p/2")
    assert scoring == Score(ask.context, (first.segment,), "p/2")
    after = ask.context.followed_by(first.segment)
    assert isinstance(second, Generate)
    assert second == replace(ask, context=after, max_tokens=5, seed=second.seed)
    assert rescoring == Score(after, (Segment("b"),), "p/2", ends=True)
    assert isinstance(rewrite, Generate)
    changed = replace(second, role=Role.TARGET, sampling=target, seed=rewrite.seed)
    assert rewrite == changed


def test_seeds_differ_by_everything_that_they_are_derived_from() -> None:
    method = RSD(candidates=2, draft_sampling=Sampling(1.0))

    def seeds(problem: Problem, seed: int, sample: int) -> list[int]:
        asked, _ = play(
            method(problem, seed=seed, sample=sample),
            text("a\n\n"), text("a\n\n"), reward(0.1), reward(0.1), text("b\n\n"),
            text("c\n\n"), text("c\n\n"), reward(0.1), reward(0.1), text("d", EOS),
        )  # fmt: skip
        return [r.seed for r in asked if isinstance(r, Generate)]

    runs = [(PROBLEM, 0, 0), (PROBLEM, 1, 0), (PROBLEM, 0, 1), (Problem.ask("q", id="o"), 0, 0)]
    drawn = [seed for run in runs for seed in seeds(*run)]
    assert len(set(drawn)) == len(drawn) == 4 * 6
    assert seeds(PROBLEM, 0, 0) == seeds(PROBLEM, 0, 0)


def test_each_step_is_told_as_soon_as_it_is_decided() -> None:
    decoding = RSD()(PROBLEM)
    next(decoding)
    decoding.send([text("a\n\n")])
    [news] = decoding.send([reward(1.0)])
    assert isinstance(news, Announce)
    assert news.step.text == "a\n\n"
    [request] = decoding.send([None])
    assert isinstance(request, Generate)


@pytest.mark.parametrize("cut", [STEP_LIMIT, LENGTH])
def test_a_cut_draft_is_rejected_without_being_scored(cut: FinishReason) -> None:
    asked, trajectory = play(
        RSD(weighting=Constant(1.0))(PROBLEM), text("a a a", cut), text("b", EOS)
    )
    assert kinds(asked) == ["draft", "target"]
    [step] = trajectory.steps
    assert step.rejected == (Proposal("a a a", None, cut, 3),)
    assert (step.reward, step.weight, step.accepted, step.source) == (None, 0.0, False, "target")
    assert trajectory.stop_reason is EOS


def test_a_target_step_cut_at_its_cap_goes_on_in_the_next_step() -> None:
    asked, trajectory = play(
        RSD()(PROBLEM),
        text("a", STEP_LIMIT), text("b", STEP_LIMIT), text("c", EOS), reward(0.8),
    )  # fmt: skip
    assert kinds(asked) == ["draft", "target", "draft", "score"]
    assert [s.finish_reason for s in trajectory.steps] == [STEP_LIMIT, EOS]
    assert trajectory.text == "bc"


def test_a_full_context_of_the_target_ends_the_answer_with_length() -> None:
    _, trajectory = play(RSD()(PROBLEM), text("a", LENGTH), text("b", LENGTH))
    assert trajectory.stop_reason is LENGTH
    assert not trajectory.finished
    assert trajectory.text == "b"


def test_an_empty_end_inherits_the_reward_of_the_step_before() -> None:
    asked, trajectory = play(RSD()(PROBLEM), text("a\n\n"), reward(0.9), text("", EOS))
    assert kinds(asked) == ["draft", "score", "draft"]
    assert [(s.reward, s.accepted) for s in trajectory.steps] == [(0.9, True), (0.9, True)]
    assert trajectory.stop_reason is EOS


def test_an_empty_end_on_the_first_step_is_rejected() -> None:
    asked, trajectory = play(
        RSD(weighting=Constant(1.0))(PROBLEM), text(" \n", EOS), text("b", EOS)
    )
    assert kinds(asked) == ["draft", "target"]
    assert trajectory.steps[0].rejected == (Proposal(" \n", None, EOS, 3),)


def test_an_empty_end_after_an_unscored_step_is_rejected() -> None:
    asked, _ = play(
        RSD()(PROBLEM), text("a", STEP_LIMIT), text("b\n\n"), text("", EOS), text("c", EOS)
    )
    assert kinds(asked) == ["draft", "target", "draft", "target"]


SEVERAL = RSD(candidates=3, draft_sampling=Sampling(0.8))


def test_the_best_of_several_candidates_is_held_against_the_weighting() -> None:
    asked, trajectory = play(
        SEVERAL(PROBLEM),
        text("a", EOS), text("b", EOS), text("c", EOS), reward(0.75), reward(0.9), reward(0.1),
    )  # fmt: skip
    assert kinds(asked) == ["draft"] * 3 + ["score"] * 3
    [step] = trajectory.steps
    assert (step.text, step.reward, step.accepted) == ("b", 0.9, True)
    assert step.rejected == (Proposal("a", 0.75, EOS, 3), Proposal("c", 0.1, EOS, 3))
    assert trajectory.ledger.draft.calls == trajectory.ledger.reward.calls == 3


def test_the_first_of_equal_candidates_wins() -> None:
    _, trajectory = play(
        SEVERAL(PROBLEM),
        text("a", EOS), text("b", EOS), text("c", EOS), reward(0.8), reward(0.8), reward(0.8),
    )  # fmt: skip
    assert trajectory.text == "a"


def test_all_candidates_are_kept_when_the_target_writes() -> None:
    _, trajectory = play(
        SEVERAL(PROBLEM),
        text("a", EOS), text("cut", STEP_LIMIT), text("c", EOS), reward(0.0), reward(0.3),
        text("d", EOS),
    )  # fmt: skip
    [step] = trajectory.steps
    assert (step.text, step.reward, step.weight) == ("d", 0.3, 0.0)
    assert [(p.text, p.reward) for p in step.rejected] == [("a", 0.0), ("cut", None), ("c", 0.3)]


def test_a_scored_candidate_beats_an_unscored_one_even_at_reward_zero() -> None:
    method = replace(SEVERAL, weighting=Constant(1.0))
    _, trajectory = play(
        method(PROBLEM),
        text("cut", STEP_LIMIT), text("b", EOS), text("cut", LENGTH), reward(0.0),
    )  # fmt: skip
    assert (trajectory.text, trajectory.steps[0].reward) == ("b", 0.0)


def test_a_budget_moves_the_threshold_of_its_own_problem() -> None:
    method = RSD(weighting=Constant(0.0), budget=Budget(0.5, threshold=0.5, rate=0.2))
    for _ in range(2):  # the second run starts afresh
        _, trajectory = play(
            method(PROBLEM),
            text("a\n\n"), reward(0.55),  # 0.5: accepted, up to 0.6
            text("b\n\n"), reward(0.55), text("B\n\n"),  # 0.6: rejected, down to 0.5
            text("c\n\n"), reward(0.45), text("C\n\n"),  # 0.5: rejected, down to 0.4
            text("d", EOS), reward(0.45),  # 0.4: accepted
        )  # fmt: skip
        assert [s.accepted for s in trajectory.steps] == [True, False, False, True]


def test_the_answer_ends_with_length_when_its_tokens_are_used_up() -> None:
    method = RSD(limits=Limits(max_tokens=6))
    asked, trajectory = play(
        method(PROBLEM), text("a\n\n", tokens=4), reward(0.9), text("b\n\n", tokens=2), reward(0.9)
    )
    assert [r.max_tokens for r in asked if isinstance(r, Generate)] == [6, 2]
    assert trajectory.stop_reason is LENGTH
    assert trajectory.text == "a\n\nb\n\n"


def test_an_end_on_the_very_last_token_is_an_answer() -> None:
    method = RSD(limits=Limits(max_tokens=4))
    _, trajectory = play(method(PROBLEM), text("a", EOS, tokens=4), reward(0.9))
    assert trajectory.stop_reason is EOS


def test_rejected_drafts_use_no_room() -> None:
    method = RSD(limits=Limits(max_tokens=6))
    asked, _ = play(
        method(PROBLEM),
        text("x\n\n", tokens=5), reward(0.1), text("a\n\n", tokens=2), text("b", EOS), reward(0.9),
    )  # fmt: skip
    assert [r.max_tokens for r in asked if isinstance(r, Generate)] == [6, 6, 4]


def test_max_steps() -> None:
    method = RSD(limits=Limits(max_steps=2))
    _, trajectory = play(method(PROBLEM), text("a\n\n"), reward(1.0), text("b\n\n"), reward(1.0))
    assert trajectory.stop_reason is FinishReason.MAX_STEPS
    assert len(trajectory.steps) == 2


ACCEPTED = (text("a\n\n"), reward(1.0))


@pytest.mark.parametrize(
    "before",
    [(), (text("b\n\n"),), (text("b\n\n"), reward(0.1))],
    ids=["draft", "score", "target"],
)
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RequestError("no memory"), FinishReason.ERROR),
        (Cancelled("no time"), FinishReason.CANCELLED),
    ],
)
def test_a_failure_keeps_the_steps_before_it(
    before: tuple[Reply, ...], error: RsdError, reason: FinishReason
) -> None:
    _, trajectory = play(RSD()(PROBLEM), *ACCEPTED, *before, error)
    assert (trajectory.stop_reason, trajectory.error) == (reason, str(error))
    assert trajectory.text == "a\n\n"
    assert trajectory.ledger.draft.calls == 1 + bool(before)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.01, 1.01])
def test_an_impossible_reward_ends_the_problem_with_an_error(value: float) -> None:
    _, trajectory = play(RSD()(PROBLEM), *ACCEPTED, text("b\n\n"), reward(value))
    assert trajectory.stop_reason is FinishReason.ERROR
    assert repr(value) in (trajectory.error or "")
    assert "finite number in [0, 1]" in (trajectory.error or "")
    assert trajectory.text == "a\n\n"
    assert trajectory.ledger.reward.calls == 2


@pytest.mark.parametrize("rewards", [(), (0.9, 0.9)])
def test_a_wrong_number_of_rewards_ends_the_problem_with_an_error(
    rewards: tuple[float, ...],
) -> None:
    _, trajectory = play(RSD()(PROBLEM), text("b\n\n"), Scored(rewards))
    assert trajectory.stop_reason is FinishReason.ERROR
    assert f"{len(rewards)} rewards for 1 step" in (trajectory.error or "")


def test_a_partial_weight_is_drawn_from_the_seed() -> None:
    def accepted(seed: int) -> bool:
        decoding = RSD(weighting=Constant(0.5), limits=Limits(max_steps=1))(PROBLEM, seed=seed)
        next(decoding)
        decoding.send([text("a\n\n")])
        [request] = decoding.send([reward(0.5)])
        return isinstance(request, Announce)

    decisions = [accepted(seed) for seed in range(40)]
    assert decisions == [accepted(seed) for seed in range(40)]
    assert 8 < sum(decisions) < 32


AHEAD = RSD(lookahead=1)


def test_the_next_draft_starts_with_the_scoring_and_is_asked_for_when_accepted() -> None:
    decoding = AHEAD(PROBLEM)
    next(decoding)
    start, scoring = decoding.send([text("a\n\n")])
    assert isinstance(start, Start)
    assert isinstance(scoring, Score)
    assert start.request.context == scoring.context.followed_by(*scoring.steps)
    [news] = decoding.send([None, reward(0.9)])
    assert isinstance(news, Announce)
    assert decoding.send([None]) == [start.request]


def test_a_rejection_drops_what_was_started() -> None:
    decoding = AHEAD(PROBLEM)
    next(decoding)
    start, _ = decoding.send([text("a\n\n")])
    assert isinstance(start, Start)
    drop, rewrite = decoding.send([None, reward(0.1)])
    assert drop == Drop(start.request)
    assert isinstance(rewrite, Generate)
    decoding.send([None, text("b\n\n")])
    [draft] = decoding.send([None])
    assert isinstance(draft, Generate)
    assert draft.context.answer == (Segment("b\n\n"),)
    assert draft.seed == start.request.seed  # of the same place in the answer


@pytest.mark.parametrize(
    ("draft", "limits"),
    [
        (text("a", EOS), Limits()),
        (text("a a a", STEP_LIMIT), Limits()),
        (text("a a a", LENGTH), Limits()),
        (text("\n\n"), Limits()),
        (text("a\n\n"), Limits(max_steps=1)),
        (text("a\n\n", tokens=5), Limits(max_tokens=5)),
    ],
    ids=["end", "cap", "full", "nothing to score", "last step", "no room"],
)
def test_nothing_is_started_where_the_answer_may_not_go_on(
    draft: Generated, limits: Limits
) -> None:
    decoding = replace(AHEAD, limits=limits)(PROBLEM)
    next(decoding)
    assert not any(isinstance(request, Start) for request in decoding.send([draft]))


def test_impossible_options() -> None:
    with pytest.raises(ValueError, match="lookahead 2 must be 0 or 1"):
        RSD(lookahead=2)
    with pytest.raises(ValueError, match="conflicts with 2 candidates; set lookahead to 0"):
        RSD(lookahead=1, candidates=2, draft_sampling=Sampling(1.0))
    with pytest.raises(ValueError, match="candidates 0 must be at least 1"):
        RSD(candidates=0)
    with pytest.raises(ValueError, match=r"candidates 2 of a greedy draft.*temperature above 0"):
        RSD(candidates=2)


def test_needs_all_three_models() -> None:
    assert RSD().roles == set(Role)


@pytest.mark.parametrize("weighting", [BinaryStep(0.5), lambda r: float(r >= 0.5)])
def test_a_plain_function_is_a_weighting(weighting: Callable[[float], float]) -> None:
    _, trajectory = play(RSD(weighting=weighting)(PROBLEM), text("a", EOS), reward(0.6))
    assert trajectory.steps[0].accepted


def test_an_answer_that_outgrows_the_reward_model_ends_with_length() -> None:
    decoding = RSD()(PROBLEM)
    _, trajectory = play(decoding, text("a\n\n"), reward(1.0), text("b\n\n"), ContextFull("full"))
    assert trajectory.stop_reason is LENGTH
    assert trajectory.error is None
    assert trajectory.text == "a\n\n"
