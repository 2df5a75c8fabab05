"""A loaded configuration at work: what the commands that solve problems have in common."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from rsdecode.cli.messages import print_note, print_warning
from rsdecode.cli.termination import ctrl_c_is_one
from rsdecode.config import RunConfig, config_hash
from rsdecode.config.build import build_method, build_models, build_problem
from rsdecode.config.specs import parse_reward_spec
from rsdecode.config.warnings import warnings_of
from rsdecode.core.types import Role
from rsdecode.results.records import trajectory_to_record
from rsdecode.session.job import Job
from rsdecode.session.session import Session
from rsdecode.text.quiet import quiet_libraries

if TYPE_CHECKING:
    from rich.status import Status

    from rsdecode.core.protocols import Models
    from rsdecode.core.types import Problem, Trajectory
    from rsdecode.evals.datasets.lines import Question
    from rsdecode.methods import Method


@dataclass(frozen=True, slots=True)
class Runtime:
    """The models and the method of a configuration."""

    config: RunConfig
    models: Models
    method: Method

    def job(self, question: Question, sample: int) -> Job:
        """The job of one sample of a question."""
        run = self.config.run
        problem = problem_of(self.config, question)
        return Job(problem, self.method, run.seed, sample, run.timeout_s)

    def jobs(self, question: Question) -> list[Job]:
        """One job for each sample of a question."""
        return [self.job(question, sample) for sample in range(self.config.run.samples)]

    def session(self) -> Session:
        """A session on the models, for the running event loop."""
        run, marks = self.config.run, self.config.answer.marks
        return Session(self.models, concurrency=run.concurrency, thoughts=marks)

    def record(self, trajectory: Trajectory) -> dict[str, Any]:
        """The JSON object of a trajectory."""
        shapes, name = self.models.shapes(), config_hash(self.config)
        return trajectory_to_record(
            trajectory, shapes=shapes, config_hash=name, thoughts=self.config.answer.marks
        )


def with_one_sample(config: RunConfig, why: str) -> RunConfig:
    """The configuration for a command that has no use for its samples; a warning says why."""
    run = config.run
    if run.samples == 1:
        return config
    print_warning(f"samples {run.samples} has no effect here: {why}")
    return config.model_copy(update={"run": run.model_copy(update={"samples": 1})})


def problem_of(config: RunConfig, question: Question) -> Problem:
    """A question as the models are asked it."""
    return build_problem(
        config, question.text, id=question.id, answer=question.answer, before=question.before
    )


def tell_warnings(*configs: RunConfig) -> None:
    """Print what of configurations is probably not meant, each line once."""
    for warning in dict.fromkeys(line for config in configs for line in warnings_of(config)):
        print_warning(warning)


@contextmanager
def loaded(config: RunConfig) -> Generator[Runtime]:
    """Load the models, and close them in the end."""
    method = build_method(config)
    with loading(config) as reporter:
        models = build_models(config, watcher=reporter)
    try:
        tell_warnings(config)
        yield Runtime(config, models, method)
    finally:
        for note in models.notes():
            print_warning(note)
        models.close()


class Reporter:
    """Says on stderr what servers do that are started (a `Watcher`).

    Args:
        shown: the line at a terminal that says what is being done; None where there is none.
    """

    def __init__(self, shown: Status | None = None) -> None:
        self._shown = shown

    def status(self, text: str) -> None:
        """Replace the line at the terminal."""
        if self._shown is not None:
            self._shown.update(escape(text))

    def note(self, text: str) -> None:
        """A plain line."""
        print_note(text)

    def warning(self, text: str) -> None:
        """A warning."""
        print_warning(text)


@contextmanager
def loading(config: RunConfig) -> Generator[Reporter]:
    """Tell a person at a terminal what takes so long, and keep the libraries quiet.

    They only show bars of their own where a model may have to be downloaded first.
    """
    specs = _specs(config)
    downloads = any(spec.startswith("hf:") and not os.path.exists(spec[3:]) for spec in specs)
    shown = sys.stderr.isatty()
    with ctrl_c_is_one(), quiet_libraries(bars=shown and downloads):
        if not shown or downloads:
            yield Reporter()
            return
        with Console(stderr=True).status(escape("loading " + ", ".join(specs))) as status:
            yield Reporter(status)


def _specs(config: RunConfig) -> list[str]:
    """The models that the method needs, each once."""
    places = {
        Role.DRAFT: config.draft,
        Role.TARGET: config.target,
        Role.REWARD: config.reward.spec,
    }
    specs = [spec for role, spec in places.items() if role in config.roles]
    if Role.REWARD in config.roles:
        specs += map(str, parse_reward_spec(specs.pop()).leaves)
    return list(dict.fromkeys(specs))
