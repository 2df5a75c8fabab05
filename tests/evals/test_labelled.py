from __future__ import annotations

import json
from pathlib import Path

import pytest

from rsdecode.core.requests import Score, Scored
from rsdecode.evals.labelled import as_written, read_labelled
from rsdecode.training.scoring import score_solutions
from rsdecode.training.solutions import LabelledSolution, LabelledStep


def test_steps_get_the_breaks_that_labels_leave_out_and_the_last_one_ends_the_answer() -> None:
    assert as_written(["a", "b\n", "c"]) == ("a\n\n", "b\n", "c")
    assert as_written(["alone"]) == ("alone",)


@pytest.mark.parametrize(
    ("labels", "texts"),
    [([True, True, True], ("a\n\n", "b\n\n", "c")), ([True, False, False], ("a\n\n", "b\n\n"))],
)
def test_a_step_at_which_labels_stop_is_followed_by_others(
    tmp_path: Path, labels: list[bool], texts: tuple[str, ...]
) -> None:
    row = {"prompt": "q", "completions": ["a", "b", "c"], "labels": labels}
    (tmp_path / "steps.jsonl").write_text(json.dumps(row))
    [found] = read_labelled(tmp_path / "steps.jsonl")
    assert found.steps == texts


class Reader:
    """A reward that keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def score(self, requests: list[Score]) -> list[Scored]:
        self.seen += ["".join(step.text for step in request.steps) for request in requests]
        return [Scored((1.0,) * len(request.steps)) for request in requests]


async def test_reward_models_are_shown_solutions_as_they_were_written() -> None:
    reader = Reader()
    solution = LabelledSolution("s", "p", "q", (LabelledStep("a", True), LabelledStep("b", True)))
    await score_solutions("reader", reader, [solution], lambda _: None)  # pyright: ignore[reportArgumentType]
    assert reader.seen == ["a\n\nb"]
