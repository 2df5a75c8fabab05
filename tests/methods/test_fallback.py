"""All ways of writing in a rejected step's place write the same; they differ in passes."""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import replace
from functools import cache, partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from rsdecode.backends.scripted import ScriptedModel, ScriptedReward
from rsdecode.core.errors import ConfigError
from rsdecode.core.limits import Limits
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Generate, Generated, Sampling
from rsdecode.core.segment import Boundary, parse_boundary
from rsdecode.core.types import FinishReason, Role, Segment, Tokens, Trajectory, Usage
from rsdecode.core.weighting import Constant
from rsdecode.methods import RSD, require
from rsdecode.methods.fallback import Fallback, FallbackName
from rsdecode.session.drive import drive
from rsdecode.testing.categorical import CategoricalModel, Ids
from tests.methods.play import EOS, LENGTH, PROBLEM, STEP_LIMIT, STOP, generates, play, reward, text

WORDS = ("", "a ", "b ", "c ", "d\n\n")
VERIFY, SPECULATE = Fallback("verify"), Fallback("speculate", 2)
SAMPLES = 20_000 if "RSD_SLOW" in os.environ else 3_000
"""Steps; half a minute for the larger number."""


def table(seed: int) -> CategoricalModel:
    """A model whose next token depends on the last two."""

    @cache
    def after(last: Ids) -> list[float]:
        draw = random.Random(repr((seed, last)))
        weights = [draw.random() ** 2 for _ in WORDS]
        return [weight / sum(weights) for weight in weights]

    return CategoricalModel(WORDS, lambda before: after(before[-2:]))


def models(draft: CategoricalModel, target: CategoricalModel) -> Models:
    return Models(draft, target, ScriptedReward(lambda _: 0.5))


def written(*ids: int, finish: FinishReason = STEP_LIMIT) -> Generated:
    """A reply of token ids, spelled by themselves."""
    spelled = "".join(map(str, ids))
    return Generated(Segment(spelled, Tokens("v", ids)), finish, Usage(5, 0, 1, 1))


def guess(*ids: int) -> Segment:
    return Segment("", Tokens("v", ids))


def test_the_target_is_given_the_rejected_step_as_a_guess() -> None:
    """And nothing else changes."""
    replies = ([text("bad\n\n", STOP)], [reward(0.1)], [text("b\n\n", STOP)], [text("c")])
    plain, alone = play(RSD()(PROBLEM), *replies, [reward(0.9)])
    asked, trajectory = play(RSD(fallback=VERIFY)(PROBLEM), *replies, [reward(0.9)])
    assert trajectory == alone
    guesses = [request.guess for requests in asked for request in generates(requests)]
    assert guesses == [None, Segment("bad\n\n"), None]
    without = [
        [replace(r, guess=None) if isinstance(r, Generate) else r for r in requests]
        for requests in asked
    ]
    assert without == plain


def test_the_draft_goes_on_guessing_behind_what_the_target_has_written() -> None:
    rejected = written(1, 2, 3, 4, finish=STOP)
    replies = [rejected], [reward(0.1)], [written(1, 7)], [written(1, 7, 3, 4)]
    more = [written(1, 7, 3, 8)], [written(1, 7, 3, 8, 9, finish=EOS)]
    end = [written(1, 7, 3, 8, 9, finish=EOS)]
    asked, trajectory = play(RSD(fallback=SPECULATE)(PROBLEM), *replies, *more, end)
    draft, target, *rounds = (r for requests in asked for r in generates(requests))
    first, second, third, fourth = rounds
    assert (target.guess, target.begun, target.pauses) == (rejected.segment, None, True)
    for guessing, begun in ((first, written(1, 7)), (third, written(1, 7, 3, 8))):
        limit = begun.token_count + 2
        assert guessing.is_guess
        assert guessing == replace(
            target,
            role=Role.DRAFT,
            max_tokens=limit,
            begun=begun.segment,
            guess=None,
            pauses=False,
        )
    assert second == replace(target, begun=written(1, 7).segment, guess=guess(3, 4))
    assert fourth == replace(target, begun=written(1, 7, 3, 8).segment, guess=guess(9))
    assert not draft.is_guess
    assert trajectory.stop_reason is EOS
    assert [step.text for step in trajectory.steps] == ["17389"]
    assert trajectory.steps[0].token_count == 5
    assert trajectory.ledger.target.calls == trajectory.ledger.draft.calls == 3


