"""Thoughts in every method: who writes them, what judges them, how they end, and what is graded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from rsdecode.backends.scripted import ScriptedModel, ScriptedReward
from rsdecode.core.protocols import Models
from rsdecode.core.requests import (
    Begin,
    Begun,
    Generate,
    Propose,
    Proposed,
    Sampling,
    Score,
    Verified,
    Verify,
)
from rsdecode.core.segment import WHOLE_ANSWER
from rsdecode.core.thought_steps import parse_thought_rule
from rsdecode.core.types import (
    Context,
    FinishReason,
    Problem,
    Role,
    Segment,
    Step,
    Tokens,
    Trajectory,
)
from rsdecode.methods import (
    RSD,
    Beam,
    BestOfN,
    Majority,
    Method,
    ProcessBestOfN,
    Single,
    Speculative,
)
from rsdecode.methods.thinking import Thinking
from rsdecode.session.drive import drive

QWEN = "\n</think>\n\n"
THOUGHTS = "<think>\nOne apple and two apples.\n\nThat makes three apples.\n</think>"
ANSWER = "\n\nWe add.\n\nThe answer is \\boxed{3}."
SAMPLED = Sampling(temperature=0.7)
PARAGRAPHS = parse_thought_rule("paragraphs:0")


class Writer(ScriptedModel):
    """Continues one text, as a model does whose prompt opens thoughts or not."""

    def __init__(self, text: str, begun: Begun | None = None) -> None:
        self.asked: list[Generate] = []
        self._begun = begun or Begun("", thinks=True, closing=QWEN)
        self._full = text
        super().__init__(self._continue)

    def _continue(self, request: Generate) -> str:
        self.asked.append(request)
        written = "".join(segment.text for segment in request.context.answer)
        if self._full.startswith(written):
            return self._full[len(written) :]
        return ANSWER[len(written.rpartition("</think>\n\n")[2]) :]

    async def begin(self, requests: Sequence[Begin]) -> list[Begun]:
        return [self._begun for _ in requests]


class Judge(ScriptedReward):
    def __init__(self, value: float = 0.9) -> None:
        self.scored: list[Score] = []

        def judge(request: Score) -> list[float]:
            self.scored.append(request)
            return [value] * len(request.steps)

        super().__init__(judge)

    @property
    def texts(self) -> list[str]:
        return [step.text for request in self.scored for step in request.steps]


def solve(method: Method, draft: Writer, target: Writer, judge: Judge) -> Trajectory:
    return drive(method(Problem.ask("1 + 2?")), Models(draft, target, judge))


def both(text: str = THOUGHTS + ANSWER, begun: Begun | None = None) -> tuple[Writer, Writer]:
    return Writer(text, begun), Writer(text, begun)


ALONE = Thinking(judged=False, alone=True, rule=PARAGRAPHS)


def test_thoughts_are_the_drafts_and_the_reward_reads_the_answer_alone() -> None:
    judge = Judge()
    draft, target = both()
    found = solve(RSD(thinking=ALONE), draft, target, judge)
    assert found.text == THOUGHTS + ANSWER
    assert [step.thought for step in found.steps] == [True, True, False, False]
    assert [step.reward for step in found.steps] == [None, None, 0.9, 0.9]
    assert found.answer == "3"
    assert not target.asked
    assert judge.texts == ["We add.\n\n", "The answer is \\boxed{3}."]
    last = judge.scored[-1].context.answer
    assert [segment.text for segment in last] == ["We add.\n\n"], "no thoughts before it"


def test_thoughts_by_the_target() -> None:
    draft, target = both()
    found = solve(RSD(thinking=replace(ALONE, writer=Role.TARGET)), draft, target, Judge())
    assert found.text == THOUGHTS + ANSWER
    assert [step.source for step in found.steps] == [Role.TARGET] * 2 + [Role.DRAFT] * 2
    assert len(draft.asked) == 2, "the draft writes nothing of the thoughts"


def test_models_that_do_not_tell_are_understood_by_what_they_write() -> None:
    """A thought that the draft begins unexpectedly is the target's, if thoughts are."""
    for writer, first in ((Role.DRAFT, Role.DRAFT), (Role.TARGET, Role.TARGET)):
        draft, target = both(begun=Begun())
        found = solve(RSD(thinking=replace(ALONE, writer=writer)), draft, target, Judge())
        assert [step.source for step in found.steps[:2]] == [first] * 2
        assert [step.reward for step in found.steps] == [None, None, 0.9, 0.9]


def test_judged_thoughts_pass_from_draft_to_target_and_back() -> None:
    """A rejected thought is written by the target; each reads all that was written before."""
    judge = Judge()
    judge._judge = lambda request: 0.0 if "One apple" in request.steps[0].text else 0.9
    draft, target = both()
    found = solve(RSD(thinking=Thinking(rule=PARAGRAPHS)), draft, target, judge)
    assert found.text == THOUGHTS + ANSWER
    sources = [step.source for step in found.steps]
    assert sources == [Role.TARGET, Role.DRAFT, Role.DRAFT, Role.DRAFT]
    read = "".join(segment.text for segment in draft.asked[-1].context.answer)
    assert read.startswith(THOUGHTS), "nothing is stripped"


