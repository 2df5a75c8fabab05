"""Samples the solutions of a problem, and finds out which of their steps are right."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace

from rsdecode.core.errors import RequestError
from rsdecode.core.protocols import Caching, RewardModel
from rsdecode.core.requests import Failed, Sampling, Score
from rsdecode.core.seeds import derive_seed
from rsdecode.core.types import Context, FinishReason, Ledger, Problem, Role, Segment, Trajectory
from rsdecode.methods import Method
from rsdecode.training.continuations import Continuations
from rsdecode.training.label_settings import LabelMethod, LabelSettings
from rsdecode.training.solutions import LabelledStep

Ask = Callable[[Problem, Method, int, int], Awaitable["Asked"]]
"""Runs a method on a problem: problem, method, sample, priority."""
Grade = Callable[[str, str], Awaitable[bool]]
"""Whether the final answer of a text is the reference."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run of `Continuations` gave.

    Attributes:
        texts: the continuations, and whether the model ended each itself.
        full: whether there was no room in the model's context for any.
        error: why it failed, or who gave up on it; None where it did not.
    """

    texts: tuple[tuple[str, bool], ...]
    ledger: Ledger
    full: bool = False
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Sampled:
    """A solution, not labelled yet.

    Attributes:
        steps: texts with their separators; a last one that was cut is not among them.
        ended: whether the writer ended it itself.
        right: whether it ends with the right answer; None where there is no answer to grade by.
    """

    sample: int
    writer: Role
    temperature: float
    steps: tuple[str, ...]
    given: int
    ended: bool
    right: bool | None
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class Labelled:
    """What became of one solution.

    Attributes:
        steps: empty where it could not be labelled.
        written: completions that were written to label it.
        left_out: why it was not labelled; None where it was.
        error: what failed; None where nothing did.
    """

    sampled: Sampled
    steps: tuple[LabelledStep, ...] = ()
    written: int = 0
    ledger: Ledger = Ledger()
    left_out: str | None = None
    error: str | None = None


NOBODY = "nobody gets the answer right"
NO_STEP = "no whole step"
NO_BEGINNING = "no right beginning to continue"


class Failure(RequestError):
    """A request of this solution failed; the next run tries it again."""


class Labeller:
    """Labels the solutions of problems, one problem at a time; problems run side by side.

    Args:
        settings: how.
        ask: runs a method.
        grade: grades a text; may be called for every completion.
        seed: of every draw.
        judge: the reward that says which steps are right, for the methods that ask one.
    """

    def __init__(
        self,
        settings: LabelSettings,
        ask: Ask,
        grade: Grade,
        seed: int,
        judge: RewardModel | None = None,
    ) -> None:
        self._settings = settings
        self._ask = ask
        self._grade = grade
        self._seed = seed
        self._judge = judge

    async def whole(self, problem: Problem, places: Collection[int]) -> list[Labelled | Sampled]:
        """Sample the whole solutions at `places`; in the place of one that failed its failure."""
        settings = self._settings
        tasks = [
            self._sample(problem, place, *self._written_by(place, settings.samples))
            for place in places
        ]
        return list(await asyncio.gather(*tasks))

    async def continued(
        self, problem: Problem, known: Sequence[Labelled], places: Collection[int]
    ) -> list[Labelled | Sampled]:
        """Solutions that go on from a random right beginning of one that is labelled.

        Args:
            problem: to be solved.
            known: all its whole solutions, labelled.
            places: numbers of the wanted ones; they follow those of the whole ones.
        """
        settings = self._settings
        first = len(settings.writers) * settings.samples
        beginnings = right_beginnings(known)
        tasks: list[Awaitable[Labelled | Sampled]] = []
        for place in places:
            writer, temperature = self._written_by(place - first, settings.continued)
            rng = random.Random(derive_seed(self._seed, problem.id, place, "beginning"))
            if not beginnings:
                unsampled = Sampled(place, writer, temperature, (), 0, False, None, Ledger())
                tasks.append(_ready(Labelled(unsampled, left_out=NO_BEGINNING)))
                continue
            steps = rng.choice(beginnings)
            prefix = steps[: rng.randint(1, len(steps))]
            tasks.append(self._sample(problem, place, writer, temperature, prefix))
        return list(await asyncio.gather(*tasks))

    def _written_by(self, number: int, of_each: int) -> tuple[Role, float]:
        """The writer and the temperature of one of the solutions."""
        settings = self._settings
        temperature = settings.temperatures[number % of_each % len(settings.temperatures)]
        return settings.writers[number // of_each], temperature

    async def solvable(self, problem: Problem) -> tuple[bool, Ledger]:
        """Whether the completer ever gets the answer from the question alone, and what that cost.

        Raises:
            Failure: a request failed.
        """
        (right, _), ledger = await self._complete(problem, 0, (), until_right=True)
        return right > 0, ledger

    async def label(self, problem: Problem, sampled: Sampled) -> Labelled:
        """Label the steps of a solution; what fails is in `error`."""
        if len(sampled.steps) <= sampled.given:
            return Labelled(sampled, left_out=NO_STEP)
        try:
            match self._settings.method:
                case LabelMethod.OUTCOME:
                    right = bool(sampled.right)
                    steps = [LabelledStep(text, right, float(right)) for text in sampled.steps]
                    return Labelled(sampled, tuple(steps))
                case LabelMethod.CHECKER | LabelMethod.REWARD:
                    return await self._judged(problem, sampled)
                case LabelMethod.BISECT:
                    return await self._bisect(problem, sampled)
                case LabelMethod.ROLLOUTS:
                    return await self._rollouts(problem, sampled)
        except Failure as failure:
            return Labelled(sampled, error=str(failure))

    def end(self, problem: Problem) -> None:
        """No more solutions of a problem are labelled: what was read of it may be forgotten."""
        if isinstance(self._judge, Caching):
            self._judge.end(_session(problem))

    async def _sample(
        self,
        problem: Problem,
        sample: int,
        writer: Role,
        temperature: float,
        prefix: tuple[str, ...] = (),
    ) -> Labelled | Sampled:
        settings = self._settings
        method = Continuations(
            writer, prefix, limits=settings.limits, sampling=Sampling(temperature)
        )
        asked = await self._ask(problem, method, sample, 1)
        empty = Sampled(sample, writer, temperature, (), len(prefix), False, None, asked.ledger)
        if asked.error is not None:
            return Labelled(empty, error=asked.error)
        if asked.full:
            return Labelled(empty, left_out=NO_STEP)
        [(text, ended)] = asked.texts
        steps = settings.boundary.split(text)
        if not ended:
            steps = steps[:-1]  # the last one was cut
        whole = "".join(prefix) + text
        right = None
        if problem.answer:
            right = ended and await self._grade(whole, problem.answer)
        return replace(empty, steps=(*prefix, *steps), ended=ended, right=right)

    async def _judged(self, problem: Problem, sampled: Sampled) -> Labelled:
        """By the reward of each step, in one reading of the solution."""
        assert self._judge is not None
        request = Score(
            Context(problem.messages),
            tuple(map(Segment, sampled.steps)),
            _session(problem),
            by_token=self._settings.method is LabelMethod.REWARD,
        )
        [reply] = await self._judge.score([request])
        if isinstance(reply, Failed):
            raise Failure(str(reply.error))
        steps = list[LabelledStep]()
        so_far = True
        tokens = reply.tokens or [()] * len(reply.rewards)
        for text, reward, own in zip(sampled.steps, reply.rewards, tokens, strict=True):
            so_far = so_far and reward >= 0.5
            steps.append(LabelledStep(text, so_far, reward, tokens=own))
        return Labelled(sampled, tuple(steps), ledger=Ledger(reward=reply.usage))

    async def _rollouts(self, problem: Problem, sampled: Sampled) -> Labelled:
        """Completions from every step of its own but the one that ends it, whose end is known.

        A step from which some later one can still end right is right as well; given steps are.
        """
        given = sampled.given
        ends = range(given + 1, len(sampled.steps) + (not sampled.ended))
        results = await asyncio.gather(
            *(self._complete(problem, sampled.sample, sampled.steps[:end]) for end in ends)
        )
        counts = [count for count, _ in results]
        written = sum(total for _, total in counts)
        ledger = sum((ledger for _, ledger in results), Ledger())
        if sampled.ended:
            counts.append((int(bool(sampled.right)), 1))
        good = [right > self._settings.share * total for right, total in counts]
        last = max((place for place, right in enumerate(good) if right), default=-1)
        steps = [LabelledStep(text, True) for text in sampled.steps[:given]]
        for place, (text, (right, total)) in enumerate(
            zip(sampled.steps[given:], counts, strict=True)
        ):
            steps.append(LabelledStep(text, place <= last, right / total, (right, total)))
        return Labelled(sampled, tuple(steps), written, ledger)

    async def _bisect(self, problem: Problem, sampled: Sampled) -> Labelled:
        """A binary search: all before the first wrong step is right, and nothing from it on is.

        An answer that is right counts as right from its beginning to its end.
        """
        count = len(sampled.steps)
        known: dict[int, tuple[int, int]] = {}
        ledger = Ledger()
        low, high = (count, count + 1) if sampled.right else (sampled.given, count)
        if not sampled.ended and not sampled.right:
            high = count + 1  # it was cut, and its last whole step may be right
        while high - low > 1:
            middle = (low + high) // 2
            known[middle], spent = await self._complete(
                problem, sampled.sample, sampled.steps[:middle]
            )
            ledger += spent
            right, total = known[middle]
            low, high = (middle, high) if right > self._settings.share * total else (low, middle)
        steps = [
            LabelledStep(text, end <= low, float(end <= low), known.get(end))
            for end, text in enumerate(sampled.steps, start=1)
        ]
        written = sum(total for _, total in known.values())
        return Labelled(sampled, tuple(steps), written, ledger)

    async def _complete(
        self,
        problem: Problem,
        sample: int,
        prefix: Sequence[str],
        *,
        until_right: bool = False,
    ) -> tuple[tuple[int, int], Ledger]:
        """How many completions of a beginning end right, of how many; and what they cost.

        Raises:
            Failure: a request failed.
        """
        settings = self._settings
        right = total = 0
        ledger = Ledger()
        for wave in settings.waves():
            method = Continuations(
                settings.completer,
                tuple(prefix),
                wave,
                total,
                "completion",
                settings.limits,
                Sampling(settings.completion_temperature),
            )
            asked = await self._ask(problem, method, sample, 0)
            ledger += asked.ledger
            if asked.error is not None:
                raise Failure(asked.error)
            if asked.full:
                return (right, max(total, 1)), ledger
            begun = "".join(prefix)
            verdicts = await asyncio.gather(
                *(self._ends_right(problem, begun + text, ended) for text, ended in asked.texts)
            )
            right, total = right + sum(verdicts), total + wave
            clear = right > 0 if until_right else settings.verdict(right, total) is not None
            if clear:
                break
        return (right, total), ledger

    async def _ends_right(self, problem: Problem, text: str, ended: bool) -> bool:
        return ended and await self._grade(text, problem.answer or "")


def right_beginnings(known: Sequence[Labelled]) -> list[tuple[str, ...]]:
    """The right steps of each labelled solution, without the one that ends its answer."""
    found: list[tuple[str, ...]] = []
    for labelled in known:
        texts = labelled.sampled.steps
        right = next(
            (i for i, step in enumerate(labelled.steps) if not step.right), len(labelled.steps)
        )
        if labelled.sampled.ended:
            right = min(right, len(texts) - 1)
        if right > 0:
            found.append(texts[:right])
    return found


def asked_of(trajectory: Trajectory) -> Asked:
    """What a trajectory of `Continuations` holds."""
    reason = trajectory.stop_reason
    if reason in (FinishReason.ERROR, FinishReason.CANCELLED):
        return Asked((), trajectory.ledger, error=trajectory.error or reason.value)
    texts = tuple((a.text, a.stop_reason is FinishReason.EOS) for a in trajectory.alternatives)
    return Asked(texts, trajectory.ledger, full=reason is FinishReason.LENGTH)


def _session(problem: Problem) -> str:
    """In which a reward reads the solutions of a problem, one after the other."""
    return f"{problem.id}/labels"


async def _ready(value: Labelled) -> Labelled:
    return value