def test_the_target_writes_the_rest_alone_where_no_guess_helps() -> None:
    rejected = written(1, 2, finish=STOP)
    asked, trajectory = play(
        RSD(fallback=SPECULATE, limits=Limits(max_step_tokens=4, max_tokens=8))(PROBLEM),
        [rejected],
        [reward(0.1)],
        [written(1, 3)],
        [written(1, 3, 4)],  # one token only is asked for: the last needs no guess
        [written(1, 3, 5)],
        [written(1, 3, 5, 6)],
        [written(1, finish=STOP)],
        [reward(0.1)],
        [written(2)],
        [written(2, finish=LENGTH)],  # the draft's context is full
        [written(2, 3, finish=EOS)],
    )
    requests = [r for each in asked for r in generates(each)]
    assert [r.max_tokens for r in requests if r.is_guess] == [3, 3]
    alone = [r for r in requests if r.role is Role.TARGET and not r.pauses]
    assert [(r.guess, r.begun) for r in alone] == [
        (None, written(1, 3, 5).segment),
        (None, written(2).segment),
    ]
    assert [step.text for step in trajectory.steps] == ["1356", "23"]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@settings(max_examples=30, deadline=None)
@given(
    seeds=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
    guess_tokens=st.integers(1, 7),
    max_step_tokens=st.integers(1, 12),
    boundary=st.sampled_from(["separator", "tokens:5", "sentence"]),
)
def test_all_fallbacks_write_the_same(
    temperature: float,
    seeds: tuple[int, int],
    guess_tokens: int,
    max_step_tokens: int,
    boundary: str,
) -> None:
    sampling = Sampling(temperature)
    method = RSD(
        weighting=Constant(0.3),
        boundary=parse_boundary(boundary),
        limits=Limits(max_steps=6, max_step_tokens=max_step_tokens, max_tokens=20),
        draft_sampling=sampling,
        target_sampling=sampling,
    )
    pair = models(*map(table, seeds))

    def run(name: FallbackName) -> Trajectory:
        fallback = Fallback(name, guess_tokens)
        return drive(replace(method, fallback=fallback)(PROBLEM, seed=3), pair)

    alone = run("decode")
    for trajectory in (run("verify"), run("speculate")):
        assert trajectory.steps == alone.steps
        assert trajectory.stop_reason is alone.stop_reason
        used = trajectory.ledger.target
        assert used.decoded_tokens + used.accepted_tokens == alone.ledger.target.decoded_tokens
        assert used.decoded_tokens <= alone.ledger.target.decoded_tokens
        assert used.verified_tokens >= used.accepted_tokens
    assert run("verify").ledger.draft == alone.ledger.draft
    assert run("speculate").ledger.draft.decoded_tokens >= alone.ledger.draft.decoded_tokens


@pytest.mark.parametrize("fallback", [VERIFY, SPECULATE])
def test_a_step_in_a_rejected_ones_place_is_a_fair_draw_of_the_target(fallback: Fallback) -> None:
    """Whatever the draft guesses: steps of three tokens against their exact law."""
    draft, target = table(1), table(2)
    method = RSD(
        weighting=Constant(0.0),
        fallback=fallback,
        boundary=Boundary("", tokens=3),
        limits=Limits(max_steps=1),
        draft_sampling=Sampling(1.0),
        target_sampling=Sampling(1.0),
    )
    pair = models(draft, target)
    drawn = Counter(drive(method(PROBLEM, seed=seed), pair).text for seed in range(SAMPLES))
    law = dict[str, float]()
    for step, chance in steps_of(target, ()):
        law[step] = law.get(step, 0.0) + chance
    assert sum(law.values()) == pytest.approx(1.0)
    likely = [step for step, chance in law.items() if chance * SAMPLES >= 5]
    rest = 1.0 - sum(law[step] for step in likely)
    observed = [drawn[step] for step in likely]
    observed.append(SAMPLES - sum(observed))
    expected = [SAMPLES * law[step] for step in likely] + [SAMPLES * rest]
    assert chisquare(observed, expected).pvalue > 1e-3


