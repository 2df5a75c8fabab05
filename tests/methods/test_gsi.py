"""Guided Speculative Inference: its rule by hand, and its law by 100,000 steps."""

from __future__ import annotations

import math
import os
from collections import Counter
from functools import cache
from itertools import product

import pytest
from scipy.stats import chisquare

from rsdecode.backends.scripted import ScriptedReward
from rsdecode.config import load_config
from rsdecode.config.methods import build_named_method
from rsdecode.config.resolve import settled
from rsdecode.core.errors import ConfigError
from rsdecode.core.limits import Limits
from rsdecode.core.protocols import Models
from rsdecode.core.requests import (
    Assess,
    Assessed,
    Decoding,
    Generate,
    Generated,
    Likelihood,
    Reply,
    Request,
    Sampling,
    Score,
    Scored,
)
from rsdecode.core.segment import Boundary
from rsdecode.core.types import FinishReason, Problem, Role, Segment, Step, Trajectory, Usage
from rsdecode.methods import GSI, require
from rsdecode.rewards.gates import ConfidenceReward
from rsdecode.session.drive import drive
from rsdecode.testing.categorical import CategoricalModel
from tests.methods.play import EOS, PROBLEM, STEP_LIMIT, STOP, generates, play

STEPS = ("a", "b", "c", "d")
DRAFT = (0.4, 0.3, 0.2, 0.1)
TARGET = (0.1, 0.2, 0.3, 0.4)
REWARD = (0.2, 0.9, 0.4, 0.7)
BETA, THRESHOLD, N = 3.0, 0.6, 3
SAMPLES = 100_000 if "RSD_SLOW" in os.environ else 10_000
"""Steps; a minute for the larger number."""
Law = list[float]


def soft(values: list[float]) -> list[float]:
    weights = [math.exp(BETA * value) for value in values]
    return [weight / sum(weights) for weight in weights]


def tilted(step: int) -> float:
    return REWARD[step] + math.log(TARGET[step] / DRAFT[step]) / BETA


def law(
    threshold: float = THRESHOLD, *, tilt: bool = True, draft: tuple[float, ...] = DRAFT
) -> Law:
    """The exact law of one step, over all draws of N candidates; written apart from the method."""
    accepted, rejected, resampled = [0.0] * 4, 0.0, [0.0] * 4
    for chosen in product(range(4), repeat=N):
        values = [tilted(y) if tilt else REWARD[y] for y in chosen]
        for y, value, share in zip(chosen, values, soft(values), strict=True):
            chance = math.prod(draft[c] for c in chosen) * share
            if value >= threshold:
                accepted[y] += chance
            else:
                rejected += chance
        for y, share in zip(chosen, soft([REWARD[y] for y in chosen]), strict=True):
            resampled[y] += math.prod(TARGET[c] for c in chosen) * share
    return [a + rejected * b for a, b in zip(accepted, resampled, strict=True)]


def pair() -> tuple[CategoricalModel, CategoricalModel]:
    """A word and the end of the answer: the end is certain after the first word."""

    def table(row: tuple[float, ...]):
        return lambda before: (1.0, 0, 0, 0, 0) if before else (0.0, *row)

    words = ("", *STEPS)
    return CategoricalModel(words, table(DRAFT)), CategoricalModel(words, table(TARGET))


def method(**changes: object) -> GSI:
    settings = {
        "candidates": N,
        "beta": BETA,
        "threshold": THRESHOLD,
        "limits": Limits(max_steps=1),
        "boundary": Boundary(tokens=1),
        "draft_sampling": Sampling(1.0),
        "target_sampling": Sampling(1.0),
    }
    return GSI(**(settings | changes))  # type: ignore[arg-type]


def run(decoding: Decoding, models: Models) -> Trajectory:
    """As `drive`, without an event loop for each of 100,000 steps."""

    def reply(requests: list[Request]) -> list[Reply]:
        found: list[Reply] = []
        for request in requests:
            match request:
                case Generate():
                    model = models.draft if request.role is Role.DRAFT else models.target
                    found.append(model._write(request))  # type: ignore[union-attr]
                case Assess():
                    found.append(models.target._assess(request))  # type: ignore[union-attr]
                case Score():
                    found.append(Scored((REWARD[STEPS.index(request.steps[0].text)],)))
                case _:
                    found.append(None)
        return found

    try:
        requests = next(decoding)
        while True:
            requests = decoding.send(reply(list(requests)))
    except StopIteration as end:
        return end.value


