"""A model behind an OpenAI-compatible server, as a `LanguageModel` and a `Chooser`."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from rsdecode.backends.openai_http import measuring, tokenizing
from rsdecode.backends.openai_http.asks import Answered, Ask, Prompt
from rsdecode.backends.openai_http.assessing import likelihoods, plan
from rsdecode.backends.openai_http.faults import Refusal
from rsdecode.backends.openai_http.probe import Abilities, probe
from rsdecode.backends.openai_http.remedies import (
    cannot_assess,
    cannot_continue,
    keeps_no_budget,
    no_salts,
    separates_thoughts,
    tells_no_logprobs,
    too_long,
)
from rsdecode.backends.openai_http.rendering import Renderer
from rsdecode.backends.openai_http.showing import Shown, Watch
from rsdecode.backends.openai_http.transport import Exchange, Transport
from rsdecode.backends.openai_http.writing import StepAssembly
from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import ConfigError, PromptTooLong, RequestError, RsdError
from rsdecode.core.protocols import Choose, Chosen, Measure, Measured, Show
from rsdecode.core.requests import Assess, Assessed, Begin, Begun, Failed, Generate, Generated
from rsdecode.core.types import Context, Message, Segment, Usage
from rsdecode.text.codec import Codec
from rsdecode.text.pretrained import PLAIN_PROMPT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)
CHECK_S = 10.0
"""For a check before the first problem."""
Request = TypeVar("Request")
Reply = TypeVar("Reply")
Told = TypeVar("Told")


class _Piece(NamedTuple):
    """What one exchange with the server brought."""

    answered: Answered
    usage: Usage
    ids: tuple[int, ...] | None


class ServedModel:
    """Serves requests by asking a server.

    With the model's tokenizer, conversations are rendered here and token ids are exchanged where
    the server takes them: then nothing is tokenised twice. Without it, the server renders them, or
    the plain prompt is used (see `probe.Template`).

    Args:
        transport: carries the requests; closed with the model.
        tokenizer: of the served model.
        plain_prompt: with `{question}`, for models without a chat template.
        shape: of the served model, where known, for FLOPs.
        template: arguments of the chat template, such as `enable_thinking`, whether it is rendered
            here or by the server.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        plain_prompt: str = PLAIN_PROMPT,
        shape: ModelShape | None = None,
        template: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self._transport = transport
        self._tokenizer = tokenizer
        self._renderer = Renderer(tokenizer, plain_prompt, transport.address.name, template)
        self._shape = shape
        self._salt: str | None = None
        self._notes: dict[str, None] = {}
        self._tells_logprobs = False

    @property
    def shape(self) -> ModelShape | None:
        """Sizes, for FLOPs; None where they are not known."""
        return self._shape

    @property
    def codec(self) -> Codec | None:
        """Its tokenizer, where it is known here."""
        return self._renderer.codec

    async def generate(self, requests: Sequence[Generate]) -> list[Generated | Failed]:
        """Serve each request; replies in the order of the requests."""
        return list(await asyncio.gather(*(_or_failed(self._write, r) for r in requests)))

    async def stream(self, requests: Sequence[Generate], show: Show) -> list[Generated | Failed]:
        """Serve each request as `generate` does, and show its text as it comes.

        A request that is tried again goes on where the text that was shown ends; where the new text
        is another, no more is shown of that step.
        """

        async def write(numbered: tuple[int, Generate]) -> Generated:
            place, request = numbered
            return await self._write(request, Shown(partial(show, place)))

        return list(await asyncio.gather(*(_or_failed(write, r) for r in enumerate(requests))))

    async def choose(self, requests: Sequence[Choose]) -> list[Chosen | Failed]:
        """Serve each request; replies in the order of the requests."""
        return list(await asyncio.gather(*(_or_failed(self._choose, r) for r in requests)))

    async def assess(self, requests: Sequence[Assess]) -> list[Assessed | Failed]:
        """Serve each request; replies in the order of the requests."""
        return list(await asyncio.gather(*(_or_failed(self._assess, r) for r in requests)))

    async def measure(self, requests: Sequence[Measure]) -> list[Measured | Failed]:
        """Serve each request; replies in the order of the requests."""
        return list(await asyncio.gather(*(_or_failed(self._measure, r) for r in requests)))

    async def tokenize(self, text: str, *, special: bool = True) -> tuple[int, ...]:
        """The ids of a text, by the server's tokenizer (see `protocols.Tokenizes`)."""
        name = self._transport.address.name

        async def ask(exchange: Exchange, cpp: bool) -> tuple[int, ...]:
            return await tokenizing.tokenize(exchange, name, text, special=special, cpp=cpp)

        return await self._of_tokens(ask)

    async def tokenize_chat(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        """The ids of a conversation, as the server renders it."""

        async def ask(exchange: Exchange, cpp: bool) -> tuple[int, ...]:
            return await self._renderer.ids_there(exchange, messages, cpp=cpp)

        return await self._of_tokens(ask)

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text of ids, by the server's tokenizer."""
        name = self._transport.address.name

        async def ask(exchange: Exchange, cpp: bool) -> str:
            return await tokenizing.detokenize(exchange, name, ids, cpp=cpp)

        return await self._of_tokens(ask)

    async def begin(self, requests: Sequence[Begin]) -> list[Begun | Failed]:
        """Serve each request; replies in the order of the requests."""
        return list(await asyncio.gather(*(_or_failed(self._begin, r) for r in requests)))

    def tell_logprobs(self) -> None:
        """From now on, segments carry log-probabilities: the model's own, at temperature 1."""
        self._tells_logprobs = True

    def end(self, session: str) -> None:
        """Nothing: servers see to their own caches."""

    def clear(self) -> None:
        """What follows does not use what was read before, where the server's cache knows salts."""
        self._salt = secrets.token_hex(16)

    def check_steps(self) -> None:
        """Ask the server whether it can continue an answer; one that is not up is not waited for.

        Raises:
            ConfigError: it cannot, or does not serve the model.
        """
        self._check(self._check_continues)

    def check_assesses(self) -> None:
        """Ask the server whether it tells how likely a text is (see `check_steps`).

        Raises:
            ConfigError: it does not.
        """
        self._check(self._check_assesses)

    def check_logprobs(self) -> None:
        """Ask the server whether it tells how likely its own text was (see `check_steps`).

        Raises:
            ConfigError: it does not.
        """
        self._check(self._check_logprobs)

    def check_tokens(self) -> None:
        """Ask the server whether it tells how likely its own tokens were (see `check_steps`).

        Raises:
            ConfigError: it does not.
        """
        self.check_logprobs()

    def _check(self, ask: Callable[[Exchange], Awaitable[None]]) -> None:
        async def check() -> None:
            transport = self._transport.impatient(CHECK_S)
            try:
                await transport.run("", ask)
            except RequestError as error:
                logger.info("not checked before the first problem: %s", error)

        with ThreadPoolExecutor(1) as thread:  # whose event loop is its own
            thread.submit(asyncio.run, check()).result()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results must know; complete once requests were served."""
        rendered = (f"{self._transport.address.name}: {note}" for note in self._renderer.notes)
        return (*rendered, *self._notes)

    def describe(self) -> dict[str, str]:
        """What `rsd doctor` prints."""
        address = self._transport.address
        facts = {"model": address.name, "servers": ", ".join(address.urls)}
        if self._tokenizer is not None:
            facts["tokenizer"] = f"{type(self._tokenizer).__name__}, {len(self._tokenizer)} tokens"
        if self._renderer.vocabulary is not None:
            facts["vocabulary"] = self._renderer.vocabulary
        if self._shape is not None:
            facts["parameters"] = f"{self._shape.parameters:,}"
        return facts

    def close(self) -> None:
        """Close the connections; requests under way are answered with `Failed`."""
        self._transport.close()

    async def _write(self, request: Generate, shown: Shown | None = None) -> Generated:
        """A step: one request to the server, or several where it stops too early for us."""
        renderer = self._renderer
        writing = StepAssembly(request, self._tokenizer, renderer.vocabulary, renderer.turn_end)
        generated: Generated | None = None
        while generated is None:
            try:
                piece = await self._transport.run(
                    request.session, lambda exchange: self._piece(exchange, writing, shown)
                )
            except Refusal as refusal:
                if not writing.context.answer:
                    raise self._too_long(str(refusal)) from None
                piece = None
            generated = writing.full() if piece is None else writing.take(*piece)
            if shown is not None:
                shown.all(writing.segment.text)
        return generated

    async def _piece(
        self, exchange: Exchange, writing: StepAssembly, shown: Shown | None
    ) -> _Piece | None:
        """One try of one request; None if the context is full."""
        abilities = await self._abilities(exchange)
        request, context = writing.request, writing.context
        self._check_route(abilities, request)
        prompt = await self._renderer.render(exchange, abilities, context)
        room = writing.room
        if abilities.context is not None and isinstance(prompt, tuple):
            room = min(room, abilities.context - len(prompt))
            if room <= 0 and not context.answer:
                raise self._too_long(
                    f"the question is {len(prompt)} tokens long, the context {abilities.context}"
                )
            if room <= 0:
                return None
        stops, sampling = request.boundary.stops, request.sampling
        end_id = self._renderer.turn_end
        ask = Ask(
            prompt, room, stops, sampling, writing.seed, salt=self._salt, end_id=end_id,
            logprobs=self._tells_logprobs, told=request.told,
            thinking_tokens=request.thinking_tokens,
        )  # fmt: skip
        if ask.thinking_tokens is not None and not abilities.dialect.budget_key:
            raise RequestError(keeps_no_budget(exchange.url, abilities.dialect.name))
        if ask.wants_logprobs and not abilities.dialect.tells_logprobs:
            raise RequestError(tells_no_logprobs(exchange.url, abilities.dialect.name))
        ids = prompt if isinstance(prompt, tuple) else None
        chunks = request.boundary.tokens > 0
        streams = abilities.dialect.streams(shown=shown is not None, chunks=chunks)
        if streams and not ask.wants_logprobs:
            watch = None if shown is None else shown.watch(writing.preview(ids))
            answered, usage = await self._streamed(exchange, abilities, ask, watch)
        else:
            answered, usage = await self._asked(exchange, abilities, ask)
        if answered.thoughts:
            self._check_thoughts(request)
            answered = answered.with_thoughts()
        if answered.ended == "unknown":
            read = context.followed_by(Segment(answered.text))
            following, cost = await self._follow(exchange, abilities, ask, read)
            answered, usage = answered.told(following, ask.stops), usage + cost
        return _Piece(answered, usage, ids)

    async def _follow(
        self, exchange: Exchange, abilities: Abilities, ask: Ask, read: Context
    ) -> tuple[Answered, Usage]:
        """The token after the text, to learn why a server stopped that does not say.

        Greedy, that is the token that it stopped at; sampled, it is drawn again.
        """
        prompt = await self._renderer.render(exchange, abilities, read)
        once = replace(ask, prompt=prompt, max_tokens=1, stops=())
        return await self._asked(exchange, abilities, once)

    async def _choose(self, request: Choose) -> Chosen:
        async def attempt(exchange: Exchange) -> tuple[Answered, Usage]:
            abilities = await self._abilities(exchange)
            prompt: Prompt = await self._renderer.render_bare(exchange, abilities, request.messages)
            ask = Ask(prompt, 1, choices=abilities.dialect.most_choices, salt=self._salt)
            return await self._asked(exchange, abilities, ask)

        try:
            answered, usage = await self._transport.run(request.session, attempt)
        except Refusal as refusal:
            raise self._too_long(str(refusal)) from None
        chances = [0.0] * len(request.choices)
        for text, logprob in answered.likeliest.items():
            if text.strip() in request.choices:
                chances[request.choices.index(text.strip())] += math.exp(logprob)
        total = math.fsum(chances)
        if not total > 0.0:
            raise RequestError(
                f"{self._transport.address} gave none of {', '.join(request.choices)} among the "
                f"{len(answered.likeliest)} likeliest tokens: use another model as the judge"
            )
        return Chosen(tuple(chance / total for chance in chances), usage)

    async def _assess(self, request: Assess) -> Assessed:
        async def attempt(exchange: Exchange) -> Assessed:
            abilities = await self._abilities(exchange)
            ids, starts = await plan(request, self._renderer, self._tokenizer, exchange, abilities)
            ask = Ask(ids, 1, salt=self._salt, assess=True)
            answered, usage = await self._asked(exchange, abilities, ask)
            found = likelihoods(answered.prompt_told, starts)
            return Assessed(found, usage.judging(starts[-1] - starts[0]))

        try:
            return await self._transport.run(request.session, attempt)
        except Refusal as refusal:
            raise self._too_long(str(refusal)) from None

    async def _measure(self, request: Measure) -> Measured:
        async def attempt(exchange: Exchange) -> Measured:
            abilities = await self._abilities(exchange)
            if not (abilities.dialect.assesses and abilities.takes_ids):
                raise RequestError(cannot_assess(exchange.url, abilities.dialect.name))
            name = self._transport.address.name
            return await measuring.measure(request, exchange, abilities, name, self._salt)

        try:
            return await self._transport.run(request.session, attempt)
        except Refusal as refusal:
            raise self._too_long(str(refusal)) from None

    async def _begin(self, request: Begin) -> Begun:
        async def attempt(exchange: Exchange) -> Begun:
            abilities = await self._abilities(exchange)
            begun = await self._renderer.begun(exchange, abilities, request)
            return replace(begun, continues=abilities.template != "chat")

        try:
            return await self._transport.run(request.session, attempt)
        except Refusal as refusal:
            raise self._too_long(str(refusal)) from None

    async def _of_tokens(self, ask: Callable[[Exchange, bool], Awaitable[Told]]) -> Told:
        """What a server says of tokens."""

        async def attempt(exchange: Exchange) -> Told:
            abilities = await self._abilities(exchange)
            tokenizing.check(exchange, abilities)
            return await ask(exchange, abilities.dialect.name == "llama.cpp")

        try:
            return await self._transport.run("", attempt)
        except Refusal as refusal:
            raise RequestError(str(refusal)) from None

    async def _abilities(self, exchange: Exchange) -> Abilities:
        name, trial = self._transport.address.name, self._renderer.trial
        found = await exchange.once(lambda shared: probe(shared, name, trial), "abilities")
        if found.note:
            self._notes[f"{exchange.url}: {found.note}"] = None
        if self._salt is not None and not found.dialect.salts:
            self._notes[no_salts(exchange.url, found.dialect.name)] = None
        return found

    async def _check_continues(self, exchange: Exchange) -> None:
        try:
            abilities = await self._abilities(exchange)
        except Refusal as refusal:
            raise ConfigError(f"{self._transport.address}: {refusal}") from None
        if not abilities.continues:
            raise ConfigError(cannot_continue(str(self._transport.address)))

    async def _check_assesses(self, exchange: Exchange) -> None:
        abilities = await self._abilities(exchange)
        if not (abilities.dialect.assesses and abilities.takes_ids and self._tokenizer):
            address = str(self._transport.address)
            raise ConfigError(cannot_assess(address, abilities.dialect.name))

    async def _check_logprobs(self, exchange: Exchange) -> None:
        abilities = await self._abilities(exchange)
        if not abilities.dialect.tells_logprobs:
            address = str(self._transport.address)
            raise ConfigError(tells_no_logprobs(address, abilities.dialect.name))

    def _check_route(self, abilities: Abilities, request: Generate) -> None:
        """Refuse steps where the server can only write whole answers."""
        if abilities.continues:
            return
        if request.context.answer or request.boundary.stops or request.boundary.tokens:
            raise RequestError(cannot_continue(str(self._transport.address)))

    def _check_thoughts(self, request: Generate) -> None:
        """Refuse steps where the server takes the thoughts out of them."""
        if request.context.answer or request.boundary.stops or request.boundary.tokens:
            raise RequestError(separates_thoughts(str(self._transport.address)))

    async def _asked(
        self, exchange: Exchange, abilities: Abilities, ask: Ask
    ) -> tuple[Answered, Usage]:
        started = time.perf_counter()
        dialect = abilities.dialect
        url, body = dialect.request(exchange.url, self._transport.address.name, ask)
        answered = dialect.read(ask, await exchange.post(url, body))
        return answered, answered.usage(time.perf_counter() - started)

    async def _streamed(
        self, exchange: Exchange, abilities: Abilities, ask: Ask, watch: Watch | None
    ) -> tuple[Answered, Usage]:
        """Like `_asked`, as a stream whose parts `watch` is told of."""
        started = time.perf_counter()
        dialect = abilities.dialect
        stream = dialect.stream(ask, self._renderer.tokenize)

        def take(event: object) -> None:
            part = stream.add(event)
            if watch is not None:
                watch(part)

        name = self._transport.address.name
        url, body = dialect.request(exchange.url, name, ask, stream=True)
        await exchange.receive(url, body, take)
        answered = dialect.read(ask, stream.reply())
        return answered, answered.usage(time.perf_counter() - started)

    def _too_long(self, why: str) -> PromptTooLong:
        return PromptTooLong(too_long(str(self._transport.address), why))


async def _or_failed(
    serve: Callable[[Request], Awaitable[Reply]], request: Request
) -> Reply | Failed:
    """A request that cannot be served fails alone."""
    try:
        return await serve(request)
    except RsdError as error:
        return Failed(error)
