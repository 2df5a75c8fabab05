"""Labelling as a task for workers on other machines: a problem is a piece of its work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from rsdecode.config import RunConfig
from rsdecode.core.protocols import Models
from rsdecode.core.types import Problem
from rsdecode.evals.grading import AnswerKind, GradingPool
from rsdecode.methods import Method
from rsdecode.results.lines import Key
from rsdecode.training.label_run import LabelRun
from rsdecode.training.label_settings import LabelSettings
from rsdecode.training.labeller import Sampled


class Unlabelled(NamedTuple):
    """A problem, and the records of its solutions that are there."""

    problem: Problem
    known: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(
        cls, problem: Problem, places: Iterable[int], done: Mapping[Key, Mapping[str, Any]]
    ) -> Unlabelled:
        """A problem with what there is of it."""
        keys = [(problem.id, place) for place in places]
        return cls(problem, tuple(done[key] for key in keys if key in done))


@dataclass(frozen=True, slots=True)
class LabelTask:
    """How problems are labelled (see `distributed.tasks.TaskSettings`).

    Attributes:
        config: of the run, as `RunConfig.model_dump` gives it.
        settings: of labelling.
        kind: of the problems' answers.
        written: solutions that are there and are to be labelled, by problem.
    """

    config: dict[str, Any]
    settings: LabelSettings
    kind: str
    written: Mapping[str, Sequence[Sampled]] | None = None

    def method(self) -> Method:
        """What needs the models: the settings name their roles, and decode nothing."""
        return cast(Method, self.settings)

    def open(self, models: Models, pool: GradingPool) -> OpenLabelTask:
        """See `TaskSettings`."""
        config = RunConfig.model_validate(self.config)
        kind = AnswerKind(self.kind)
        run = label_run(config, self.settings, kind, models, pool, written=self.written)
        return OpenLabelTask(run)


class OpenLabelTask:
    """Labels problems on the models of a worker."""

    def __init__(self, run: LabelRun) -> None:
        self._run = run

    async def do(self, item: Unlabelled) -> Sequence[dict[str, Any]]:
        """The new records of one problem."""
        made: list[dict[str, Any]] = []
        done = {(str(record["id"]), int(record["sample"])): record for record in item.known}
        await self._run.label(item.problem, done, made.append)
        return made


def label_run(
    config: RunConfig,
    settings: LabelSettings,
    kind: AnswerKind,
    models: Models,
    pool: GradingPool,
    *,
    written: Mapping[str, Sequence[Sampled]] | None = None,
) -> LabelRun:
    """Labelling with loaded models, as a configuration says."""
    run = config.run
    return LabelRun(
        settings,
        models,
        pool,
        kind=kind,
        seed=run.seed,
        concurrency=run.concurrency,
        timeout_s=run.timeout_s,
        thoughts=config.answer.marks,
        written=written,
    )
