"""Labels many problems side by side, in one session; each solution is kept when it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rsdecode.core.protocols import Models
from rsdecode.core.thoughts import THOUGHTS, Thoughts
from rsdecode.core.types import Ledger, Problem
from rsdecode.evals.grading import AnswerKind, GradingPool
from rsdecode.methods import Method
from rsdecode.results.lines import Key
from rsdecode.session.job import Job
from rsdecode.session.session import Session
from rsdecode.training.distinct import DistinctLabels
from rsdecode.training.label_records import as_record, from_record
from rsdecode.training.label_settings import LabelSettings
from rsdecode.training.labeller import (
    NOBODY,
    Asked,
    Failure,
    Labelled,
    Labeller,
    Sampled,
    asked_of,
)

Keep = Callable[[dict[str, Any]], None]


class LabelRun:
    """Labels problems with loaded models.

    Args:
        settings: how.
        models: what writes and judges; not closed here.
        pool: what grades.
        kind: of the problems' answers.
        seed: of every draw.
        concurrency: of the session; as many problems are open at once.
        timeout_s: seconds that one request for solutions or completions may take.
        thoughts: the marks that the models' thoughts end with.
        written: solutions that are there and only want labels, by problem.
    """

    def __init__(
        self,
        settings: LabelSettings,
        models: Models,
        pool: GradingPool,
        *,
        kind: AnswerKind,
        seed: int,
        concurrency: int,
        timeout_s: float | None = None,
        thoughts: Thoughts = THOUGHTS,
        written: Mapping[str, Sequence[Sampled]] | None = None,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._kind = kind
        self._concurrency = concurrency
        self._thoughts = thoughts
        self._written = written or {}
        self._shapes = models.shapes()
        self._session = Session(models, concurrency=concurrency)
        judge = models.reward if settings.asks_reward else None

        async def ask(problem: Problem, method: Method, sample: int, priority: int) -> Asked:
            job = Job(problem, method, seed, sample, timeout_s, priority)
            handle = self._session.submit_job(job, events="none")
            try:
                return asked_of(await handle.result())
            except asyncio.CancelledError:
                handle.cancel()
                raise

        self._labeller = Labeller(settings, ask, self._grade, seed, judge)

    async def run(
        self, problems: Sequence[Problem], done: Mapping[Key, Mapping[str, Any]], keep: Keep
    ) -> None:
        """Label what is left of the problems.

        Args:
            problems: all that are wanted.
            done: records of solutions that are there.
            keep: told of each record when it is there.
        """
        open_problems = asyncio.Semaphore(self._concurrency)

        async def work(problem: Problem) -> None:
            try:
                await self.label(problem, done, keep)
            finally:
                open_problems.release()

        try:
            async with asyncio.TaskGroup() as tasks:
                for problem in problems:
                    if not self._is_done(problem, done):
                        await open_problems.acquire()
                        tasks.create_task(work(problem))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    def _is_done(self, problem: Problem, done: Mapping[Key, object]) -> bool:
        own = self._written.get(problem.id)
        count = self._settings.solutions if own is None else len(own)
        return all((problem.id, place) in done for place in range(count))

    async def close(self) -> None:
        """Give up what is under way."""
        await self._session.close(cancel=True)

    async def label(
        self, problem: Problem, done: Mapping[Key, Mapping[str, Any]], keep: Keep
    ) -> None:
        """Label one problem: its whole solutions, then those that continue a right beginning.

        Args:
            problem: to be solved.
            done: records of solutions that are there, of this problem and perhaps of others.
            keep: told of each record when it is there.
        """
        try:
            await self._label(problem, done, keep)
        finally:
            self._labeller.end(problem)

    async def _label(
        self, problem: Problem, done: Mapping[Key, Mapping[str, Any]], keep: Keep
    ) -> None:
        labeller = self._labeller
        known = {
            place: from_record(done[problem.id, place])
            for place in range(self._settings.solutions)
            if (problem.id, place) in done
        }
        own = self._written.get(problem.id)
        first = len(self._settings.writers) * self._settings.samples if own is None else len(own)
        missing = [place for place in range(first) if place not in known]
        sampled: list[Labelled | Sampled] = [] if own is None else [own[at] for at in missing]
        if missing and own is None:
            sampled = await labeller.whole(problem, missing)
        everything = [*known.values(), *sampled]
        solved, spent, failure = await self._solved(problem, everything)

        async def label(one: Sampled) -> Labelled:
            if failure is not None:
                return Labelled(one, error=failure)
            return await labeller.label(problem, one) if solved else Labelled(one, left_out=NOBODY)

        distinct = DistinctLabels(label, known.values(), in_turn=self._settings.asks_reward)

        async def finish(one: Labelled | Sampled, extra: Ledger) -> None:
            labelled = one if isinstance(one, Labelled) else await distinct.label(one)
            if labelled.error is None:
                known[labelled.sampled.sample] = labelled
            keep(as_record(problem, labelled, self._shapes, extra))

        await asyncio.gather(
            *(finish(one, spent if at == 0 else Ledger()) for at, one in enumerate(sampled))
        )
        if own is not None or any(place not in known for place in range(first)):
            return  # beginnings are drawn from all of them: the next run does
        wanted = range(first, self._settings.solutions)
        left = [place for place in wanted if place not in known]
        if left:
            beginnings = [known[place] for place in range(first)]
            more = await labeller.continued(problem, beginnings, left)
            await asyncio.gather(*(finish(one, Ledger()) for one in more))

    async def _solved(
        self, problem: Problem, whole: Sequence[Labelled | Sampled]
    ) -> tuple[bool, Ledger, str | None]:
        """Whether anybody gets the answer right, what asking has cost, and why it failed."""
        if self._settings.asks_reward:
            return True, Ledger(), None
        samples = [one.sampled if isinstance(one, Labelled) else one for one in whole]
        if any(sample.right for sample in samples):
            return True, Ledger(), None
        if all(isinstance(one, Labelled) for one in whole):
            known = [one for one in whole if isinstance(one, Labelled)]
            return all(one.left_out != NOBODY for one in known), Ledger(), None
        if not self._settings.searches:
            return False, Ledger(), None
        try:
            solved, ledger = await self._labeller.solvable(problem)
        except Failure as failure:
            return False, Ledger(), str(failure)
        return solved, ledger, None

    async def _grade(self, text: str, reference: str) -> bool:
        return (await self._pool.grade(text, reference, self._kind, self._thoughts)).correct
