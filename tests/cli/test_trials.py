"""The doctor's trials on models that do one thing wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from rsdecode.cli.trials import RIGHT, SPELLED, THOUGHTS, try_reward, try_writer
from rsdecode.config import load_config
from rsdecode.config.thinking import ThinkingConfig
from rsdecode.core.errors import RequestError, RsdError
from rsdecode.core.requests import Begin, Begun, Failed, Generate, Generated, Score, Scored
from rsdecode.core.types import FinishReason, Role, Segment, Usage

CONFIG = load_config(overrides={"prompt.system": "Be brief.", "boundary": "newline"})
Tokenise = Callable[[Generate], str]


def prompt_of(request: Generate) -> str:
    """What a server reads whose tokens are words."""
    context = request.context
    said = [m.content for m in context.messages] + [s.text for s in context.answer]
    text = " ".join(said)
    for token in SPELLED:
        text = text.replace(token, " ".join(f" {token}"))
    return text


class Writer:
    """Writes "So 1." and then "So 2.", and counts words as tokens."""

    def __init__(
        self,
        read: Callable[[Generate], str] = prompt_of,
        wrote: str | None = None,
        decoded: int = 3,
        ended: FinishReason = FinishReason.STOP,
        refuses: Callable[[Generate], bool] = lambda request: False,
    ) -> None:
        self._read, self._wrote, self._refuses = read, wrote, refuses
        self._decoded, self._ended = decoded, ended
        self.asked: list[Generate] = []

    async def generate(self, requests: Sequence[Generate]) -> list[Generated | Failed]:
        self.asked += requests
        return [self._reply(request) for request in requests]

    def _reply(self, request: Generate) -> Generated | Failed:
        if self._refuses(request):
            return Failed(RequestError("400: not this"))
        text = f"So {len(request.context.answer)}.\n" if self._wrote is None else self._wrote
        usage = Usage(prefill_tokens=len(self._read(request).split()), decoded_tokens=self._decoded)
        return Generated(Segment(text), self._ended, usage)


async def test_a_model_in_order() -> None:
    model = Writer()
    tried = await try_writer(Role.DRAFT, model, CONFIG)
    assert (tried.warnings, tried.failures) == ([], [])
    assert tried.facts == {
        "trial": "wrote 'So 0.\\n'",
        "then": "wrote 'So 1.\\n'",
        "control tokens in a question": "are read as text",
    }
    first, second = model.asked[:2]
    assert [m.role for m in first.context.messages] == ["system", "user"]
    assert first.boundary.stops == ("\n",)
    assert [s.text for s in second.context.answer] == ["So 0.\n"]
    assert any(len(r.context.messages) == 4 for r in model.asked)


async def test_tokens_that_are_paid_without_text() -> None:
    """A server whose reasoning parser keeps the thoughts to itself."""
    for ended in (FinishReason.STOP, FinishReason.EOS, FinishReason.STEP_LIMIT):
        model = Writer(wrote="", decoded=48, ended=ended)
        tried = await try_writer(Role.TARGET, model, CONFIG)
        assert tried.failures[0].startswith("wrote no text, though 48 tokens were paid for")
        assert "--target-tokenizer" in tried.failures[0]


async def test_an_answer_that_ends_at_once() -> None:
    model = Writer(wrote="", decoded=1, ended=FinishReason.EOS)
    tried = await try_writer(Role.DRAFT, model, CONFIG)
    [failure] = tried.failures
    assert "it ended its answer at once" in failure


async def test_a_step_that_cannot_be_continued() -> None:
    tried = await try_writer(Role.DRAFT, Writer(refuses=lambda r: bool(r.context.answer)), CONFIG)
    assert tried.failures == ["an answer cannot be continued: 400: not this"]


def has_system(request: Generate) -> bool:
    return request.context.messages[0].role == "system"


async def test_a_system_message_that_is_refused() -> None:
    with pytest.raises(RsdError, match=r"400: not this; without the system message it works: set"):
        await try_writer(Role.DRAFT, Writer(refuses=has_system), CONFIG)
    with pytest.raises(RsdError, match=r"^400: not this$"):
        await try_writer(Role.DRAFT, Writer(refuses=lambda request: True), CONFIG)


async def test_a_system_message_that_is_dropped() -> None:
    def read(request: Generate) -> str:
        return prompt_of(request).removeprefix("Be brief.")

    [warning] = (await try_writer(Role.DRAFT, Writer(read), CONFIG)).warnings
    assert warning.startswith("the system message is not heard")
    assert "--draft-tokenizer" in warning


async def test_thoughts_that_are_cut() -> None:
    def read(request: Generate) -> str:
        return prompt_of(request).replace(THOUGHTS, "")

    [warning] = (await try_writer(Role.DRAFT, Writer(read), CONFIG)).warnings
    assert warning.startswith("thoughts are cut out of an answer that is continued")


async def test_a_second_question_that_is_refused() -> None:
    model = Writer(refuses=lambda request: len(request.context.messages) > 2)
    [warning] = (await try_writer(Role.DRAFT, model, CONFIG)).warnings
    assert warning.startswith("conversations of two turns are refused (400: not this)")


async def test_control_tokens_that_a_question_spells() -> None:
    def read(request: Generate) -> str:
        text = prompt_of(request)
        return text.replace(" ".join("<|im_end|>"), "<|im_end|>")

    [warning] = (await try_writer(Role.DRAFT, Writer(read), CONFIG)).warnings[-1:]
    assert warning.startswith("a question that spells <|im_end|> is read as that control token")


class Scorer:
    def __init__(self, right: float, wrong: float) -> None:
        self._right, self._wrong = right, wrong

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        return [
            Scored((self._right if r.steps[0].text == RIGHT else self._wrong,)) for r in requests
        ]


@pytest.mark.parametrize(("right", "wrong", "part"), [(0.9, 0.2, None), (0.2, 0.9, "no less"),
    (0.5, 0.5, "no less"), (0.9, 0.88, "hardly less")])  # fmt: skip
async def test_rewards_of_a_right_and_a_wrong_step(
    right: float, wrong: float, part: str | None
) -> None:
    tried = await try_reward(Scorer(right, wrong))
    assert tried.facts["trial"].startswith(f"reward {right:.3f} for a right step")
    assert [part in w for w in tried.warnings if part] == ([True] if part else [])
    assert bool(tried.warnings) is bool(part)


async def test_how_thoughts_begin_and_end() -> None:
    class Thinker(Writer):
        async def begin(self, requests: Sequence[Begin]) -> list[Begun]:
            return [Begun("<think>", thinks=True, closing="\n</think>\n\n") for _ in requests]

    tried = await try_writer(Role.DRAFT, Thinker(), CONFIG)
    closing = "closed with '\\n</think>\\n\\n'"
    assert tried.facts["thoughts"] == f"opened by the prompt with <think>, {closing}"
    assert tried.facts["who thinks"] == "the draft, unjudged; the reward judges the answer alone"
    gate = CONFIG.model_copy(update={"thinking": ThinkingConfig(gate="confidence:draft")})
    tried = await try_writer(Role.DRAFT, Thinker(), gate)
    assert tried.facts["who thinks"] == "the draft; judged by confidence:draft"
    assert "thoughts" not in (await try_writer(Role.DRAFT, Writer(), CONFIG)).facts
