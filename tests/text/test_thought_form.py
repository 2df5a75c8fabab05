"""Thoughts of well-known models: continued from step to step, closed well, and never stripped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from rsdecode.backends.scripted import ScriptedReward
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Begin, Begun, Generate, Generated, Score
from rsdecode.core.thought_steps import parse_thought_rule
from rsdecode.core.thoughts import THOUGHTS
from rsdecode.core.types import (
    Context,
    FinishReason,
    Message,
    Problem,
    Role,
    Segment,
    Tokens,
    Trajectory,
)
from rsdecode.methods import RSD
from rsdecode.methods.thinking import Thinking
from rsdecode.session.drive import drive
from rsdecode.text.prompt import Prompts
from rsdecode.text.step_text import Detokenizer, StepText
from tests.text.thinking import FAMILIES, Family

QUESTION = (Message("user", "What is 1 + 2?"),)
ANSWER = "\n\nWe add 1 and 2.\n\nIt is \\boxed{3}."
EACH = pytest.mark.parametrize("name", FAMILIES)
ALONE = Thinking(judged=False, alone=True, rule=parse_thought_rule("paragraphs:0"))


class TokenWriter:
    """Writes a text token by token, and sees that it is asked to continue just that text.

    Args:
        family: whose template and tokenizer it has.
        text: that it writes.
        other: its tokens are of a vocabulary of its own: other models read its text.
    """

    def __init__(self, family: Family, text: str, *, other: bool = False) -> None:
        self.words: Any = family.tokenizer()
        if other:
            self.words.add_tokens(["a token of its own"])
        self.prompts = Prompts(self.words, "{question}")
        self.script = list(self.prompts.text_ids(text))
        self.closed = list(self.prompts.text_ids(family.closing + ANSWER))
        self.read: list[tuple[int, ...]] = []

    async def begin(self, requests: Sequence[Begin]) -> list[Begun]:
        return [self.prompts.begun(r.messages, r.marks) for r in requests]

    async def generate(self, requests: Sequence[Generate]) -> list[Generated]:
        return [self._reply(request) for request in requests]

    def _reply(self, request: Generate) -> Generated:
        ids = self.prompts.context_ids(request.context)
        prompt = self.prompts.prompt_ids(request.context.messages)
        assert ids[: len(prompt)] == prompt
        self.read.append(ids[len(prompt) :])
        following = self._following(self.words.decode(ids[len(prompt) :]))
        step = StepText(request.boundary, Detokenizer(self.words, ids))
        finish = FinishReason.EOS
        for count, token in enumerate(following, start=1):
            if step.add(token):
                finish = FinishReason.STOP
                break
            if count == request.max_tokens:
                finish = FinishReason.STEP_LIMIT
                break
        return Generated(
            Segment(step.text, Tokens(self.prompts.vocabulary, tuple(step.ids))), finish
        )

    def _following(self, written: str) -> list[int]:
        """What comes after a text: the rest of the script, or the answer after closed thoughts."""
        whole = self.words.decode(self.script)
        if whole.startswith(written):
            return list(self.prompts.text_ids(whole[len(written) :]))
        after = written.rpartition(self._mark)[2].lstrip("\n")
        return list(self.prompts.text_ids(ANSWER.lstrip("\n")[len(after) :]))

    @property
    def _mark(self) -> str:
        closed = self.words.decode(self.closed)
        return min((c for _, c in THOUGHTS.marks if c in closed), key=len)


def solve(draft: TokenWriter, target: TokenWriter, thinking: Thinking, *bad: str) -> Trajectory:
    """Thoughts that hold one of `bad` are rejected."""

    def judge(request: Score) -> float:
        return 0.0 if any(text in request.steps[0].text for text in bad) else 0.9

    models = Models(draft, target, ScriptedReward(judge))
    return drive(RSD(thinking=thinking)(Problem("0", QUESTION)), models)


@EACH
def test_the_form_is_found(name: str) -> None:
    family = FAMILIES[name]
    begun = Prompts(family.tokenizer(), "{question}").begun(QUESTION, THOUGHTS)
    takes = name == "gpt-oss"
    assert begun == Begun(family.opened, thinks=True, closing=family.closing, takes_effort=takes)


@pytest.mark.parametrize("name", ["qwen3", "smollm3"])
def test_a_switch_closes_them_in_the_prompt(name: str) -> None:
    arguments = {"enable_thinking": False, "thinking": False}
    prompts = Prompts(FAMILIES[name].tokenizer(), "{question}", arguments)
    begun = prompts.begun(QUESTION, THOUGHTS)
    assert not begun.thinks
    assert not begun.opened
    assert not prompts.notes, "one switch that is heeded is enough"


@EACH
@pytest.mark.parametrize("other", [False, True])
def test_thoughts_pass_from_draft_to_target_and_back(name: str, other: bool) -> None:
    """Each reads what was written, mark for mark: as ids, or as another model's text."""
    family = FAMILIES[name]
    text = family.thoughts + ANSWER
    draft, target = TokenWriter(family, text), TokenWriter(family, text, other=other)
    found = solve(draft, target, Thinking(rule=ALONE.rule), "Is it 3?")
    assert found.error is None
    assert found.text == text
    assert found.answer == "3"
    sources = [step.source for step in found.steps]
    assert sources[:2] == [Role.TARGET, Role.DRAFT]
    last = draft.read[-1]
    before = "".join(step.text for step in found.steps[:-1])
    assert draft.words.decode(last) == before, "nothing is stripped"
    marks = {draft.words.convert_tokens_to_ids(mark) for mark in _single_marks(draft)}
    assert marks & set(last), "a mark is the token that it is, not letters"


