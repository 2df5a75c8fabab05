"""The values that everything shares: problems, steps, trajectories and what they cost."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from rsdecode.core.answer import extract_answer
from rsdecode.core.thoughts import THOUGHTS, Thoughts

MessageRole = Literal["system", "user", "assistant"]


class Role(StrEnum):
    """The three models of a run."""

    DRAFT = "draft"
    TARGET = "target"
    REWARD = "reward"


class FinishReason(StrEnum):
    """Why a step, or a whole trajectory, ended. The set is closed.

    A step ends with `stop`, `eos`, `step_limit` or `length`, and one that closes thoughts with
    `budget` or `repeated`; a trajectory with any but `stop`, `step_limit` and `budget`.
    Only `eos` means that the model finished its answer.
    """

    STOP = "stop"
    """The step reached its boundary; the answer goes on."""
    EOS = "eos"
    """The model ended its answer."""
    STEP_LIMIT = "step_limit"
    """The step was cut at the cap of tokens for one step."""
    BUDGET = "budget"
    """The step closes the thoughts, whose budget of tokens is used up; no model wrote it."""
    REPEATED = "repeated"
    """The same as `budget` for thoughts that repeat themselves; of an answer: it does so."""
    LENGTH = "length"
    """The answer's token limit, or the model's context, is used up: never counted as an answer."""
    MAX_STEPS = "max_steps"
    """The answer reached the limit of steps without an end."""
    CANCELLED = "cancelled"
    """The caller gave up, or the deadline passed."""
    ERROR = "error"
    """A request failed; `Trajectory.error` says why."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: MessageRole
    content: str


@dataclass(frozen=True, slots=True)
class RawPrompt(Message):
    """All that a language model reads before its answer, as it is: no template is put around it.

    Control tokens that it spells are control tokens. For whoever reads conversations only, such as
    most reward models, it is a question of the user.

    Attributes:
        tokens: its token ids, where they are known; a model with another vocabulary reads the text.
    """

    tokens: Tokens | None = None

    @classmethod
    def of(cls, text: str, tokens: Tokens | None = None) -> RawPrompt:
        """A raw prompt."""
        return cls("user", text, tokens)


