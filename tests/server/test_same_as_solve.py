"""One configuration means the same to `rsd solve` and to the server."""

from __future__ import annotations

from typing import Any

import pytest

from rsdecode.config import RunConfig
from rsdecode.config.build import build_method, build_problem
from rsdecode.config.resolve import settled
from rsdecode.core.types import Message, RawPrompt
from rsdecode.server.method_choice import Changes, MethodChooser
from rsdecode.server.requests import RsdOptions
from rsdecode.server.service import Service
from tests.server.conftest import scripted

CONFIGS: list[dict[str, Any]] = [
    {},
    {"weighting": {"threshold": 0.35}},
    {"weighting": {"kind": "logistic", "alpha": 7.0, "threshold": 0.4}},
    {"budget": 0.3, "lookahead": 1, "boundary": "newline"},
    {"candidates": 4, "sampling": {"draft": {"temperature": 0.6, "top_p": 0.9}}},
    {"method": "rsd@0.2", "limits": {"max_tokens": 99, "max_step_tokens": 9, "max_steps": 3}},
    {"method": "target", "sampling": {"target": {"temperature": 0.3, "top_k": 5}}},
    {"method": "majority@4", "answer": {"thoughts": [["[A]", "[/A]"]]}},
    {"method": "best-of-4", "boundary": "tokens:16"},
    {"method": "process-best-of-4"},
    {"method": "beam@3", "sampling": {"draft": {"temperature": 1.0}}},
]


@pytest.mark.parametrize("settings", CONFIGS)
def test_the_same_method(settings: dict[str, Any]) -> None:
    config = settled(RunConfig.model_validate(settings))
    chooser = MethodChooser(config, scripted(), most_samples=64)
    chosen = chooser.choose("rsd", RsdOptions(), Changes())
    assert chosen.method == build_method(config)


@pytest.mark.parametrize("settings", [{}, {"prompt": {"system": "Think."}}])
async def test_the_same_conversation(settings: dict[str, Any]) -> None:
    config = RunConfig.model_validate(settings)
    service = Service(config, scripted())
    before = (Message("user", "a"), Message("assistant", "b"))
    for head in ((), (Message("system", "Be brief."),)):
        expected = build_problem(config, "q?", before=(*head, *before)).messages
        assert service._with_system((*head, *before, Message("user", "q?"))) == expected
    raw = (RawPrompt.of("as it is"),)
    assert service._with_system(raw) == raw


async def test_the_same_marks_of_thoughts_and_the_shorter_deadline() -> None:
    run = {"timeout_s": 5, "concurrency": 3}
    settings = {"answer": {"thoughts": [["[A]", "[/A]"]]}, "run": run}
    service = Service(RunConfig.model_validate(settings), scripted())
    assert service.session.thoughts == service.config.answer.marks
    assert service.session.concurrency == 3
    assert service.deadline_s == 5
    assert Service(RunConfig(), scripted()).deadline_s == RunConfig().server.deadline_s
