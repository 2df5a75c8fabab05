"""A model behind an OpenAI-compatible server, as a `LanguageModel` and a `Chooser`."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from rsdecode.backends.openai_http.asks import Answered, Ask, Prompt
from rsdecode.backends.openai_http.faults import Refusal
from rsdecode.backends.openai_http.probe import Abilities, probe
from rsdecode.backends.openai_http.rendering import Renderer
from rsdecode.backends.openai_http.transport import Exchange, Transport
from rsdecode.backends.openai_http.writing import StepAssembly
from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import PromptTooLong, RequestError, RsdError
from rsdecode.core.protocols import Choose, Chosen
from rsdecode.core.requests import Failed, Generate, Generated
from rsdecode.core.types import Context, Segment, Usage
from rsdecode.text.pretrained import PLAIN_PROMPT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Request = TypeVar("Request")
Reply = TypeVar("Reply")


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
    """

    def __init__(
        self,
        transport: Transport,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        plain_prompt: str = PLAIN_PROMPT,
        shape: ModelShape | None = None,
    ) -> None:
        self._transport = transport
        self._tokenizer = tokenizer
        self._renderer = Renderer(tokenizer, plain_prompt)
        self._shape = shape

    @property
    def shape(self) -> ModelShape | None:
        """Sizes, for FLOPs; None where they are not known."""
        return self._shape

    async def generate(self, requests: Sequence[Generate]) -> list[Generated | Failed]:
        """Serve each request; replies in the order of the requests."""
        return list(await asyncio.gather(*(_or_failed(self._write, r) for r in requests)))

    async def choose(self, requests: Sequence[Choose]) -> list[Chosen | Failed]:
        """Serve each request; replies in the order of the requests."""
        return list(await asyncio.gather(*(_or_failed(self._choose, r) for r in requests)))

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

    async def _write(self, request: Generate) -> Generated:
        """A step: one request to the server, or several where it stops too early for us."""
        writing = StepAssembly(request, self._tokenizer, self._renderer.vocabulary)
        while True:
            try:
                piece = await self._transport.run(
                    request.session, lambda exchange: self._piece(exchange, writing)
                )
            except Refusal as refusal:
                if not writing.context.answer:
                    raise self._too_long(str(refusal)) from None
                return writing.full()
            if piece is None:
                return writing.full()
            if generated := writing.take(*piece):
                return generated

    async def _piece(self, exchange: Exchange, writing: StepAssembly) -> _Piece | None:
        """One try of one request; None if the context is full."""
        abilities = await self._abilities(exchange)
        request, context = writing.request, writing.context
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
        ask = Ask(prompt, room, request.boundary.stops, request.sampling, writing.seed)
        answered, usage = await self._asked(exchange, abilities, ask)
        if answered.ended == "unknown":
            read = context.followed_by(Segment(answered.text))
            following, cost = await self._follow(exchange, abilities, ask, read)
            answered, usage = answered.told(following, ask.stops), usage + cost
        return _Piece(answered, usage, prompt if isinstance(prompt, tuple) else None)

    async def _follow(
        self, exchange: Exchange, abilities: Abilities, ask: Ask, read: Context
    ) -> tuple[Answered, Usage]:
        """The token after the text, to learn why a server stopped that does not say.

        Greedy, that is the token that it stopped at; sampled, it is drawn again.
        """
        prompt = await self._renderer.render(exchange, abilities, read)
        once = Ask(prompt, max_tokens=1, sampling=ask.sampling, seed=ask.seed)
        return await self._asked(exchange, abilities, once)

    async def _choose(self, request: Choose) -> Chosen:
        async def attempt(exchange: Exchange) -> tuple[Answered, Usage]:
            abilities = await self._abilities(exchange)
            prompt: Prompt = await self._renderer.render_bare(exchange, abilities, request.messages)
            ask = Ask(prompt, 1, choices=abilities.dialect.most_choices)
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

    async def _abilities(self, exchange: Exchange) -> Abilities:
        name, trial = self._transport.address.name, self._renderer.trial
        return await exchange.once(lambda shared: probe(shared, name, trial), "abilities")

    async def _asked(
        self, exchange: Exchange, abilities: Abilities, ask: Ask
    ) -> tuple[Answered, Usage]:
        started = time.perf_counter()
        dialect = abilities.dialect
        url, body = dialect.request(exchange.url, self._transport.address.name, ask)
        answered = dialect.read(ask, await exchange.post(url, body))
        return answered, answered.usage(time.perf_counter() - started)

    def _too_long(self, why: str) -> PromptTooLong:
        return PromptTooLong(
            f"{self._transport.address}: {why}: shorten the question, or serve the model with a "
            "longer context"
        )


async def _or_failed(
    serve: Callable[[Request], Awaitable[Reply]], request: Request
) -> Reply | Failed:
    """A request that cannot be served fails alone."""
    try:
        return await serve(request)
    except RsdError as error:
        return Failed(error)
