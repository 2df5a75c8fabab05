"""Whole answers: sampled side by side, and cut into steps afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from rsdecode.core.requests import Generate, Generated, Sampling, generate
from rsdecode.core.segment import WHOLE_ANSWER
from rsdecode.core.types import FinishReason, Role, Segment, Step, ToldToken
from rsdecode.methods.budgeted import AfterThoughts, within_budget
from rsdecode.methods.thinking import Part
from rsdecode.methods.trajectory import Deciding, TrajectoryBuilder

SAMPLED = Sampling(temperature=0.7)
"""How a draft is sampled several times, unless something else is asked for (the paper's)."""


def check_samples(count: int, sampling: Sampling) -> None:
    """Check that `count` samples of one context can differ.

    Raises:
        ValueError: there are none, or a greedy draft would write the same each time.
    """
    if count < 1:
        raise ValueError(f"samples {count!r} must be at least 1")
    if count > 1 and sampling.temperature == 0.0:
        raise ValueError(
            f"{count} samples of a greedy draft are all the same: "
            "set the draft's temperature above 0"
        )


def draft_answers(
    trajectory: TrajectoryBuilder, count: int, sampling: Sampling
) -> Deciding[list[Generated]]:
    """Have the draft write `count` whole answers, all asked for at once."""
    branches = [trajectory.branch(i) for i in range(count)]
    return (yield from whole_answers(trajectory, Role.DRAFT, sampling, branches))


def whole_answers(
    trajectory: TrajectoryBuilder,
    role: Role,
    sampling: Sampling,
    sessions: Sequence[str],
    *,
    after_thoughts: AfterThoughts | None = None,
) -> Deciding[list[Generated]]:
    """Have a model write a whole answer in each session, all asked for at once.

    Where thoughts have a budget they are written first (see `methods.budgeted`); a model that
    cannot continue what it wrote keeps to the budget itself.

    Args:
        trajectory: that the answers are for.
        role: who writes.
        sampling: how.
        sessions: one for each answer.
        after_thoughts: what is done with each answer's thoughts before it goes on.
    """
    yield from trajectory.begin(role)
    progress = trajectory.progress
    left = None if progress is None else progress.left
    request = Generate(
        role, trajectory.context, trajectory.limits.max_tokens, WHOLE_ANSWER, sampling
    )
    requests = [
        replace(request, seed=trajectory.seed_for(role.value, place), session=session)
        for place, session in enumerate(sessions)
    ]
    if left is None or (trajectory.thinking_is_off and trajectory.closing_step() is None):
        written = yield from generate(requests)
    elif trajectory.start.continues:
        written = yield from within_budget(trajectory, requests, after_thoughts)
    else:
        written = yield from generate([replace(r, thinking_tokens=left) for r in requests])
    trajectory.charge(role, *written)
    return written


def is_answer(written: Generated) -> bool:
    """Whether the model ended what it wrote itself."""
    return written.finish_reason is FinishReason.EOS


def stop_reason(written: Generated) -> FinishReason:
    """Why an answer that was written in one piece is over."""
    return FinishReason.EOS if is_answer(written) else FinishReason.LENGTH


def steps_of(
    parts: Sequence[Part],
    role: Role,
    finish_reason: FinishReason,
    rewards: Sequence[float] = (),
    *,
    tokens: int,
    told: Sequence[ToldToken] | None = None,
) -> list[Step]:
    """The steps of a whole answer, cut from its text.

    The tokens of the steps add up to `tokens`. Which text each of them wrote is not known here, so
    they are shared out by the length of the texts, to a token each.

    Args:
        parts: the texts of the steps (see `TrajectoryBuilder.parts`).
        role: who wrote it.
        finish_reason: of the last step.
        rewards: of each step that was scored: of all, or of those of the answer.
        tokens: decoded for the answer, as the ledger counts them: the one that ended the sequence
            is among them, and so in the last step.
        told: its tokens, where they are known; one that crosses from a step to the next is the
            first one's.
    """
    texts = [part.text for part in parts]
    unscored: list[float | None] = [None] * (len(parts) - len(rewards))
    steps = [
        Step(
            Segment(part.text, told=of_part),
            role,
            FinishReason.STOP,
            reward,
            accepted=role is Role.DRAFT,
            token_count=count,
            thought=part.thought,
        )
        for part, reward, count, of_part in zip(
            parts,
            [*unscored, *rewards],
            _shared_out(tokens, texts),
            _parted(told, texts),
            strict=True,
        )
    ]
    if steps:
        steps[-1] = replace(steps[-1], finish_reason=finish_reason)
    return steps


def _shared_out(tokens: int, texts: Sequence[str]) -> list[int]:
    """Whole numbers in proportion to the lengths of texts; they add up to `tokens`."""
    length = sum(map(len, texts))
    ends = [tokens * end // length for end in accumulate(map(len, texts))]
    return [end - start for start, end in pairwise([0, *ends])]


def _parted(
    told: Sequence[ToldToken] | None, texts: Sequence[str]
) -> list[tuple[ToldToken, ...] | None]:
    """The tokens of each text, by where they begin; those without text belong to what follows."""
    if told is None:
        return [None] * len(texts)
    parts: list[list[ToldToken]] = [[] for _ in texts]
    ends, at, place = list(accumulate(map(len, texts))), 0, 0
    for token in told:
        while place < len(texts) - 1 and at >= ends[place]:
            place += 1
        if parts:
            parts[place].append(token)
        at += len(token.text)
    return [tuple(part) for part in parts]
