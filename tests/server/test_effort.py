"""Clients' reasoning_effort: what templates are told, and what becomes of thoughts."""

from __future__ import annotations

from typing import Any

import pytest

from rsdecode.backends.scripted import ScriptedModel
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Begin, Begun, Generate
from rsdecode.core.thoughts import THOUGHTS
from rsdecode.core.types import LastMessage, Message, RawPrompt
from rsdecode.methods import RSD, Method, Single
from rsdecode.methods.thinking import Thinking
from rsdecode.server.effort import BUDGETS, thinking_with, with_effort
from rsdecode.text.prompt import Prompts
from tests.text import thinking

from .conftest import Start

OTHERS = {"draft": "hf:a/b", "target": "hf:c/d"}
"""Models that may think: the embedded family does not."""
ASKED = (Message("system", "Be brief."), Message("user", "1 + 2?"))


@pytest.mark.parametrize(
    ("effort", "level"),
    [
        ("none", "none"),
        ("minimal", "low"),
        ("medium", "medium"),
        ("xhigh", "high"),
        ("max", "high"),
    ],
)
def test_templates_are_told_levels_that_they_know(effort: str, level: str) -> None:
    *before, last = with_effort(ASKED, effort)
    assert before == [ASKED[0]]
    assert last == LastMessage("user", "1 + 2?", effort=level)
    assert with_effort(ASKED, None) == ASKED
    raw = (RawPrompt.of("1 + 2 ="),)
    assert with_effort(raw, effort) == raw, "a prompt as it is has no template"


def test_the_templates_own_switch_is_set_for_one_conversation() -> None:
    oss = Prompts(
        thinking.FAMILIES["gpt-oss"].tokenizer(), "{question}", {"reasoning_effort": "low"}
    )
    assert "Reasoning: low<" in oss.prompt_text(ASKED)
    assert "Reasoning: high<" in oss.prompt_text(with_effort(ASKED, "high"))
    assert "Reasoning: low<" in oss.prompt_text(ASKED), "the next one has the configuration's again"
    assert oss.begun(ASKED, THOUGHTS).takes_effort
    qwen = Prompts(thinking.FAMILIES["qwen3"].tokenizer(), "{question}")
    assert "</think>" in qwen.prompt_text(with_effort(ASKED, "none"))
    assert "</think>" not in qwen.prompt_text(with_effort(ASKED, "low"))
    assert not qwen.begun(ASKED, THOUGHTS).takes_effort


def test_where_the_template_has_no_switch_thoughts_have_a_budget() -> None:
    base: Method = Single(thinking=Thinking(budget=4000))
    for effort, limit in {"low": 1024, "high": 4000, "max": 4000}.items():
        changed: Any = thinking_with(base, effort)
        plain = changed.thinking.started({})
        assert changed.thinking.limit(plain) == limit, "never more than the configuration's"
        takes = changed.thinking.started({"draft": Begun("", takes_effort=True)})
        assert changed.thinking.limit(takes) == 4000
    off: Any = thinking_with(base, "none")
    assert off.thinking.limit(off.thinking.started({})) == 0
    assert thinking_with(base, None) is base
    assert thinking_with(RSD(), "low") == RSD(), "models whose thoughts are not told apart"


class Thinker(ScriptedModel):
    """Thinks for as long as it may, by a prompt that opens the thoughts."""

    def __init__(self) -> None:
        super().__init__(self._write)

    def _write(self, request: Generate) -> str:
        written = "".join(segment.text for segment in request.context.answer)
        if "</think>" in written:
            return "It is 3."
        return "".join(f"idea {i}\n\n" for i in range(BUDGETS["low"]))

    async def begin(self, requests: list[Begin]) -> list[Begun]:  # type: ignore[override]
        return [Begun("<think>", thinks=True, closing="\n</think>\n\n") for _ in requests]


async def test_a_request_sets_it(start: Start) -> None:
    server = await start(Models(Thinker(), Thinker()), config=OTHERS, thoughts_open=True)
    ask = {"model": "rsd/draft", "max_tokens": 4096}
    thought: dict[str, int] = {}
    for effort in ("none", "minimal", "low"):
        record = (await server.chat(reasoning_effort=effort, **ask)).json()
        [choice] = record["choices"]
        assert choice["message"]["content"] == "It is 3."
        thought[effort] = record["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert thought["none"] < 10 < thought["minimal"] < thought["low"]
    wrong = await server.chat(reasoning_effort="enormous", **ask)
    assert wrong.status_code == 400
    assert "reasoning_effort" in wrong.text


async def test_responses_have_it_under_another_name(start: Start) -> None:
    server = await start(Models(Thinker(), Thinker()), config=OTHERS, thoughts_open=True)
    body = {"model": "rsd/draft", "input": "1 + 2?", "reasoning": {"effort": "minimal"}}
    record = (await server.client.post("/v1/responses", json=body)).json()
    assert record["reasoning"]["effort"] == "minimal"
    assert [item["type"] for item in record["output"]] == ["reasoning", "message"]