@dataclass(frozen=True, slots=True)
class LastMessage(Message):
    """The last message of a conversation, with what a chat template is told of the reply to it.

    Attributes:
        opens: whether the template opens the reply; else what follows opens it.
        effort: how much is to be thought: `none`, `low`, `medium` or `high`; None for what the
            configuration says.
    """

    opens: bool = True
    effort: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """What is to be solved.

    Attributes:
        id: unique within a run; seeds are derived from it.
        messages: the conversation that ends with the question.
        answer: the reference answer, where there is one. No decoding method looks at it.
    """

    id: str
    messages: tuple[Message, ...]
    answer: str | None = None

    @classmethod
    def ask(
        cls, question: str, *, id: str = "0", answer: str | None = None, system: str | None = None
    ) -> Problem:
        """A problem of one user message, after an optional system message."""
        head = (Message("system", system),) if system else ()
        return cls(id, (*head, Message("user", question)), answer)

    @property
    def question(self) -> str:
        """The text of the last user message."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids, and the vocabulary they belong to (a fingerprint of the tokenizer)."""

    vocabulary: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ToldToken:
    """A token that was written, and how likely its writer found it.

    Probabilities are the model's own, at temperature 1 and before top-k and top-p, whatever the
    token was drawn with.

    Attributes:
        text: what it adds to the text; empty where a later token completes the character.
        logprob: natural logarithm of its probability.
        top: the likeliest tokens in its place and theirs, the likeliest first.
    """

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of an answer: its text and, as its writer produced them, its token ids.

    A model with the writer's tokenizer continues from the ids and never tokenises the text again;
    any other model reads the text.

    Attributes:
        logprobs: of each of its tokens, by the model that wrote it, under the distribution that
            they were drawn from (greedy ones: under the model's own, at temperature 1); where the
            model ended the answer, of that end too, as the last. None from models that were not
            told to keep them (`protocols.TellsLogprobs`), and for text that was cut elsewhere.
        told: its tokens, where the request asked for them (`Generate.told`); joined, their texts
            are the text. The end of the answer is not among them.
    """

    text: str
    tokens: Tokens | None = None
    logprobs: tuple[float, ...] | None = field(default=None, compare=False, repr=False)
    told: tuple[ToldToken, ...] | None = field(default=None, compare=False, repr=False)

    def ids_in(self, vocabulary: str) -> tuple[int, ...] | None:
        """The token ids, if they are in `vocabulary`."""
        if self.tokens is not None and self.tokens.vocabulary == vocabulary:
            return self.tokens.ids
        return None


@dataclass(frozen=True, slots=True)
class Context:
    """What a model reads before it writes or scores: z_i = (x, y_1 .. y_{i-1}) in the paper."""

    messages: tuple[Message, ...]
    answer: tuple[Segment, ...] = ()

    def followed_by(self, *segments: Segment) -> Context:
        """This context with more of the answer written."""
        return Context(self.messages, (*self.answer, *segments))

    @property
    def question(self) -> str:
        """The text of the last user message."""
        return Problem("", self.messages).question


@dataclass(frozen=True, slots=True)
class Usage:
    """What one model computed. Counted by the engine, never from re-tokenised text.

    Attributes:
        prefill_tokens: prompt tokens computed.
        cached_tokens: prompt tokens found in the KV cache and not computed.
        decoded_tokens: tokens sampled, end-of-sequence and cut-off tokens included.
        calls: requests served.
        seconds: wall time of those requests; requests that are served together overlap.
        attended_tokens: sum, over computed tokens, of the keys that each attended to.
        speculative_calls: requests that were started ahead and dropped. Those that had been served
            by then are in the counts above like any other; of those cut off only the seconds are
            known, and they are not among `calls`.
        speculative_tokens: of `decoded_tokens`, those of dropped requests.
        verified_tokens: tokens of another model's proposals that this one judged (`Verify`,
            `Assess`): each takes a forward pass, within `prefill_tokens`, and an output like a
            decoded one.
        accepted_tokens: of `verified_tokens`, those that were accepted.
    """

    prefill_tokens: int = 0
    cached_tokens: int = 0
    decoded_tokens: int = 0
    calls: int = 0
    seconds: float = 0.0
    attended_tokens: int = 0
    speculative_calls: int = 0
    speculative_tokens: int = 0
    verified_tokens: int = 0
    accepted_tokens: int = 0

    def judging(self, tokens: int) -> Usage:
        """This usage, in which so many tokens of others were judged."""
        return replace(self, verified_tokens=tokens)

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prefill_tokens + other.prefill_tokens,
            self.cached_tokens + other.cached_tokens,
            self.decoded_tokens + other.decoded_tokens,
            self.calls + other.calls,
            self.seconds + other.seconds,
            self.attended_tokens + other.attended_tokens,
            self.speculative_calls + other.speculative_calls,
            self.speculative_tokens + other.speculative_tokens,
            self.verified_tokens + other.verified_tokens,
            self.accepted_tokens + other.accepted_tokens,
        )


@dataclass(frozen=True, slots=True)
class Ledger:
    """Usage of each role in one trajectory, or in many."""

    draft: Usage = Usage()
    target: Usage = Usage()
    reward: Usage = Usage()

    def of(self, role: Role) -> Usage:
        """The usage of one role."""
        usage: Usage = getattr(self, role.value)
        return usage

    def charge(self, role: Role, usage: Usage) -> Ledger:
        """This ledger with `usage` added to `role`."""
        return replace(self, **{role.value: self.of(role) + usage})

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(
            self.draft + other.draft, self.target + other.target, self.reward + other.reward
        )


@dataclass(frozen=True, slots=True)
class Proposal:
    """A draft step that did not enter the answer.

    Attributes:
        reward: None when it was not scored (see `methods.rsd` for the cases).
    """

    text: str
    reward: float | None
    finish_reason: FinishReason
    token_count: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an answer.

    Attributes:
        segment: text and token ids; the separator belongs to the step that it ends.
        source: the model that wrote it.
        reward: score in [0, 1] of the draft that was decided on: of this step if it was accepted,
            of the draft that it replaced if not (`methods.gsi`, which has the target's steps scored
            too: of this step); None where nothing was scored.
        weight: w(reward), the probability with which that draft was accepted.
        accepted: True for a draft step; False where the target had to write.
        rejected: the drafts that this step replaced or was preferred to.
        token_count: tokens of this step, in its writer's tokenizer. Of an answer that was written
            in one piece and cut afterwards (see `methods.answers.steps_of`), its share of the
            tokens that were decoded, the end of the sequence included.
        thought: whether it is a step of the thoughts, and not of the answer.
    """

    segment: Segment
    source: Role
    finish_reason: FinishReason
    reward: float | None = None
    weight: float | None = None
    accepted: bool = False
    rejected: tuple[Proposal, ...] = ()
    token_count: int = 0
    thought: bool = False

    @property
    def text(self) -> str:
        """The text of the step."""
        return self.segment.text

    @property
    def closes_thoughts(self) -> bool:
        """Whether no model wrote it: it ends thoughts that were long enough."""
        return self.finish_reason in (FinishReason.BUDGET, FinishReason.REPEATED)


