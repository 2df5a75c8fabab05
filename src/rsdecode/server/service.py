"""What the endpoints share: the models, one session on them, and answers as they grow."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic import ValidationError

from rsdecode.config import RunConfig, config_hash
from rsdecode.core.errors import Overloaded, RsdError, SessionClosed
from rsdecode.core.protocols import Models, Tokenizes
from rsdecode.core.types import Message, Problem, RawPrompt, Role
from rsdecode.server.answers import AnswerForm, EndPart, GrowingAnswer, Part, StartPart, TextPart
from rsdecode.server.effort import with_effort
from rsdecode.server.errors import ApiError, invalid, overloaded, prompt_too_long, unavailable
from rsdecode.server.final_text import sure_writer
from rsdecode.server.health import Health
from rsdecode.server.logprobs import check_method, check_writer
from rsdecode.server.method_choice import Changes, Chosen, MethodChooser, header_options
from rsdecode.server.metrics import Metrics
from rsdecode.server.part_queue import PartQueue
from rsdecode.server.requests import RsdOptions, SamplingRequest, described
from rsdecode.server.tracing import current_span
from rsdecode.session.events import Decided
from rsdecode.session.handle import Events, Handle
from rsdecode.session.job import Job
from rsdecode.session.session import Session
from rsdecode.text.codec import Codec, HasCodec

logger = logging.getLogger(__name__)
NO_TOKENIZER = (
    "the target's tokenizer is not known here: name it (--target-tokenizer, target_tokenizer)"
)
PROBLEM = "0"
"""The id that `rsd solve` gives to a question: equal seeds give equal draws."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for answers, understood.

    Attributes:
        messages: what the models read.
        chosen: the method.
        form: how the answers are given out.
        seed: of all random draws.
        count: answers.
        events: of the sessions: text while it is written only of whom it is sure to stay.
        model: the name that the request asked for.
    """

    messages: tuple[Message, ...]
    chosen: Chosen
    form: AnswerForm
    seed: int
    count: int
    events: Events
    model: str = "rsd"


class Service:
    """Answers requests on loaded models.

    Args:
        config: of the run and of the server.
        models: what answers; closed by whoever loaded them.
    """

    def __init__(self, config: RunConfig, models: Models) -> None:
        self.config = config
        self.models = models
        self.settings = config.server
        self.started = int(time.time())
        self.fingerprint = f"rsd_{config_hash(config)}"
        self.shapes = models.shapes()
        self.chooser = MethodChooser(config, models, self.settings.max_samples)
        self.metrics = Metrics()
        self.health = Health()
        self.draining = False
        self.target_codec = self._codec_of(Role.TARGET)
        self.codec = self.target_codec or self._codec_of(Role.DRAFT)
        self.tokenizer = self._tokenizer()
        self._measures = 0
        self._tell: set[Role] = set()
        self._contexts = [
            (codec, codec.max_context)
            for role in (Role.TARGET, Role.DRAFT)
            if (codec := self._codec_of(role)) is not None and codec.max_context
        ]
        self._session: Session | None = None
        self._opened: dict[str | None, bool] = {}
        self._watch()
        self._family = list(config.family_writers)

    @property
    def session(self) -> Session:
        """The session, made on the event loop that first asks for it."""
        if self._session is None:
            run = self.config.run
            queue = self.settings.queue
            self._session = Session(
                self.models,
                concurrency=run.concurrency,
                queue_limit=queue,
                thoughts=self.config.answer.marks,
            )
        return self._session

    @property
    def deadline_s(self) -> float | None:
        """Seconds for an answer: the shorter of the server's and the run's limit."""
        limits = (self.settings.deadline_s, self.config.run.timeout_s)
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def max_context(self) -> int | None:
        """Tokens of prompt and answer together, by the smaller of the writers; None if unknown."""
        return min((context for _, context in self._contexts), default=None)

    def understand(
        self,
        request: SamplingRequest,
        messages: Sequence[Message],
        headers: Mapping[str, str],
        *,
        max_tokens: int | None,
        parted: bool = True,
        param: str = "messages",
        told: int | None = None,
        effort: str | None = None,
    ) -> Ask:
        """Read what a request asks for.

        Args:
            request: its parameters.
            messages: its conversation.
            headers: by lower-case name.
            max_tokens: of an answer; None for the configuration's.
            parted: whether thoughts have a field of their own.
            param: the field that holds the conversation.
            told: how many likely tokens are told beside each of the answer's (see `check_told`).
            effort: how much is to be thought (see `server.effort`); None for the configuration's.

        Raises:
            ApiError: it cannot be honoured.
        """
        options = _options(request, headers)
        changes = Changes(max_tokens, request.temperature, request.top_p, request.top_k, effort)
        chosen = self.chooser.choose(request.model, options, changes)
        count = request.n or 1
        if count * chosen.samples > self.settings.max_samples:
            raise invalid(
                f"n = {count} answers of {chosen.samples} texts each are more than this server "
                f"allows ({self.settings.max_samples} in all): ask for fewer",
                "n",
            )
        read = with_effort(self._with_system(messages), effort)
        form = AnswerForm(
            method=chosen.method,
            thoughts=self.config.answer.marks,
            stops=request.stops,
            inside=self._opens_thoughts(effort),
            parted=parted,
            trace=options.trace,
            prompt_tokens=self._prompt_tokens(read, param),
            context=self.max_context,
            shapes=self.shapes,
            note=self._note(read),
            told=told,
        )
        watched = told is None and bool(request.stream or request.stops)
        writer = sure_writer(chosen.method) if watched else None
        events = "all" if options.trace == "deltas" else writer or "steps"
        return Ask(read, chosen, form, self._seed(request, headers), count, events, request.model)

    async def text_of(self, ids: Sequence[int], param: str) -> str:
        """The text of the target's token ids.

        Raises:
            ApiError: they are not known, or there is no such token.
        """
        try:
            if self.codec is not None:
                return self.codec.text(ids)
            if self.tokenizer is None:
                raise invalid(NO_TOKENIZER, param)
            return await self.tokenizer.detokenize(ids)
        except (ValueError, RsdError) as error:
            raise invalid(str(error), param) from None

    async def check_told(self, ask: Ask) -> None:
        """See that the tokens of an answer can be told, where they are asked for.

        Raises:
            ApiError: the method has none, or a model that writes does not tell.
        """
        if ask.form.told is None:
            return
        check_method(ask.chosen)
        for role in sorted(ask.chosen.method.roles - {Role.REWARD} - self._tell):
            await asyncio.to_thread(check_writer, self.models, role)
            self._tell.add(role)

    async def answer(self, ask: Ask) -> AsyncGenerator[Part]:
        """The parts of all answers, as they come; closing the iteration gives the answers up.

        Raises:
            ApiError: no room, or an answer failed; the others are given up.
        """
        started = time.perf_counter()
        handles = self._submit(ask)
        parts = PartQueue()
        tasks = [
            asyncio.ensure_future(self._follow(GrowingAnswer(i, ask.form), handle, parts, started))
            for i, handle in enumerate(handles)
        ]
        left, first = len(tasks), True
        ended: list[EndPart] = []
        try:
            for choice in range(left):
                yield StartPart(choice)
            while left:
                for part in await parts.take():
                    if isinstance(part, ApiError):
                        raise part
                    if first and isinstance(part, TextPart):
                        self.metrics.first_text(time.perf_counter() - started)
                        first = False
                    if isinstance(part, EndPart):
                        self.metrics.ended(part, ask.chosen.kind, time.perf_counter() - started)
                        ended.append(part)
                        left -= 1
                    yield part
            if (span := current_span()) is not None:
                span.answered([e.counts for e in ended], [e.finish_reason for e in ended])
        finally:
            for handle in handles:
                handle.cancel("the client has left")
            await asyncio.gather(*tasks, return_exceptions=True)

    def check_ready(self) -> None:
        """See that requests can be answered.

        Raises:
            ApiError: the server is about to end.
        """
        if self.draining:
            raise unavailable("the server is about to end: try again, perhaps elsewhere")

    def check_room(self) -> None:
        """See that there is room for an answer, before anything is made of a request.

        Raises:
            ApiError: as many wait already as may.
        """
        self.check_ready()
        if self.session.full:
            self._refuse_for_queue()

    def _refuse_for_queue(self) -> NoReturn:
        self.metrics.refused.labels("queue").inc()
        waiting = self.session.waiting
        raise overloaded(f"{waiting} answers wait already: try again in a second") from None

    def take_measures(self, count: int) -> bool:
        """Whether there is room to tell how likely `count` more texts are; given back later."""
        room = self.config.run.concurrency + self.settings.queue
        if self._measures + count > room:
            return False
        self._measures += count
        return True

    def give_back_measures(self, count: int) -> None:
        """`count` texts were measured."""
        self._measures -= count

    async def close(self) -> None:
        """Let running answers end, for a while; then give them up."""
        self.draining = True
        try:
            async with asyncio.timeout(self.settings.drain_s):
                await self.session.close()
        except TimeoutError:
            logger.warning("answers that were not done after %s s", self.settings.drain_s)
            await self.session.close(cancel=True)

    def _watch(self) -> None:
        """Have the metrics tell what is in flight."""

        def running() -> int:
            return 0 if self._session is None else self._session.in_flight

        def waiting() -> int:
            return 0 if self._session is None else self._session.waiting

        self.metrics.watch(running, waiting)
        self.metrics.watch_cache(lambda: running() / self.config.run.concurrency)

    def _submit(self, ask: Ask) -> list[Handle]:
        self.check_ready()
        if (span := current_span()) is not None:
            span.asked(
                **{"gen_ai.operation.name": "chat", "gen_ai.request.model": ask.model},
                **{"rsd.method": ask.chosen.name, "rsd.seed": str(ask.seed)},
            )
        handles: list[Handle] = []
        try:
            for sample in range(ask.count):
                problem = Problem(PROBLEM, ask.messages)
                deadline_s, told = self.deadline_s, ask.form.told
                job = Job(problem, ask.chosen.method, ask.seed, sample, deadline_s, told=told)
                handles.append(self.session.submit_job(job, events=ask.events))
        except Overloaded:
            for handle in handles:
                handle.cancel()
            self._refuse_for_queue()
        except SessionClosed:
            raise unavailable("the server is about to end: try again, perhaps elsewhere") from None
        return handles

    async def _follow(
        self,
        answer: GrowingAnswer,
        handle: Handle,
        parts: PartQueue,
        started: float,
    ) -> None:
        """Turn one session's events into parts."""
        span = current_span()
        try:
            async for event in handle:
                if span is not None and isinstance(event, Decided):
                    span.step(answer.choice, event.index, event.step)
                for part in answer.add(event, time.perf_counter() - started):
                    parts.put(part)
                if answer.enough:
                    handle.cancel("a stop string was found")
            self.health.worked()
        except ApiError as error:
            if error.status == 502:
                self.health.broke(str(error))
            parts.put(error)
        except Exception:
            logger.exception("an answer could not be given out")
            parts.put(ApiError(500, "internal error: see the server's log", "api_error"))

    def _with_system(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        system = self.config.system_prompt
        first = messages[0]
        if system is None or first.role == "system" or isinstance(first, RawPrompt):
            return tuple(messages)
        return (Message("system", system), *messages)

    def _seed(self, request: SamplingRequest, headers: Mapping[str, str]) -> int:
        """The client's seed; a new one where it has none, or is not to be heard."""
        ignored = self.settings.ignore_seed or headers.get("x-rsd-ignore-seed", "") in ("1", "true")
        if request.seed is None or ignored:
            return secrets.randbits(31)
        return request.seed

    def _prompt_tokens(self, messages: tuple[Message, ...], param: str) -> int | None:
        """Tokens of the prompt; None where no tokenizer is known.

        Raises:
            ApiError: it is too long.
        """
        length = sum(len(message.content) for message in messages)
        if length > (most := self.settings.max_prompt_characters):
            raise invalid(
                f"the prompt has {length} characters, and this server takes {most}: shorten it",
                param,
                "context_length_exceeded",
            )
        try:
            for codec, context in self._contexts:
                if (tokens := len(codec.chat_ids(messages))) >= context:
                    raise prompt_too_long(context, tokens, param)
            return len(self.codec.chat_ids(messages)) if self.codec is not None else None
        except RsdError as error:
            raise invalid(str(error), param) from None

    def _codec_of(self, role: Role) -> Codec | None:
        model = self.models.draft if role is Role.DRAFT else self.models.target
        return model.codec if isinstance(model, HasCodec) else None

    def _tokenizer(self) -> Tokenizes | None:
        """A model that tells token ids, by a tokenizer of its server; the target where it can."""
        models = (self.models.target, self.models.draft)
        return next((model for model in models if isinstance(model, Tokenizes)), None)

    def _opens_thoughts(self, effort: str | None) -> bool:
        """Whether prompts end with a mark that opens the thoughts."""
        if effort not in self._opened:
            self._opened[effort] = self._finds_opened(effort)
        return self._opened[effort]

    def _finds_opened(self, effort: str | None) -> bool:
        told = self.settings.thoughts_open
        told = self.config.thinking.opened if told is None else told
        if told is not None or self.codec is None:
            return bool(told)
        try:
            prompt = self.codec.chat_text(with_effort([Message("user", "?")], effort))
        except RsdError:
            return False
        return self.config.answer.marks.opened_by(prompt) is not None

    def _note(self, messages: tuple[Message, ...]) -> str | None:
        if not self._family:
            return None
        from rsdecode.models.abacus.language import language_note

        return language_note([Problem("", messages).question], self._family)


def _options(request: SamplingRequest, headers: Mapping[str, str]) -> RsdOptions:
    """The extension of the body, over that of the headers."""
    given: dict[str, Any] = header_options(headers)
    if request.rsd is not None:
        given |= request.rsd.model_dump(exclude_unset=True)
    try:
        return RsdOptions.model_validate(given)
    except ValidationError as error:
        refused = described(error.errors())
        raise invalid(str(refused), f"rsd.{refused.param}", refused.code) from None
