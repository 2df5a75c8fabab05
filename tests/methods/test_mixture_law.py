"""The law of one step, and what it is good for (paper, Section 3 and Propositions 1 and 2).

Draft and target are categorical over a small alphabet of steps, each with a fixed reward, so that
every law can be computed exactly. Samples come out of the real generator, fed by hand.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import chisquare

from rsdecode.core.limits import Limits
from rsdecode.core.requests import Decoding, Generate, Generated, Reply, Request, Score, Scored
from rsdecode.core.types import FinishReason, Problem, Role, Segment, Trajectory
from rsdecode.core.weighting import (
    BinaryStep,
    Clipping,
    Constant,
    Logistic,
    Sigmoidal,
    Weighting,
)
from rsdecode.methods import RSD

STEPS = ("a", "b", "c", "d", "e", "f")
DRAFT = (0.30, 0.25, 0.20, 0.10, 0.10, 0.05)
TARGET = (0.05, 0.10, 0.15, 0.20, 0.20, 0.30)
REWARD = dict(zip(STEPS, (0.05, 0.35, 0.60, 0.72, 0.85, 0.97), strict=True))
SAMPLES = 100_000 if "RSD_SLOW" in os.environ else 40_000

FIVE: dict[str, Weighting] = {
    "constant": Constant(0.4),
    "step": BinaryStep(0.7),
    "clipping": Clipping(),
    "sigmoidal": Sigmoidal(),
    "logistic": Logistic(10.0, 0.7),
}
Law = dict[str, float]


def expected_reward(law: Law) -> float:
    return sum(share * REWARD[step] for step, share in law.items())


def target_share(weighting: Weighting) -> float:
    """nu = 1 - E_{y ~ P_m}[w(r(y))]."""
    return 1.0 - sum(p * weighting(REWARD[y]) for y, p in zip(STEPS, DRAFT, strict=True))


def mixture(weighting: Weighting) -> Law:
    """P_RSD(y) = w(r(y)) P_m(y) + nu P_M(y)."""
    nu = target_share(weighting)
    pairs = zip(STEPS, DRAFT, TARGET, strict=True)
    return {y: weighting(REWARD[y]) * p_m + nu * p_M for y, p_m, p_M in pairs}


REPLIES = {step: [Generated(Segment(step), FinishReason.EOS)] for step in STEPS}
SCORES = {step: [Scored((REWARD[step],))] for step in STEPS}


def one_step(decoding: Decoding, draws: tuple[str, str]) -> Trajectory:
    """Feed the generator: the models' draws were made before, one of each."""
    drafted, targeted = draws
    try:
        requests = next(decoding)
        while True:
            requests = decoding.send(reply_to(requests, drafted, targeted))
    except StopIteration as end:
        return end.value


def reply_to(requests: list[Request], drafted: str, targeted: str) -> list[Reply]:
    [request] = requests
    if isinstance(request, Generate):
        return REPLIES[drafted if request.role is Role.DRAFT else targeted]
    return SCORES[request.steps[0].text] if isinstance(request, Score) else [None]


def sample(weighting: Weighting, seed: int, count: int = SAMPLES) -> tuple[Counter[str], int]:
    """How often each step was written in all samples, and the number of target calls."""
    draw = random.Random(seed)
    drafted = draw.choices(STEPS, DRAFT, k=count)
    targeted = draw.choices(STEPS, TARGET, k=count)
    method = RSD(weighting=weighting, limits=Limits(max_steps=1))
    problem = Problem.ask("q")
    written: Counter[str] = Counter()
    calls = 0
    for i, draws in enumerate(zip(drafted, targeted, strict=True)):
        [step] = one_step(method(problem, seed=seed, sample=i), draws).steps
        written[step.text] += 1
        calls += step.source is Role.TARGET
    return written, calls


def p_value(written: Counter[str], law: Law) -> float:
    observed = [written[step] for step in STEPS]
    return chisquare(observed, [SAMPLES * law[step] for step in STEPS]).pvalue


@pytest.mark.parametrize("name", FIVE)
def test_a_step_has_the_law_of_the_mixture_and_no_other(name: str) -> None:
    """The others: the laws of the four other weightings, the two models, and a near miss."""
    written, calls = sample(FIVE[name], seed=20250119)
    nu = target_share(FIVE[name])
    assert p_value(written, mixture(FIVE[name])) > 0.001
    observed = [calls, SAMPLES - calls]
    assert chisquare(observed, [SAMPLES * nu, SAMPLES * (1 - nu)]).pvalue > 0.001

    wrong = [mixture(other) for other_name, other in FIVE.items() if other_name != name]
    wrong += [dict(zip(STEPS, law, strict=True)) for law in (DRAFT, TARGET)]
    right = mixture(FIVE[name])
    shift = 0.01
    wrong.append(right | {"a": right["a"] + shift, "f": right["f"] - shift})
    assert max(p_value(written, law) for law in wrong) < 1e-6