@dataclass(frozen=True, slots=True)
class Alternative:
    """A whole answer, or the beginning of one, that was written and not chosen.

    Attributes:
        answer: the final answer found in it, where the method compared answers.
        votes: how many samples gave that answer; None where nothing was voted on.
        score: its aggregated reward; None where it was not scored.
    """

    text: str
    stop_reason: FinishReason
    answer: str | None = None
    votes: int | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A finished answer, how it came about and what it cost.

    Attributes:
        seed: the run's seed; with problem id and sample it determines every random draw.
        error: the message of the failed request when `stop_reason` is `error` or `cancelled`.
        seconds: wall time from the problem's start to its end.
        alternatives: the answers that were not chosen, by methods that write several.
        thoughts: the marks of a model's thoughts; the final answer is looked for after them.
    """

    problem: Problem
    steps: tuple[Step, ...]
    stop_reason: FinishReason
    ledger: Ledger = Ledger()
    seed: int = 0
    sample: int = 0
    error: str | None = None
    seconds: float = 0.0
    alternatives: tuple[Alternative, ...] = ()
    thoughts: Thoughts = THOUGHTS

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(step.text for step in self.steps)

    @property
    def answer(self) -> str | None:
        """The final answer, after the thoughts; None unless the model ended it."""
        return extract_answer(self.text, self.thoughts) if self.finished else None

    @property
    def finished(self) -> bool:
        """Whether the model ended its answer itself: anything else is not an answer."""
        return self.stop_reason is FinishReason.EOS

    @property
    def decided(self) -> tuple[Step, ...]:
        """The steps without those of thoughts that nobody judged, or that close them."""
        return tuple(
            step
            for step in self.steps
            if not step.closes_thoughts and not (step.thought and step.weight is None)
        )

    @property
    def acceptance_rate(self) -> float | None:
        """Share of the decided steps that the draft wrote; None without such steps."""
        decided = self.decided
        return sum(step.accepted for step in decided) / len(decided) if decided else None

    @property
    def token_acceptance_rate(self) -> float | None:
        """Share of verified proposal tokens that were accepted; None where none were verified."""
        verified = self.ledger.target.verified_tokens
        accepted = self.ledger.target.accepted_tokens
        return accepted / verified if verified else None