@cache
def sampled() -> tuple[Counter[str], int]:
    draft, target = pair()
    models = Models(draft, target, ScriptedReward(lambda _: 0.0))
    chosen = method()
    require(chosen, models)
    written: Counter[str] = Counter()
    by_target = 0
    for i in range(SAMPLES):
        [step] = run(chosen(Problem.ask("q"), seed=7, sample=i), models).steps
        written[step.text] += 1
        by_target += step.source is Role.TARGET
    return written, by_target


def p_value(expected: Law) -> float:
    written, _ = sampled()
    return chisquare([written[s] for s in STEPS], [SAMPLES * p for p in expected]).pvalue


def test_a_step_has_the_law_of_the_paper_and_no_other() -> None:
    assert sum(law()) == pytest.approx(1.0)
    assert p_value(law()) > 0.001
    _, by_target = sampled()
    rejected = sum(
        math.prod(DRAFT[c] for c in chosen) * share
        for chosen in product(range(4), repeat=N)
        for y, share in zip(chosen, soft([tilted(c) for c in chosen]), strict=True)
        if tilted(y) < THRESHOLD
    )
    observed = [by_target, SAMPLES - by_target]
    assert 0.1 < rejected < 0.9
    assert chisquare(observed, [SAMPLES * rejected, SAMPLES * (1 - rejected)]).pvalue > 0.001

    # without the tilt, without the rejection, always the target, another threshold
    wrong = [law(tilt=False), law(draft=TARGET)]
    wrong += [law(threshold) for threshold in (-math.inf, math.inf, tilted(3) + 1e-9)]
    assert max(map(p_value, wrong)) < 1e-6


def test_without_rejection_it_nears_the_tilted_target_as_n_grows() -> None:
    """The optimum is P_T(y) exp(beta r(y)), normalised."""
    weights = [p * math.exp(BETA * r) for p, r in zip(TARGET, REWARD, strict=True)]
    optimum = [w / sum(weights) for w in weights]
    models = Models(*pair(), ScriptedReward(lambda _: 0.0))

    def distance(n: int) -> float:
        chosen = method(candidates=n, threshold=-1e9)
        require(chosen, models)
        drawn = Counter(run(chosen(PROBLEM, sample=i), models).steps[0].text for i in range(1500))
        return sum(abs(drawn[s] / 1500 - p) for s, p in zip(STEPS, optimum, strict=True))

    assert distance(1) > 0.5
    assert distance(24) < 0.15


def told(text: str, logprob: float | None, finish: FinishReason = STOP) -> Generated:
    known = None if logprob is None else (logprob,)
    return Generated(Segment(text, logprobs=known), finish, Usage(10, 0, 3, 1))


def likely(logprob: float) -> Assessed:
    return Assessed((Likelihood((logprob,), (True,)),), Usage(12, 0, 0, 1, verified_tokens=3))


def test_a_candidate_beyond_the_threshold_enters_and_all_is_paid_for() -> None:
    gsi = method(candidates=2, beta=50.0, threshold=0.5)
    drafts = [told("a", -1.0), told("b", -1.0, EOS)]
    asked, trajectory = play(
        gsi(PROBLEM), drafts, [Scored((0.2,)), Scored((0.9,))], [likely(-1.0), likely(-3.0)]
    )
    [step] = trajectory.steps
    assert (step.text, step.source, step.reward, step.accepted) == ("b", Role.DRAFT, 0.9, True)
    assert [p.text for p in step.rejected] == ["a"]
    assert len({request.session for request in generates(asked[0])}) == 2
    first, second = asked[2]
    assert isinstance(first, Assess)
    assert isinstance(second, Assess)
    assert (first.ends, second.ends) == (False, True)
    assert first.sampling == gsi.target_sampling
    target = trajectory.ledger.target
    assert (target.verified_tokens, target.accepted_tokens, target.decoded_tokens) == (6, 1, 0)


