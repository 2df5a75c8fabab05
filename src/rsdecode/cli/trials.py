"""Small requests that show whether a model is asked, read and scored as it should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rsdecode.config import RunConfig
from rsdecode.config.build import build_problem
from rsdecode.config.specs import parse_reward_spec
from rsdecode.core.errors import RsdError
from rsdecode.core.protocols import Begins, LanguageModel, RewardModel
from rsdecode.core.requests import Begin, Failed, Generate, Generated, Sampling, Score
from rsdecode.core.segment import parse_boundary
from rsdecode.core.types import Context, FinishReason, Message, Role, Segment
from rsdecode.methods.scoring import valid_reward
from rsdecode.rewards.gates import CascadeReward
from rsdecode.rewards.gates.reading import ReadingReward

QUESTION = "Ada has 12 apples. Ada gets 30 more apples. How many apples does Ada have in the end?"
"""In words that the embedded family knows too."""
RIGHT = "Adding 30 gives 12 + 30 = 42 apples.\n\n"
WRONG = "Adding 30 gives 12 + 30 = 52 apples.\n\n"
LEAST_DIFFERENCE = 0.05
"""Of the rewards of a right and a wrong step; a reward model that is read at the wrong token gives
both nearly the same."""
STEP_TOKENS = 48
THOUGHTS = "<think>\nThirty more than twelve apples make forty two apples.\n</think>\n\n"
FEWEST_THOUGHT_TOKENS = 6
"""Any tokenizer makes more of `THOUGHTS`."""
SPELLED = ("<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end|>", "<end_of_turn>", "</s>")
"""Control tokens of many models; as text each takes two tokens or more."""
REPEATED = 8


@dataclass(slots=True)
class Tried:
    """What the trials of one role have shown.

    Attributes:
        facts: for people.
        warnings: what is probably not meant, with the remedy.
        failures: what would fail, with the remedy.
    """

    facts: dict[str, str] = field(default_factory=dict[str, str])
    warnings: list[str] = field(default_factory=list[str])
    failures: list[str] = field(default_factory=list[str])


async def try_writer(role: Role, model: LanguageModel, config: RunConfig) -> Tried:
    """Have a draft or a target write two steps of the configured prompt, and more.

    Raises:
        RsdError: not even the first step can be written; the message names the remedy if one is
            known.
    """
    trial = _WriterTrial(role, model, config)
    first = await trial.first_step()
    await trial.second_step(first)
    await trial.system_message()
    await trial.beginning()
    await trial.thoughts()
    await trial.second_question()
    await trial.control_tokens()
    return trial.tried


async def try_reward(model: RewardModel) -> Tried:
    """Have a right and a wrong step of one problem scored.

    Raises:
        RsdError: a step cannot be scored.
    """
    context = Context((Message("user", QUESTION),))
    right, wrong = [await _scored(model, context, text) for text in (RIGHT, WRONG)]
    tried = Tried({"trial": f"reward {right:.3f} for a right step, {wrong:.3f} for a wrong one"})
    if right - wrong < LEAST_DIFFERENCE and not isinstance(model, (ReadingReward, CascadeReward)):
        how = "hardly less" if wrong < right else "no less"
        tried.warnings.append(
            f"the wrong step {WRONG.strip()!r} gets {how} reward ({wrong:.3f}) than the right "
            f"{RIGHT.strip()!r} ({right:.3f}): labels may be inverted, or the step mark or the "
            "separator not those of the model's training; compare what stands above with its "
            "model card and set `reward` accordingly (reward.kind and the keys beside it), or take "
            "another reward model"
        )
        tried.warnings += getattr(model, "warnings", ())  # settings against the checkpoint
    return tried


async def try_reward_of_draft(model: RewardModel, draft: LanguageModel, config: RunConfig) -> Tried:
    """Have the draft write a step, and the step scored as the draft wrote it.

    Raises:
        RsdError: it cannot be written or scored.
    """
    messages = build_problem(config, QUESTION).messages
    sampling = config.sampling.draft
    request = Generate(
        Role.DRAFT,
        Context(messages),
        STEP_TOKENS,
        parse_boundary(config.boundary),
        Sampling(sampling.temperature, sampling.top_p, sampling.top_k),
        session="doctor",
    )
    [written] = await draft.generate([request])
    if isinstance(written, Failed):
        raise written.error
    [scored] = await model.score([Score(request.context, (written.segment,), "doctor")])
    if isinstance(scored, Failed):
        raise scored.error
    reward = valid_reward(scored.rewards[0])
    return Tried({"trial": f"reward {reward:.3f} for {_short(written.segment.text)}"})


async def _scored(model: RewardModel, context: Context, step: str) -> float:
    [scored] = await model.score([Score(context, (Segment(step),), f"doctor/{step}")])
    if isinstance(scored, Failed):
        raise scored.error
    return valid_reward(scored.rewards[0])


class _WriterTrial:
    """The trials of one writer, one after the other."""

    def __init__(self, role: Role, model: LanguageModel, config: RunConfig) -> None:
        self.tried = Tried()
        self._role, self._model = role, model
        self._messages = build_problem(config, QUESTION).messages
        self._boundary = parse_boundary(config.boundary)
        given = config.sampling.draft if role is Role.DRAFT else config.sampling.target
        self._sampling = Sampling(given.temperature, given.top_p, given.top_k)
        self._tokenizer = f"--{role}-tokenizer"
        self._marks = config.answer.marks
        self._who_thinks = _who_thinks(config)

    async def first_step(self) -> Generated:
        """The configured prompt, up to the configured end of a step."""
        reply = await self._write(self._messages)
        if isinstance(reply, Failed):
            raise await self._explained(reply.error)
        self.tried.facts["trial"] = f"wrote {_short(reply.segment.text)}"
        if not reply.segment.text.strip():
            self.tried.failures.append(self._nothing_written(reply))
        return reply

    async def second_step(self, first: Generated) -> None:
        """Go on behind the first step, or behind one of ours where the answer has ended."""
        over = first.finish_reason is FinishReason.EOS or not first.segment.text
        step = Segment(RIGHT) if over else first.segment
        reply = await self._write(self._messages, step)
        if isinstance(reply, Failed):
            self.tried.failures.append(f"an answer cannot be continued: {reply.error}")
            return
        text, ended = reply.segment.text, reply.finish_reason is FinishReason.EOS
        self.tried.facts["then"] = f"wrote {_short(text)}" if text else "ended the answer"
        if not text and not ended and first.segment.text:
            self.tried.failures.append(self._nothing_written(reply))

    async def system_message(self) -> None:
        """A server's template may drop it."""
        bare = tuple(m for m in self._messages if m.role != "system")
        if bare == self._messages:
            return
        whole, without = await self._read(self._messages), await self._read(bare)
        if whole is not None and whole == without:
            self.tried.warnings.append(
                "the system message is not heard: the prompt is as long without it, so the "
                f"server's chat template drops it; name the model's tokenizer with "
                f"{self._tokenizer}, then it goes before the question, or write it into the "
                "questions and set --system ''"
            )

    async def beginning(self) -> None:
        """How thoughts begin and end, as far as it is known before any are written."""
        if not isinstance(self._model, Begins):
            return
        [begun] = await self._model.begin([Begin(self._role, self._messages, self._marks)])
        if isinstance(begun, Failed) or not (begun.thinks or begun.opened or begun.opened is None):
            return
        if begun.opened is None:
            opened = "not known whether the prompt opens them: thinking.opened says so"
        else:
            opened = f"opened by the prompt with {begun.opened}" if begun.opened else "by the model"
        closed = f", closed with {begun.closing!r}" if begun.closing else ""
        self.tried.facts["thoughts"] = opened + closed
        self.tried.facts["who thinks"] = self._who_thinks
        if not begun.continues:
            self.tried.facts["budget of thoughts"] = "kept by the server, if it can"

    async def thoughts(self) -> None:
        """A template may cut a reply that holds the end of thoughts when it is continued."""
        kept = await self._read(self._messages, Segment(THOUGHTS), Segment(RIGHT))
        without = await self._read(self._messages, Segment(RIGHT))
        if kept is not None and without is not None and kept - without < FEWEST_THOUGHT_TOKENS:
            self.tried.warnings.append(
                "thoughts are cut out of an answer that is continued (the server's chat template "
                f"drops what stands before </think>): name the model's tokenizer with "
                f"{self._tokenizer}, or switch thoughts off with --template enable_thinking=false "
                "if the template has that"
            )

    async def second_question(self) -> None:
        """A conversation of two turns."""
        more = (Message("assistant", RIGHT.strip()), Message("user", "And with 10 more apples?"))
        reply = await self._write((*self._messages, *more), tokens=1)
        if isinstance(reply, Failed):
            self.tried.warnings.append(
                f"conversations of two turns are refused ({reply.error}): give single questions"
            )

    async def control_tokens(self) -> None:
        """A question that spells a control token must be read as text."""
        plain = await self._read((Message("user", QUESTION),))
        if plain is None:
            return
        found: list[str] = []
        for token in SPELLED:
            read = await self._read((Message("user", f"{QUESTION} {token * REPEATED}"),))
            if read is not None and 0 < read - plain <= REPEATED + 1:
                found.append(token)
        if found:
            self.tried.warnings.append(
                f"a question that spells {' or '.join(found)} is read as that control token and "
                f"may end the user's turn: name the model's tokenizer with {self._tokenizer} (a "
                "server that takes token ids then reads text), or keep such text out of questions"
            )
        else:
            self.tried.facts["control tokens in a question"] = "are read as text"

    async def _write(
        self, messages: Sequence[Message], *answer: Segment, tokens: int = STEP_TOKENS
    ) -> Generated | Failed:
        request = Generate(
            self._role,
            Context(tuple(messages), answer),
            max_tokens=tokens,
            boundary=self._boundary,
            sampling=self._sampling,
            session="doctor",
        )
        [reply] = await self._model.generate([request])
        return reply

    async def _read(self, messages: Sequence[Message], *answer: Segment) -> int | None:
        """How many tokens the prompt has; None where that cannot be told."""
        reply = await self._write(messages, *answer, tokens=1)
        if isinstance(reply, Failed):
            return None
        return (reply.usage.prefill_tokens + reply.usage.cached_tokens) or None

    async def _explained(self, error: RsdError) -> RsdError:
        """The error, with the remedy if it is the system message that is refused."""
        bare = [message for message in self._messages if message.role != "system"]
        if len(bare) == len(self._messages):
            return error
        if isinstance(await self._write(bare, tokens=1), Failed):
            return error
        return type(error)(
            f"{error}; without the system message it works: set --system '', or name the model's "
            f"tokenizer with {self._tokenizer}, then the system text goes before the question"
        )

    def _nothing_written(self, reply: Generated) -> str:
        paid = reply.usage.decoded_tokens
        if reply.finish_reason is FinishReason.EOS and paid <= 1:
            return (
                f"wrote nothing to {_short(QUESTION)}: it ended its answer at once; check that the "
                "chat template and the tokenizer are the model's own, and the prompt (--system, "
                "prompt.plain)"
            )
        return (
            f"wrote no text, though {paid} tokens were paid for: either all of them are control "
            "tokens, or a server keeps thoughts apart from the answer; start it without a "
            f"reasoning parser, name the model's tokenizer with {self._tokenizer}, or switch "
            "thoughts off with --template enable_thinking=false"
        )


def _who_thinks(config: RunConfig) -> str:
    """Who writes thoughts and who judges them, in a method that has a judge."""
    thinking = config.thinking
    if Role.REWARD not in config.roles:
        return "the model, by itself"
    judged = thinking.judged_parts(parse_reward_spec(config.reward.spec)) != "answer"
    if thinking.gate is not None or judged:
        return f"the draft; judged by {thinking.gate or 'the reward'}"
    return f"the {thinking.thoughts_by or 'draft'}, unjudged; the reward judges the answer alone"


def _short(text: str, length: int = 60) -> str:
    return repr(text if len(text) <= length else f"{text[:length]}…")