def test_thoughts_have_a_threshold_of_their_own() -> None:
    """0.9 is enough for the answer, and not for thoughts."""
    thinking = Thinking(rule=PARAGRAPHS, threshold=0.95)
    found = solve(RSD(thinking=thinking), *both(), Judge(0.9))
    assert [step.source for step in found.steps] == [Role.TARGET] * 2 + [Role.DRAFT] * 2


def test_first_steps_are_the_targets() -> None:
    draft, target = both()
    found = solve(RSD(thinking=Thinking(first_steps=1, rule=PARAGRAPHS)), draft, target, Judge())
    assert [step.source for step in found.steps] == [Role.TARGET] + [Role.DRAFT] * 3
    assert found.steps[0].reward is None


def test_a_step_ends_where_the_thoughts_do() -> None:
    draft, target = both("<think>\nShort.</think>We add.\n\nThe answer is \\boxed{3}.")
    found = solve(RSD(thinking=ALONE), draft, target, Judge())
    assert [step.text for step in found.steps][:2] == ["<think>\nShort.</think>", "We add.\n\n"]


@pytest.mark.parametrize("count", [4, 12])
def test_the_budget_closes_thoughts_as_the_template_does(count: int) -> None:
    endless = "<think>\n" + "".join(f"Idea {i} is new.\n\n" for i in range(100))
    draft, target = both(endless)
    thinking = replace(ALONE, budget=count)
    found = solve(RSD(thinking=thinking), draft, target, Judge())
    closing = [step for step in found.steps if step.closes_thoughts]
    assert [step.finish_reason for step in closing] == [FinishReason.BUDGET]
    assert sum(step.token_count for step in found.steps if step.thought) <= count + 1
    thoughts, closed, answer = found.text.partition("</think>\n\n")
    assert closed
    assert thoughts.endswith("\n")
    assert not thoughts.endswith("\n\n\n"), "no line break is put behind one"
    assert found.answer == "3"
    assert answer == ANSWER


def test_a_prompt_that_opens_thoughts() -> None:
    """R1's distills: no opening mark is in the text, and all of it is thoughts until the end."""
    begun = Begun("<think>", thinks=True, closing="\n</think>\n\n")
    text = THOUGHTS.removeprefix("<think>\n") + ANSWER
    draft, target = both(text, begun)
    found = solve(RSD(thinking=ALONE), draft, target, Judge())
    assert [step.thought for step in found.steps] == [True, True, False, False]
    assert found.answer == "3"
    never = solve(RSD(thinking=ALONE), *both("It is \\boxed{4}, I think.", begun), Judge())
    assert never.finished
    assert never.answer is None, "an answer in thoughts that never end is none"


def test_thoughts_that_only_one_prompt_opens_are_opened_for_the_other() -> None:
    text = THOUGHTS.removeprefix("<think>\n") + ANSWER
    draft = Writer(text, Begun("<think>", thinks=True, closing=QWEN))
    target = Writer(THOUGHTS + ANSWER, Begun("", thinks=True, closing=QWEN))
    found = solve(RSD(thinking=replace(ALONE, first_steps=1)), draft, target, Judge())
    assert [segment.text for segment in target.asked[0].context.answer] == ["<think>\n"]
    assert draft.asked[0].context.answer[0].text == found.steps[0].text
    assert found.text == text


def test_thoughts_that_are_off_are_closed_at_once() -> None:
    begun = Begun("<think>", thinks=True, closing=QWEN)
    draft, target = both(ANSWER, begun)
    found = solve(RSD(thinking=replace(ALONE, off=True)), draft, target, Judge())
    assert found.steps[0].text == QWEN
    assert found.steps[0].closes_thoughts
    assert found.answer == "3"


def test_thoughts_that_repeat_themselves_are_ended() -> None:
    loop = "<think>\n" + "Let me look at it once more from here.\n\n" * 50
    found = solve(RSD(thinking=ALONE), *both(loop), Judge())
    reasons = [step.finish_reason for step in found.steps if step.closes_thoughts]
    assert reasons == [FinishReason.REPEATED]
    assert found.answer == "3"


def test_an_answer_that_repeats_itself_ends_with_its_reason() -> None:
    loop = THOUGHTS + "\n\n" + "We add them all.\n\n" * 50
    found = solve(RSD(thinking=ALONE), *both(loop), Judge())
    assert found.stop_reason is FinishReason.REPEATED
    assert found.answer is None


