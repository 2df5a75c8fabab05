"""What `rsd eval` is to do: one task for each data set and method, decided before a model loads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rsdecode import __version__
from rsdecode.config import RunConfig, config_hash, resolved
from rsdecode.config.build import build_problem
from rsdecode.config.methods import build_named_method
from rsdecode.config.resolve import settled
from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Problem
from rsdecode.evals.datasets import (
    Dataset,
    dataset_digest,
    dataset_named,
    load_dataset,
    load_shuffled,
)
from rsdecode.evals.grading import AnswerKind
from rsdecode.methods import Method
from rsdecode.results.code_version import code_version
from rsdecode.results.identity import result_key
from rsdecode.results.lines import Key
from rsdecode.results.store import Meta, Shard
from rsdecode.session.job import Job

ABACUS_LIMIT = 200
"""Problems of the embedded family where no limit is given: it could make any number of them."""


@dataclass(frozen=True, slots=True)
class EvalRequest:
    """What a run is asked for, beside its configuration.

    Attributes:
        limit: problems of each data set; None for all of them.
        shuffle_seed: of the order in which the problems are taken, and of the order of the choices
            in each; None for the data set's own order of problems.
        shard: which part of them; None for all.
    """

    data: tuple[str, ...]
    methods: tuple[str, ...]
    limit: int | None = None
    shuffle_seed: int | None = None
    shard: Shard | None = None


@dataclass(frozen=True, slots=True)
class EvalTask:
    """One method on one data set.

    Attributes:
        config: of the run, with this method.
        problems: those of this shard.
        kind: of the data set's answers.
    """

    meta: Meta
    config: RunConfig
    method: Method
    problems: tuple[Problem, ...]
    kind: AnswerKind

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.meta.data} {self.meta.method}"

    @property
    def config_hash(self) -> str:
        """Of the configuration."""
        return config_hash(self.config)

    @property
    def jobs(self) -> list[Job]:
        """All that is asked for."""
        run = self.config.run
        return [
            Job(problem, self.method, run.seed, sample, run.timeout_s)
            for problem in self.problems
            for sample in range(run.samples)
        ]

    def left(self, done: Collection[Key]) -> list[Job]:
        """What is not done."""
        return [job for job in self.jobs if job.key not in done]


def plan(config: RunConfig, asked: EvalRequest) -> list[EvalTask]:
    """The tasks, data set by data set.

    Raises:
        ConfigError: a method or data set is not known, or their settings contradict each other.
    """
    for kind, names in (("data set", asked.data), ("method", asked.methods)):
        twice = {name for name in names if names.count(name) > 1}
        if twice or not names:
            raise ConfigError(f"{kind} {twice.pop()!r} is given twice" if twice else f"no {kind}")
    if config.method_name.kind == "rsd":
        config = settled(config)  # what `rsd@0.5` says holds for `rsd` among the methods
    methods = {name: build_named_method(name, config) for name in asked.methods}
    return [
        _task(config, asked, source, name, method)
        for source in [_LoadedDataSet.load(data, asked) for data in asked.data]
        for name, method in methods.items()
    ]


@dataclass(frozen=True, slots=True)
class _LoadedDataSet:
    """A data set as it was loaded.

    Attributes:
        content: a digest of all of its problems, for the key.
        wanted: those that are asked for, in their order, of all shards together.
    """

    name: str
    entry: Dataset
    content: str
    wanted: Sequence[Problem]

    @classmethod
    def load(cls, name: str, asked: EvalRequest) -> _LoadedDataSet:
        entry, seed, limit = dataset_named(name), asked.shuffle_seed, asked.limit
        if limit is None and entry.name == "abacus":
            limit = ABACUS_LIMIT
        wanted = load_dataset(name, limit) if seed is None else load_shuffled(name, limit, seed)
        return cls(name, entry, dataset_digest(name, shuffle_seed=seed), wanted)


def _task(
    config: RunConfig, asked: EvalRequest, source: _LoadedDataSet, name: str, method: Method
) -> EvalTask:
    config = _prompted(settled(config.model_copy(update={"method": name})), source.entry)
    kind, shard = source.entry.answer_type, asked.shard
    meta = Meta(
        data=source.name,
        method=name,
        key=result_key(
            config, method, name=name, data=source.name, kind=kind, content=source.content
        ),
        config=resolved(config),
        shapes={},
        version=__version__,
        seed=config.run.seed,
        problems=len(source.wanted),
        shard=None if shard is None else str(shard),
        code=code_version(),
    )
    own = [p for at, p in enumerate(source.wanted) if shard is None or shard.takes(at)]
    return EvalTask(meta, config, method, tuple(_asked(config, problem) for problem in own), kind)


def _prompted(config: RunConfig, entry: Dataset) -> RunConfig:
    """With the system message spelled out: by default the data set's own."""
    system = config.system_prompt
    if config.prompt.system == "auto" and system is not None:
        system = entry.prompt or system
    prompt = config.prompt.model_copy(update={"system": system or ""})
    return config.model_copy(update={"prompt": prompt})


def _asked(config: RunConfig, problem: Problem) -> Problem:
    return build_problem(
        config,
        problem.question,
        id=problem.id,
        answer=problem.answer,
        before=problem.messages[:-1],
    )
