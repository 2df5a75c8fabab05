"""RSD as a step of a Ray Data pipeline."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rsdecode.config import RunConfig
from rsdecode.config.build import build_problem
from rsdecode.core.errors import InputError
from rsdecode.core.types import Problem
from rsdecode.solver import load


class RSDProcessor:
    """Solves a column of questions, for `Dataset.map_batches`.

        questions = ray.data.read_parquet("questions.parquet")
        answers = questions.map_batches(
            RSDProcessor, fn_constructor_kwargs={"config": "run.yaml"}, concurrency=2, num_cpus=1
        )
        answers.write_parquet("answers")

    Each worker loads the models once. A batch comes back with the columns `answer` (None where
    there is none), `text`, `stop_reason`, `acceptance` (share of steps that the draft wrote) and
    `record` (all of it as JSON, as `rsd solve --json` prints it). An answer depends on the question
    and its id, not on how the rows were cut into batches.

    Args:
        config: as of `rsdecode.load`.
        question: the column that holds the questions.
        id: the column that tells them apart, from which random draws are derived; by default it is
            made of the question's text.
        settings: other keys of the configuration, as of `rsdecode.load`.

    Raises:
        ConfigError: a setting is wrong.
        ModelLoadError: a model cannot be loaded.
    """

    def __init__(
        self,
        config: str | Path | RunConfig | None = None,
        *,
        question: str = "question",
        id: str | None = None,
        **settings: Any,
    ) -> None:
        self._question = question
        self._id = id
        self._solver = load(config, **settings)

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """The batch with its answers.

        Args:
            batch: columns of B rows, in numpy's format or as lists.

        Raises:
            InputError: a column is missing.
        """
        problems = self._problems(batch)
        solved = self._solver.solve_many(problems)
        return {
            **batch,
            "answer": [trajectory.answer for trajectory in solved],
            "text": [trajectory.text for trajectory in solved],
            "stop_reason": [trajectory.stop_reason.value for trajectory in solved],
            "acceptance": [trajectory.acceptance_rate for trajectory in solved],
            "record": [json.dumps(self._solver.record(trajectory)) for trajectory in solved],
        }

    def close(self) -> None:
        """Free the models."""
        self._solver.close()

    def _problems(self, batch: Mapping[str, Sequence[Any]]) -> list[Problem]:
        for column in (self._question, self._id):
            if column is not None and column not in batch:
                raise InputError(
                    f"there is no column {column!r} in the data (it has {', '.join(batch)}): name "
                    "the right one with question=... and id=..."
                )
        questions = [str(question) for question in batch[self._question]]
        if self._id is None:
            ids = [hashlib.blake2b(q.encode(), digest_size=8).hexdigest() for q in questions]
        else:
            ids = [str(id) for id in batch[self._id]]
        config = self._solver.config
        return [
            build_problem(config, question, id=id)
            for question, id in zip(questions, ids, strict=True)
        ]