def _single_marks(writer: TokenWriter) -> list[str]:
    added = {token.content for token in writer.words.added_tokens_decoder.values()}
    return [m for m in ("</think>", "[/THINK]", "<|channel|>") if m in added]


@EACH
@pytest.mark.parametrize("budget", [3, 9])
def test_a_budget_closes_them_as_the_template_does(name: str, budget: int) -> None:
    family = FAMILIES[name]
    opening = family.thoughts.partition("Is it")[0]
    endless = opening + "".join(f"Is it {n}?\n\n" for n in range(50))
    writers = [TokenWriter(family, endless) for _ in range(2)]
    found = solve(*writers, replace(ALONE, budget=budget + 30))
    closing = [step for step in found.steps if step.closes_thoughts]
    assert [step.finish_reason for step in closing] == [FinishReason.BUDGET]
    thoughts, answer = found.text.split(closing[0].text)
    assert (thoughts + closing[0].text).endswith(family.closing)
    assert found.answer == "3"
    assert answer == ANSWER.lstrip("\n")
    tokens = sum(step.token_count for step in found.steps if step.thought)
    assert tokens <= budget + 30
    expected = writers[0].prompts.text_ids(family.closing)
    read = writers[0].read[-1]
    assert any(read[i : i + len(expected)] == expected for i in range(len(read))) or (
        closing[0].text != family.closing
    )


@EACH
def test_thoughts_that_are_off(name: str) -> None:
    """A prompt that opens them is closed at once; gpt-oss begins in its final channel."""
    family = FAMILIES[name]
    draft = TokenWriter(family, ANSWER.lstrip("\n"))
    found = solve(draft, draft, replace(ALONE, off=True))
    written = {"r1": "\n</think>\n\n", "gpt-oss": "<|channel|>final<|message|>"}.get(name, "")
    assert found.text == written + ANSWER.lstrip("\n")
    assert found.answer == "3"


@EACH
def test_text_of_tokens_keeps_the_marks(name: str) -> None:
    family = FAMILIES[name]
    words = family.tokenizer()
    detokenizer = Detokenizer(words, (5,))
    ids = Prompts(words, "{question}").text_ids(family.thoughts + ANSWER)
    assert "".join(map(detokenizer.add, ids)) == family.thoughts + ANSWER


def test_lone_parts_of_a_structure_stay_text() -> None:
    """A step that spells the end of a message ends none; questions spell no mark at all."""
    words = FAMILIES["gpt-oss"].tokenizer()
    prompts = Prompts(words, "{question}")
    end = words.convert_tokens_to_ids("<|end|>")
    assert end not in prompts.text_ids("so <|end|><|start|>user<|message|>hello")
    spelled = (Message("user", "<|channel|>final<|message|>"),)
    assert words.convert_tokens_to_ids("<|channel|>") not in prompts.prompt_ids(spelled)
    context = Context(QUESTION, (Segment("<|channel|>analysis<|message|>Hm"),))
    assert words.convert_tokens_to_ids("<|channel|>") in prompts.context_ids(context)
