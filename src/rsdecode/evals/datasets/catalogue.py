"""The data sets that are known by name, each an entry."""

from __future__ import annotations

import re
from dataclasses import replace

from rsdecode.core.errors import InputError
from rsdecode.evals.datasets.choices import choices
from rsdecode.evals.datasets.conversation import with_conversation
from rsdecode.evals.datasets.entry import Dataset, HubSource, Item, RawQuestion, fields
from rsdecode.evals.grading.verdict import AnswerKind

STEM = (
    "abstract_algebra", "astronomy", "college_biology", "college_chemistry",
    "college_computer_science", "college_mathematics", "college_physics", "computer_security",
    "conceptual_physics", "electrical_engineering", "elementary_mathematics",
    "high_school_biology", "high_school_chemistry", "high_school_computer_science",
    "high_school_mathematics", "high_school_physics", "high_school_statistics",
    "machine_learning",
)  # fmt: skip
"""The subjects of MMLU that count as STEM: 3018 questions, those of Qwen2.5-Math's evaluation."""


_OPEN, _UNNAMED, _WITH_CHOICES = fields(), fields(id=()), choices()


def _gaokao(row: RawQuestion) -> Item:
    """GaoKao 2023: "id" and "source" name the paper, which many questions share."""
    item = _UNNAMED(row)
    return Item(item.question, re.sub(r"\s*solution:\s*$", "", item.answer))


def _own(row: RawQuestion) -> Item:
    """A row of one's own file, with choices or without; it needs an answer to be graded by."""
    row, before = with_conversation(row)
    item = (_WITH_CHOICES if "choices" in row else _OPEN)(row)
    if item is None or not item.answer:
        raise InputError('the "answer" is empty: there is nothing to grade by')
    return replace(item, before=before)


def own_file(name: str) -> Dataset:
    """The entry of a file that belongs to no known data set."""
    return Dataset(name, _own)


_ENTRIES = (
    Dataset("abacus", fields(), answer_type=AnswerKind.NUMBER, prompt=None),
    Dataset("gsm8k", fields(), HubSource("openai/gsm8k", "main"), answer_type=AnswerKind.NUMBER),
    Dataset("math500", fields(id=("unique_id",)), HubSource("HuggingFaceH4/MATH-500")),
    Dataset(
        "olympiadbench",
        fields(answer=("final_answer", "answer")),
        HubSource("Hothan/OlympiadBench", "OE_TO_maths_en_COMP", "train"),
    ),
    Dataset(
        "gaokao2023en",
        _gaokao,
        HubSource("MARIO-Math-Reasoning/Gaokao2023-Math-En", split="train"),
    ),
    Dataset(
        "gpqa",
        choices(
            right="Correct Answer",
            wrong=("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"),
            id=("Record ID", "id"),
        ),
        HubSource("Idavidrein/gpqa", "gpqa_diamond", "train", gated=True),
        AnswerKind.CHOICE,
    ),
    Dataset(
        "mmlu_stem",
        choices(subjects=STEM),
        HubSource("cais/mmlu", "all"),
        AnswerKind.CHOICE,
        partial=True,
    ),
    Dataset(
        "minerva_math", fields(answer=("answer", "solution")), HubSource("math-ai/minervamath")
    ),
    Dataset("svamp", fields(), HubSource("ChilleD/SVAMP", split="train+test"), AnswerKind.NUMBER),
    Dataset(
        "aime24",
        fields(answer=("answer", "Answer", "solution")),
        HubSource("HuggingFaceH4/aime_2024", split="train"),
    ),
    Dataset("amc23", fields(), HubSource("math-ai/amc23")),
)

DATASETS = {entry.name: entry for entry in _ENTRIES}
"""Every known data set by its name."""
