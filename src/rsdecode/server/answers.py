"""One answer of a request while it grows: events of its session to what its client sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from rsdecode.core.answer import extract_answer
from rsdecode.core.thoughts import Thoughts
from rsdecode.core.types import FinishReason, Role, Trajectory
from rsdecode.methods import RSD, Method, Single
from rsdecode.server.accounts import Shapes, TokenCounts, count_tokens, flops_record
from rsdecode.server.errors import failed, prompt_too_long, timed_out
from rsdecode.server.final_text import FinalText, sure_writer
from rsdecode.server.logprobs import AnswerToken, ContentTokens
from rsdecode.server.stop_strings import StopStrings
from rsdecode.server.thoughts import ThoughtsReader
from rsdecode.server.trace_events import event_record
from rsdecode.session.events import Decided, Delta, Event, Finished

Trace = bool | Literal["deltas"]


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """How the answers of a request are given out.

    Attributes:
        method: that writes them.
        stops: stop strings, looked for in the answer only.
        thoughts: the marks of the models' thoughts.
        inside: whether the prompt has opened the thoughts.
        parted: whether thoughts have a field of their own; else they are in the content.
        trace: whether to tell who wrote which step, and what was rejected.
        prompt_tokens: of the conversation, where its tokenizer is known.
        context: tokens of the smallest context, where it is known.
        shapes: of the models, for FLOPs.
        note: what a reader should know of the answer.
        told: how many likely tokens are told beside each of the content's; None to tell of none.
    """

    method: Method
    thoughts: Thoughts
    stops: tuple[str, ...] = ()
    inside: bool = False
    parted: bool = True
    trace: Trace = False
    prompt_tokens: int | None = None
    context: int | None = None
    shapes: Shapes = field(default_factory=dict[Role, Any])
    note: str | None = None
    told: int | None = None


@dataclass(frozen=True, slots=True)
class StartPart:
    """An answer has been taken on."""

    choice: int


@dataclass(frozen=True, slots=True)
class TextPart:
    """New text of one answer.

    Attributes:
        choice: which of the answers.
        text: never empty.
        thought: whether it is a thought.
        tokens: that wrote it, where they are asked for; thoughts have none.
    """

    choice: int
    text: str
    thought: bool = False
    tokens: tuple[AnswerToken, ...] = ()


@dataclass(frozen=True, slots=True)
class TracePart:
    """An event of the extension."""

    choice: int
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EndPart:
    """An answer has ended.

    Attributes:
        choice: which of the answers.
        finish_reason: `stop` or `length`, as OpenAI's clients know them.
        record: the extension's event `finished`.
        counts: tokens.
        trajectory: of the answer.
    """

    choice: int
    finish_reason: str
    record: dict[str, Any]
    counts: TokenCounts
    trajectory: Trajectory


Part = StartPart | TextPart | TracePart | EndPart


@dataclass(slots=True)
class GrowingAnswer:
    """Turns one session's events into parts.

    Attributes:
        choice: which of the request's answers.
        form: how it is given out.
        content: the answer so far, without thoughts, as its client has it.
        thoughts: the thoughts so far.
        enough: the answer was ended by a stop string, and what is still being written is not
            needed.
    """

    choice: int
    form: AnswerForm
    content: str = ""
    thoughts: str = ""
    enough: bool = False
    _text: FinalText = field(init=False)
    _parting: ThoughtsReader = field(init=False)
    _stops: StopStrings = field(init=False)
    _told: ContentTokens | None = field(init=False)
    _last_seconds: float = 0.0
    _steps: int = 0
    _tokens: int = 0

    def __post_init__(self) -> None:
        form = self.form
        whole_steps = form.told is not None  # whose tokens are known once they are decided
        self._text = FinalText(None if whole_steps else sure_writer(form.method))
        self._told = ContentTokens() if whole_steps else None
        self._parting = ThoughtsReader(form.thoughts, form.inside, whole=not form.parted)
        self._stops = StopStrings(form.stops)

    def add(self, event: Event, seconds: float) -> Iterator[Part]:
        """The parts that an event makes, given the seconds since the request was begun.

        Raises:
            ApiError: the answer failed.
        """
        if isinstance(event, Finished):
            yield from self._end(event.trajectory, seconds)
            return
        since = self._last_seconds
        if isinstance(event, Decided):
            self._last_seconds = seconds
            self._tokens += 0 if self.enough else event.step.token_count
            self._steps += not self.enough
            if self._told is not None:
                self._told.write(event.step)
        if self.form.trace and (self.form.trace == "deltas" or not isinstance(event, Delta)):
            yield TracePart(self.choice, event_record(event, self.choice, seconds - since))
        if isinstance(event, Delta | Decided) and self._stops.found is None:
            try:
                new = self._text.add(event)
            except ValueError as error:
                raise failed(f"{error}: ask again") from None
            yield from self._give(new)
        if self._stops.found is not None and not self.enough:
            self._tokens = self._tokens or self._text.pieces  # of an answer in one piece
            self.enough = isinstance(event, Decided) or isinstance(self.form.method, Single)

    def _give(self, new: str, *, last: bool = False) -> Iterator[TextPart]:
        for text, thought, at in self._parting.add(new, last=last):
            shown = not (thought and self.form.parted)
            if self._told is not None and shown:
                self._told.expect(at, len(text))
            if thought:
                self.thoughts += text
                yield self._part(text) if shown else TextPart(self.choice, text, thought=True)
            elif given := self._stops.add(text):
                self.content += given
                yield self._part(given)
            if self._stops.found is not None:
                return
        if last and (given := self._stops.add("", last=True)):
            self.content += given
            yield self._part(given)

    def _part(self, text: str) -> TextPart:
        """Text of the content."""
        tokens = () if self._told is None else self._told.give(len(text))
        return TextPart(self.choice, text, tokens=tokens)

    def _end(self, trajectory: Trajectory, seconds: float) -> Iterator[Part]:
        stopped = self._stops.found is not None
        if not stopped:
            self._check(trajectory)
            yield from self._give("", last=True)
            stopped = self._stops.found is not None
        text = len(self.content) + len(self.thoughts)
        share = len(self.thoughts) / text if text else 0.0
        counts = count_tokens(trajectory, self.form.prompt_tokens, self._tokens, share)
        reason = "stop" if stopped or trajectory.finished else "length"
        record = self._finished(trajectory, counts, seconds, stopped=stopped)
        yield EndPart(self.choice, reason, record, counts, trajectory)

    def _check(self, trajectory: Trajectory) -> None:
        """Raise what kept the answer from its end, where that was no limit of its length."""
        message = trajectory.error or "the answer was given up"
        if trajectory.stop_reason is FinishReason.CANCELLED:
            raise timed_out(f"{message}: ask for a shorter answer, or raise server.deadline_s")
        if trajectory.stop_reason is FinishReason.ERROR:
            if message.startswith("the question is ") and "whose context is" in message:
                raise prompt_too_long(self.form.context or 0, self.form.prompt_tokens or 0)
            raise failed(message)

    def _finished(
        self, trajectory: Trajectory, counts: TokenCounts, seconds: float, *, stopped: bool
    ) -> dict[str, Any]:
        ended = stopped or trajectory.finished
        ledger = trajectory.ledger
        writes = {role: ledger.of(role).decoded_tokens for role in (Role.DRAFT, Role.TARGET)}
        read = ledger.reward.prefill_tokens + ledger.reward.decoded_tokens
        alternating = isinstance(self.form.method, RSD)
        return {
            "event": "finished",
            "choice": self.choice,
            "answer": extract_answer(self.content, self.form.thoughts) if ended else None,
            "finish_reason": "stop_string" if stopped else trajectory.stop_reason.value,
            "steps": self._steps,
            "acceptance": trajectory.acceptance_rate if alternating else None,
            "seconds": round(seconds, 6),
            "tokens": {
                "draft": writes[Role.DRAFT],
                "target": writes[Role.TARGET],
                "reward": read,
            },
            "flops": flops_record(trajectory, counts, self.form.shapes),
            "note": self.form.note,
        }