def test_below_the_threshold_the_best_of_the_target_enters() -> None:
    gsi = method(candidates=2, beta=50.0, threshold=0.5)
    _, trajectory = play(
        gsi(PROBLEM),
        [told("a", -1.0), told("b", -1.0)],
        [Scored((0.8,)), Scored((0.1,))],
        [likely(-26.0), likely(-1.0)],  # a: 0.8 - 25 / 50 = 0.3
        [told("c", None), told("d", None)],
        [Scored((0.1,)), Scored((0.9,))],
    )
    [step] = trajectory.steps
    assert (step.text, step.source, step.reward, step.weight) == ("d", Role.TARGET, 0.9, 0.0)
    assert [(p.text, p.reward) for p in step.rejected] == [("a", 0.8), ("b", 0.1)]
    assert trajectory.ledger.target.accepted_tokens == 0


def test_what_was_cut_is_never_drawn() -> None:
    gsi = method(candidates=2)
    cut = [told("a", -1.0, STEP_LIMIT), told("b", -1.0, STEP_LIMIT)]
    asked, trajectory = play(gsi(PROBLEM), cut, cut)
    assert [len(round_) for round_ in asked] == [2, 2]
    [step] = trajectory.steps
    assert (step.text, step.source, step.reward) == ("a", Role.TARGET, None)


def test_an_impossible_candidate_is_never_drawn() -> None:
    gsi = method(candidates=2, threshold=-1e9)
    _, trajectory = play(
        gsi(PROBLEM),
        [told("a", -1.0), told("b", -1.0)],
        [Scored((1.0,)), Scored((0.1,))],
        [likely(-math.inf), likely(-9.0)],
    )
    assert [step.text for step in trajectory.steps] == ["b"]


def test_a_draft_that_was_not_told_to_is_an_error_with_a_remedy() -> None:
    _, trajectory = play(
        method(candidates=1)(PROBLEM), [told("a", None)], [Scored((1.0,))], [likely(-1.0)]
    )
    assert trajectory.stop_reason is FinishReason.ERROR
    assert "rsdecode.methods.require" in str(trajectory.error)


def test_models_are_checked() -> None:
    draft, target = pair()
    reward = ScriptedReward(lambda _: 0.5)
    with pytest.raises(ConfigError, match="draft does not tell the log-probabilities"):
        require(method(), Models(object(), target, reward))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="target does not tell how likely"):
        require(method(), Models(draft, object(), reward))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the target's steps scored too"):
        require(method(), Models(draft, target, ConfidenceReward(draft)))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"candidates": 0}, "at least 1"),
        ({"beta": 0.0}, "beta"),
        ({"threshold": math.nan}, "threshold"),
        ({"draft_sampling": Sampling(), "candidates": 1}, "greedy draft"),
        ({"target_sampling": Sampling()}, "greedy target"),
    ],
)
def test_settings_are_checked(changes: dict[str, object], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        method(**changes)


def test_the_name() -> None:
    config = load_config(overrides={"method": "gsi@4:beta=10:threshold=-0.5"})
    built = build_named_method(config.method, config)
    assert isinstance(built, GSI)
    assert (built.candidates, built.beta, built.threshold) == (4, 10.0, -0.5)
    assert built.draft_sampling.temperature == built.target_sampling.temperature == 0.7
    assert settled(load_config(overrides={"method": "gsi@2"})).method == (
        "gsi@2:beta=20.0:threshold=0.5"
    )
    with pytest.raises(ConfigError, match="needs its number: gsi@N"):
        load_config(overrides={"method": "gsi"})


def test_it_runs_through_the_models() -> None:
    draft, target = pair()
    models = Models(draft, target, ScriptedReward(lambda r: REWARD[STEPS.index(r.steps[0].text)]))
    chosen = method(limits=Limits())
    require(chosen, models)
    steps: list[Step] = []
    trajectory = drive(chosen(Problem.ask("q")), models, steps.append)
    assert trajectory.finished
    assert list(trajectory.steps) == steps
    assert trajectory.steps[0].text in STEPS