METHODS: list[Method] = [
    Single(Role.DRAFT, thinking=replace(ALONE, budget=6)),
    Majority(2, sampling=SAMPLED, thinking=replace(ALONE, budget=6)),
    BestOfN(2, sampling=SAMPLED, thinking=replace(ALONE, budget=6)),
    ProcessBestOfN(2, sampling=SAMPLED, thinking=replace(ALONE, budget=6)),
    Beam(2, 2, sampling=SAMPLED, thinking=replace(ALONE, budget=6)),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_every_method_keeps_to_the_budget(method: Method) -> None:
    endless = "<think>\n" + "".join(f"Idea {i} is new.\n\n" for i in range(100))
    judge = Judge()
    found = solve(method, *both(endless), judge)
    assert found.error is None
    assert found.text.count("</think>") == 1
    assert found.text.endswith("</think>\n\n" + ANSWER)
    assert found.answer == "3"
    assert not any("Idea" in text for text in judge.texts), "thoughts are not judged"
    assert not any("Idea" in s.text for r in judge.scored for s in r.context.answer)


def test_thoughts_within_a_budget_are_shown_before_the_answer_is_written() -> None:
    endless = "<think>\n" + "".join(f"Idea {i} is new.\n\n" for i in range(100))
    draft, _ = both(endless)
    thinking = replace(ALONE, budget=6)
    method = Single(Role.DRAFT, thinking=thinking)
    seen: list[tuple[str, int]] = []

    def see(step: Step) -> None:
        seen.append((step.text, len(draft.asked)))

    found = drive(method(Problem.ask("How many?")), Models(draft), see)
    assert "".join(text for text, _ in seen) == found.text
    thoughts = "".join(text for text, asked in seen if asked == 1)
    assert thoughts.endswith("</think>\n\n")
    assert thoughts == "".join(step.text for step in found.steps if step.thought)
    assert [asked for text, asked in seen if text in ANSWER] == [2, 2]
    assert sum(step.token_count for step in found.steps) == found.ledger.draft.decoded_tokens


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_every_method_tells_thoughts_apart(method: Method) -> None:
    unlimited = replace(method, thinking=replace(ALONE, budget=None))  # type: ignore[type-var]
    found = solve(unlimited, *both(), Judge())
    assert found.text == THOUGHTS + ANSWER
    assert "".join(step.text for step in found.steps if step.thought) == THOUGHTS
    assert found.answer == "3"


def test_a_model_that_cannot_continue_is_told_the_budget() -> None:
    begun = Begun(None, thinks=True, continues=False)
    draft, target = both(THOUGHTS + ANSWER, begun)
    solve(Single(Role.DRAFT, thinking=replace(ALONE, budget=7)), draft, target, Judge())
    [asked] = draft.asked
    assert asked.thinking_tokens == 7
    assert asked.boundary == WHOLE_ANSWER


def test_judged_thoughts_of_whole_answers_are_a_request_of_their_own() -> None:
    judge = Judge()
    solve(BestOfN(1, thinking=Thinking(rule=PARAGRAPHS, alone=True)), *both(), judge)
    assert [request.thoughts for request in judge.scored] == [True, False]
    assert judge.scored[1].context.answer == ()


def test_beams_wait_for_each_other_to_think() -> None:
    """Each of them thinks by itself; what is scored competes only when all have thought."""
    judge = Judge()
    found = solve(Beam(3, 2, sampling=SAMPLED, thinking=ALONE), *both(), judge)
    assert len(found.alternatives) == 2
    assert all(other.text.startswith(THOUGHTS) for other in found.alternatives)


def test_nothing_is_asked_where_thoughts_are_not_told_apart() -> None:
    first = next(RSD()(Problem.ask("q")))
    assert isinstance(first[0], Generate)
    assert isinstance(next(RSD(thinking=ALONE)(Problem.ask("q")))[0], Begin)


class Chain(Writer):
    """Proposes and verifies single words, as speculative decoding asks for."""

    vocabulary = "words"

    async def propose(self, requests: Sequence[Propose]) -> list[Proposed]:
        replies: list[Proposed] = []
        for request in requests:
            words = self._words(request.context)[: request.count]
            segment = Segment("".join(words), Tokens("words", tuple(range(len(words)))))
            replies.append(Proposed(segment, None, FinishReason.STEP_LIMIT))
        return replies

    async def verify(self, requests: Sequence[Verify]) -> list[Verified]:
        replies: list[Verified] = []
        for request in requests:
            count = len(request.proposal.segment.tokens.ids)  # type: ignore[union-attr]
            words = self._words(request.context)
            segment = Segment("".join(words[: count + 1]), Tokens("words", (1,) * (count + 1)))
            ends = len(words) <= count + 1
            finish = FinishReason.EOS if ends else FinishReason.STEP_LIMIT
            replies.append(Verified(segment, count, finish))
        return replies

    def _words(self, context: Context) -> list[str]:
        rest = self._continue(Generate(Role.TARGET, context, 999))
        return [word for word in re.findall(r"\s*\S+\s*", rest) if word]


def test_speculative_decoding_closes_thoughts_at_their_budget() -> None:
    endless = "<think>\n" + "".join(f"Idea {i} is new.\n\n" for i in range(100))
    method = Speculative(3, thinking=replace(ALONE, budget=6))
    found = solve(method, Chain(endless), Chain(endless), Judge())
    assert found.error is None
    assert found.text.count("</think>") == 1
    assert found.text.endswith("</think>\n\n" + ANSWER)
    assert found.answer == "3"
    assert [step.thought for step in found.steps][-2:] == [False, False]