@pytest.mark.parametrize("name", FIVE)
def test_the_law_is_a_law(name: str) -> None:
    law = mixture(FIVE[name])
    assert sum(law.values()) == pytest.approx(1.0)
    assert min(law.values()) >= 0.0


@pytest.mark.parametrize("name", FIVE)
def test_proposition_1_the_mixture_is_no_worse_than_the_draft(name: str) -> None:
    draft = expected_reward(dict(zip(STEPS, DRAFT, strict=True)))
    assert expected_reward(dict(zip(STEPS, TARGET, strict=True))) >= draft
    assert expected_reward(mixture(FIVE[name])) >= draft


def scaled(weighting: Weighting, accepted: float) -> Weighting:
    """A mixture of `weighting` with always or never accepting that accepts a share `accepted`."""
    own = 1.0 - target_share(weighting)
    if own >= accepted:
        return lambda r: weighting(r) * accepted / own
    rest = (accepted - own) / (1.0 - own)
    return lambda r: weighting(r) + rest * (1.0 - weighting(r))


def at_budget(nu: float) -> dict[str, Weighting]:
    """The five functions, each brought to the same share `nu` of target calls.

    Step: rewards above the nu-quantile of the draft's reward are accepted, those below rejected,
    and the step of the alphabet at the quantile is accepted with the probability that is left
    (the randomised boundary that a discrete reward needs). Constant: p = 1 - nu. Logistic: once
    its delta is solved for at alpha 10, which needs values outside [0, 1] for extreme budgets, and
    once it is mixed as the rest. Clipping and sigmoidal have no parameter: w is mixed with never
    accepting (a factor) or with always accepting, which keeps it monotone.
    """
    accepted = 1.0 - nu
    share, boundary, partial = 0.0, 0.0, 0.0
    for step, p in sorted(zip(STEPS, DRAFT, strict=True), key=lambda pair: -REWARD[pair[0]]):
        boundary, partial = REWARD[step], min(1.0, max(0.0, (accepted - share) / p))
        share += p
        if share >= accepted:
            break

    def logistic(delta: float) -> Weighting:
        return lambda r: float(expit(10.0 * (r - delta)))

    delta = brentq(lambda d: target_share(logistic(d)) - nu, -5.0, 5.0, xtol=1e-14)
    return {
        "step": lambda r: 1.0 if r > boundary else partial if r == boundary else 0.0,
        "constant": Constant(accepted),
        "clipping": scaled(Clipping(), accepted),
        "sigmoidal": scaled(Sigmoidal(), accepted),
        "logistic": logistic(float(delta)),
        "logistic, mixed": scaled(Logistic(10.0, 0.7), accepted),
    }


BUDGETS = (0.1, 0.3, 0.45, 0.55, 0.75, 0.9)


@pytest.mark.parametrize("nu", BUDGETS)
def test_proposition_2_the_step_is_best_at_an_equal_budget(nu: float) -> None:
    """Expected rewards are exact; how the budgets are made equal is said in `at_budget`."""
    weightings = at_budget(nu)
    assert [target_share(w) for w in weightings.values()] == pytest.approx([nu] * 6, abs=1e-9)
    rewards = {name: expected_reward(mixture(w)) for name, w in weightings.items()}
    best = rewards.pop("step")
    assert best - max(rewards.values()) > 1e-3


def test_at_budgets_without_a_tie_the_best_weighting_is_the_plain_step() -> None:
    """0.75 of the draft's steps have a reward below 0.7: the paper's default is optimal there."""
    best = at_budget(0.75)["step"]
    assert all(best(r) == pytest.approx(BinaryStep(0.7)(r)) for r in REWARD.values())


def test_proposition_2_holds_for_sampled_steps() -> None:
    """Equal budgets in expectation; the true gap, 0.017, is seven standard errors of its sample."""
    nu, count = 0.55, 20_000
    rewards: dict[str, float] = {}
    for name, weighting in at_budget(nu).items():
        if name == "logistic, mixed":
            continue
        written, calls = sample(weighting, 42, count)
        assert calls / count == pytest.approx(nu, abs=0.012)
        rewards[name] = sum(REWARD[step] * n for step, n in written.items()) / count
        assert rewards[name] == pytest.approx(expected_reward(mixture(weighting)), abs=0.008)
    best = rewards.pop("step")
    assert best - max(rewards.values()) > 0.005