def steps_of(model: CategoricalModel, before: Ids) -> list[tuple[str, float]]:
    """All steps of three tokens at most, and their probabilities."""
    if len(before) == 3:
        return [("", 1.0)]
    found = list[tuple[str, float]]()
    for token, chance in enumerate(model.distribution(before, Sampling(1.0))):
        rest = steps_of(model, (*before, token)) if token else [("", 1.0)]
        found += [(WORDS[token] + step, chance * more) for step, more in rest]
    return found


def agreeing(share: float, seed: int) -> tuple[CategoricalModel, CategoricalModel]:
    """A draft and a target whose likeliest next tokens agree at this share of places."""

    def following(whose: str, before: Ids) -> list[float]:
        agree = random.Random(repr((seed, before))).random() < share
        draw = random.Random(repr((seed, before, "" if agree else whose)))
        return [0.0, *(draw.random() for _ in range(9))]

    words = ("", *(f"{i} " for i in range(9)))
    draft, target = (
        CategoricalModel(words, partial(following, role)) for role in ("draft", "target")
    )
    return draft, target


def test_speculating_takes_fewer_passes_where_seven_of_ten_tokens_agree() -> None:
    """Greedy: what a guess holds behind a wrong token depends on it, so it is wrong too."""
    passes = dict[str, float]()
    for name in ("decode", "verify", "speculate"):
        method = RSD(
            weighting=Constant(0.0),
            fallback=Fallback(name),
            boundary=Boundary("", tokens=30),
            limits=Limits(max_steps=1),
        )
        runs = [drive(method(PROBLEM), models(*agreeing(0.7, seed))) for seed in range(20)]
        passes[name] = sum(run.ledger.target.decoded_tokens for run in runs) / len(runs)
    assert passes["decode"] == 30.0
    assert passes["verify"] < 30.0
    assert passes["speculate"] < passes["verify"] / 2
    assert passes["speculate"] < 30.0 / 2


def test_who_cannot_take_guesses_is_refused() -> None:
    class Reading(ScriptedModel):
        vocabulary = "of the target"

        def check_guesses(self) -> None: ...

    class Writing(ScriptedModel):
        vocabulary = "of the target"

    class WithStates(Reading):
        def check_guesses(self) -> None:
            raise ConfigError("it has layers with a state")

    draft, score = ScriptedModel(lambda _: "one"), ScriptedReward(lambda _: 0.1)
    reads, served, states = (kind(lambda _: "1") for kind in (Reading, Writing, WithStates))
    for method in (RSD(fallback=VERIFY), RSD(fallback=SPECULATE)):
        with pytest.raises(ConfigError, match="needs a target in this process"):
            require(method, Models(reads, served, score))
        with pytest.raises(ConfigError, match="different tokenizers"):
            require(method, Models(draft, reads, score))
        with pytest.raises(ConfigError, match="layers with a state"):
            require(method, Models(reads, states, score))
        require(method, Models(reads, reads, score))
    require(RSD(fallback=VERIFY), Models(served, reads, score))
    with pytest.raises(ConfigError, match="fallback speculate needs a draft in this process"):
        require(RSD(fallback=SPECULATE), Models(served, reads, score))
    with pytest.raises(ConfigError, match="layers with a state"):
        require(RSD(fallback=SPECULATE), Models(states, reads, score))
    require(RSD(), Models(draft, reads, score))


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="fallback 'guess' must be decode, verify or speculate"):
        Fallback("guess")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="guess_tokens 0 must be at least 1"):
        Fallback("speculate", 0)
