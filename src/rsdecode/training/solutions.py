"""Solutions with labelled steps, as JSON rows that TRL, datasets and axolotl read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from rsdecode.core.conversation import check_question, check_text
from rsdecode.core.errors import InputError
from rsdecode.core.requests import TokenReward


@dataclass(frozen=True, slots=True)
class LabelledStep:
    """One step of a solution.

    Attributes:
        text: of the step, without its separator.
        right: whether everything up to and including it is right.
        soft: how likely that is, in [0, 1]; None where only `right` is known.
        completions: how many completions from here ended right, and how many there were; None where
            none were written.
        original: the right step that this one was made of by replacing digits (or by leaving it as
            it was); None where somebody wrote it.
        tokens: how likely each token of whoever labelled it is right; empty where only the step is
            labelled.
    """

    text: str
    right: bool
    soft: float | None = None
    completions: tuple[int, int] | None = None
    original: str | None = None
    tokens: tuple[TokenReward, ...] = ()

    def stripped(self) -> LabelledStep:
        """Without white space around its text."""
        text = self.text.strip()
        before = len(self.text) - len(self.text.lstrip())
        tokens = tuple(
            TokenReward(min(max(end - before, 0), len(text)), reward) for end, reward in self.tokens
        )
        return replace(self, text=text, tokens=tokens)


@dataclass(frozen=True, slots=True)
class LabelledSolution:
    """A question, a solution of it, and which of its steps are right.

    Attributes:
        id: unique among the solutions of a file.
        problem: id of the problem, which solutions share.
        source: who wrote it: `draft`, `target`, or where a public data set has it from.
        given: steps at its beginning that were given to the writer.
        answer_right: whether the whole solution ends with the right answer; None if not known.
        kind: of error that it is about, where a data set says so.
        origin: what else is known of how it was made; written to its row as it is.
    """

    id: str
    problem: str
    question: str
    steps: tuple[LabelledStep, ...]
    source: str = ""
    given: int = 0
    answer_right: bool | None = None
    kind: str | None = None
    origin: Mapping[str, Any] | None = None

    @property
    def first_wrong(self) -> int | None:
        """The index of the first wrong step; None if all are right."""
        return next((i for i, step in enumerate(self.steps) if not step.right), None)

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of the steps."""
        return tuple(step.text for step in self.steps)

    def up_to_first_error(self) -> LabelledSolution:
        """Without the steps after the first wrong one: they are neither right nor wrong."""
        first = self.first_wrong
        return self if first is None else replace(self, steps=self.steps[: first + 1])


def to_row(solution: LabelledSolution) -> dict[str, Any]:
    """A JSON object: `prompt`, `completions` and `labels` as TRL reads them, and what we know more.

    Returns:
        `soft_labels` and `rollouts` (pairs: ended right, written) hold None for a step for which
        they are not known. `token_labels` (pairs: where a token ends in the step's text, how likely
        it is right) is there where tokens are labelled.
    """
    by_token = any(step.tokens for step in solution.steps)
    tokens = [[list(token) for token in step.tokens] for step in solution.steps]
    return {
        "prompt": solution.question,
        "completions": list(solution.texts),
        "labels": [step.right for step in solution.steps],
        "soft_labels": [step.soft for step in solution.steps],
        "rollouts": [
            None if s.completions is None else list(s.completions) for s in solution.steps
        ],
        **({"token_labels": tokens} if by_token else {}),
        "id": solution.id,
        "problem": solution.problem,
        "source": solution.source,
        "given": solution.given,
        "answer_right": solution.answer_right,
        "kind": solution.kind,
        "origin": dict(solution.origin or {}),
    }


def from_row(row: Mapping[str, Any], number: int) -> LabelledSolution:
    """Read a row: ours, or any with `prompt`, `completions` and `labels`.

    Args:
        row: a JSON object.
        number: of its line, which is its id where it has none.

    Raises:
        InputError: it is no such row; says what is wrong.
    """
    question, texts, labels = (row.get(name) for name in ("prompt", "completions", "labels"))
    if not isinstance(question, str):
        raise InputError(f'"prompt" must be a text, not {question!r}')
    places = len(_list(texts, "completions"))
    hard = [_right(label) for label in _list(labels, "labels", places)]
    soft = _list(row.get("soft_labels") or [None] * places, "soft_labels", places)
    counts = _list(row.get("rollouts") or [None] * places, "rollouts", places)
    tokens = _list(row.get("token_labels") or [[]] * places, "token_labels", places)
    steps = tuple(
        LabelledStep(_text(text), right, _soft(value), _count(count), tokens=_tokens(own))
        for text, right, value, count, own in zip(
            _list(texts, ""), hard, soft, counts, tokens, strict=True
        )
    )
    if not steps:
        raise InputError('"completions" is empty: there is no step')
    answer_right, kind = row.get("answer_right"), row.get("kind")
    origin: Any = row.get("origin")
    return LabelledSolution(
        id=str(row.get("id", number)),
        problem=str(row.get("problem", row.get("id", number))),
        question=check_question(question),
        steps=steps,
        source=str(row.get("source", "")),
        given=int(row.get("given") or 0),
        answer_right=answer_right if isinstance(answer_right, bool) else None,
        kind=kind if isinstance(kind, str) else None,
        origin=cast("dict[str, Any]", origin) if isinstance(origin, dict) else None,
    )


def solution_of(
    id: str,
    question: str,
    texts: Sequence[str],
    first_wrong: int | None,
    *,
    problem: str | None = None,
    source: str = "",
    answer_right: bool | None = None,
    kind: str | None = None,
) -> LabelledSolution:
    """A solution of which only the first wrong step is known (index from 0; None for no error).

    Raises:
        InputError: it has no steps, or the wrong one is none of them.
    """
    if not texts:
        raise InputError("a solution has no steps")
    if first_wrong is not None and not 0 <= first_wrong < len(texts):
        raise InputError(f"step {first_wrong + 1} is said to be wrong, but there are {len(texts)}")
    end = len(texts) if first_wrong is None else first_wrong
    steps = tuple(LabelledStep(_text(text), i < end) for i, text in enumerate(texts))
    return LabelledSolution(
        id, problem or id, check_question(question), steps, source, 0, answer_right, kind
    )


def _list(value: Any, name: str, length: int | None = None) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f'"{name}" must be a list, not {value!r}')
    values = cast("list[Any]", value)
    if length is not None and len(values) != length:
        raise InputError(f'"{name}" has {len(values)} entries for {length} steps')
    return values


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"a step must be a text, not {value!r}")
    return check_text(value).strip()


def _right(value: Any) -> bool:
    if isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise InputError(f"a label must be true or false, not {value!r}")


def _soft(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InputError(f"a soft label must be a number in [0, 1], not {value!r}")
    return float(value)


def _tokens(value: Any) -> tuple[TokenReward, ...]:
    found: list[TokenReward] = []
    for token in _list(value, "token_labels"):
        pair = cast("list[Any]", token) if isinstance(token, list) else []
        soft = _soft(pair[1]) if len(pair) == 2 and isinstance(pair[0], int) else None
        if soft is None or pair[0] < 0:
            raise InputError(f"token_labels must be pairs [end, share], not {token!r}")
        found.append(TokenReward(pair[0], soft))
    return tuple(found)


def _count(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    pair = cast("list[Any]", value) if isinstance(value, list) else []
    if len(pair) == 2 and all(isinstance(n, int) for n in pair) and 0 <= pair[0] <= pair[1]:
        return pair[0], pair[1]
    raise InputError(f"rollouts must be pairs [ended right, written], not {value!r}")
