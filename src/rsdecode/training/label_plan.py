"""What `rsd prm label` is to do, decided before a model loads: the problems, and their key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rsdecode import __version__
from rsdecode.config import RunConfig, resolved
from rsdecode.config.build import build_problem
from rsdecode.config.resolve import settled
from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Problem
from rsdecode.evals.datasets import Dataset, dataset_digest, dataset_named, load_dataset
from rsdecode.evals.datasets.lines import BadLine, read_questions
from rsdecode.evals.grading import AnswerKind
from rsdecode.evals.plan import ABACUS_LIMIT
from rsdecode.results.code_version import code_version
from rsdecode.results.identity import result_key
from rsdecode.results.store import Meta, Shard
from rsdecode.training.label_settings import LabelSettings
from rsdecode.training.labeller import Sampled


@dataclass(frozen=True, slots=True)
class LabelPlan:
    """One labelling run.

    Attributes:
        problems: those of this shard that can be labelled.
        kind: of their answers.
        unanswered: ids of problems that are left out because nothing says what is right.
        bad: lines of a file that hold no usable question.
        written: solutions that are there and only want labels, by problem; empty where they are to
            be sampled.
    """

    meta: Meta
    config: RunConfig
    settings: LabelSettings
    problems: tuple[Problem, ...]
    kind: AnswerKind
    unanswered: tuple[str, ...] = ()
    bad: tuple[BadLine, ...] = ()
    written: Mapping[str, tuple[Sampled, ...]] = field(
        default_factory=dict[str, tuple[Sampled, ...]]
    )

    def places(self, problem: Problem) -> range:
        """The numbers of a problem's solutions."""
        own = self.written.get(problem.id)
        return range(self.settings.solutions if own is None else len(own))

    @property
    def solutions(self) -> int:
        """How many there are to be, at most."""
        return sum(len(self.places(problem)) for problem in self.problems)


def plan_labels(
    config: RunConfig,
    settings: LabelSettings,
    data: str,
    limit: int | None = None,
    shard: Shard | None = None,
    *,
    written: Mapping[str, tuple[Sampled, ...]] | None = None,
) -> LabelPlan:
    """Read the problems.

    Args:
        config: of the run.
        settings: how to label.
        data: the problems.
        limit: of problems.
        shard: of them.
        written: solutions to label in place of new ones; only their problems are taken.

    Raises:
        ConfigError: the data set is not known, holds nothing usable, or the boundary cannot be
            found in a text.
    """
    if settings.boundary.tokens:
        raise ConfigError(
            f"boundary {config.boundary!r}: steps of so many tokens cannot be cut from a text; "
            "label with separator, separator:TEXT, newline or sentence"
        )
    config = settled(config)
    entry = dataset_named(data)
    if limit is None and written is None and entry.name == "abacus":
        limit = ABACUS_LIMIT
    found, bad = _read(config, entry, data, limit)
    if written is not None:
        found = [problem for problem in found if problem.id in written]
    usable = [p for p in found if p.answer or not settings.needs_answers]
    if not usable:
        nothing = "no question" if not found else "no question with an answer"
        raise ConfigError(
            f'{data} holds {nothing}: give lines of {{"question": ..., "answer": ...}}, or '
            "--by checker or --by reward, which need no answers"
        )
    return LabelPlan(
        meta=_meta(config, settings, data, entry, problems=len(usable), shard=shard),
        config=config,
        settings=settings,
        problems=tuple(p for at, p in enumerate(usable) if shard is None or shard.takes(at)),
        kind=entry.answer_type,
        unanswered=tuple(p.id for p in found if not p.answer) if settings.needs_answers else (),
        bad=tuple(bad),
        written=written or {},
    )


def _meta(
    config: RunConfig,
    settings: LabelSettings,
    data: str,
    entry: Dataset,
    *,
    problems: int,
    shard: Shard | None,
) -> Meta:
    key = result_key(
        config,
        settings,  # pyright: ignore[reportArgumentType] - it names its roles, and decodes nothing
        name=settings.method.value,
        data=data,
        kind=entry.answer_type,
        content=dataset_digest(data),
    )
    return Meta(
        data=data,
        method=f"label-{settings.method}",
        key=key,
        config=resolved(config),
        shapes={},
        version=__version__,
        seed=config.run.seed,
        problems=problems,
        shard=None if shard is None else str(shard),
        code=code_version(),
    )


def _read(
    config: RunConfig, entry: Dataset, data: str, limit: int | None
) -> tuple[list[Problem], list[BadLine]]:
    """The problems of a data set; of a file of one's own also those without an answer."""
    try:
        asked = load_dataset(data, limit)
    except ConfigError:
        unused: dict[str, int] = {}
        if entry.source is not None or entry.name == "abacus" or not Path(data).is_file():
            raise
        questions, bad = read_questions(Path(data), limit, unused)
        if "choices" in unused:
            raise
        return [
            build_problem(config, q.text, id=q.id, answer=q.answer, before=q.before)
            for q in questions
        ], bad
    return [
        build_problem(config, p.question, id=p.id, answer=p.answer, before=p.messages[:-1])
        for p in asked
    ], []
