"""A GGUF file on llama.cpp's own engine: the `LanguageModel`, `Streamer` and `Chooser` seams."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rsdecode.backends.llama_cpp.assembly import Step
from rsdecode.backends.llama_cpp.gguf_file import GgufFile
from rsdecode.backends.llama_cpp.pieces import Pieces
from rsdecode.backends.llama_cpp.places import Places
from rsdecode.backends.llama_cpp.server import LlamaServer, require_binding
from rsdecode.backends.llama_cpp.settings import LlamaCppOptions, plan
from rsdecode.backends.llama_cpp.words import Ids, Tokenize, Words
from rsdecode.backends.openai_http import Address, HttpSettings, Transport
from rsdecode.backends.openai_http.address import root_of
from rsdecode.backends.openai_http.asks import Answered, Ask
from rsdecode.backends.openai_http.dialects import LLAMA_CPP
from rsdecode.backends.openai_http.faults import Fault, Refusal
from rsdecode.backends.openai_http.reading import entry, is_list, token_ids
from rsdecode.backends.openai_http.showing import Preview, Shown, Watch
from rsdecode.backends.openai_http.streams import LlamaCppStream
from rsdecode.backends.openai_http.transport import Exchange
from rsdecode.backends.transformers.slots import Slot
from rsdecode.backends.vllm_server import LogWatcher, Watcher, watch_language_model
from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import PromptTooLong, RequestError, RsdError
from rsdecode.core.protocols import Choose, Chosen, LanguageModel, Show
from rsdecode.core.requests import Failed, Generate, Generated, Sampling
from rsdecode.core.segment import Boundary
from rsdecode.core.types import FinishReason, Message, Segment, Tokens

Request = TypeVar("Request")
Reply = TypeVar("Reply")
PATIENCE = HttpSettings(
    timeout_s=86_400, deadline_s=86_400, attempts=4, backoff_s=0.05, rest_s=0.05
)
"""The process is watched, so a reply that takes long is a long reply. It closes connections that
were idle for some seconds, and what was just being sent through one must be sent again."""
BIAS = 100.0
"""Puts chosen tokens above all others, whatever their logits are, and keeps their differences."""


def load_llama_cpp(
    path: Path, options: LlamaCppOptions = LlamaCppOptions(), watcher: Watcher | None = None
) -> LanguageModel:
    """Start llama.cpp on a GGUF file, and wait until the model is loaded.

    Args:
        path: the file; of a split model the first one.
        options: slots, context, threads and the like.
        watcher: is told when the process ends and is started again.

    Raises:
        ConfigError: llama.cpp is not installed.
        ModelLoadError: the file cannot be read, or llama.cpp does not take it.
        OutOfMemory: there is no memory for it.
    """
    require_binding()
    file = GgufFile(path)
    server = LlamaServer(
        plan(file, options),
        watcher or LogWatcher(),
        logs=options.logs,
        ready_timeout_s=options.ready_timeout_s,
    )
    model = LlamaCppModel(file, server, options)  # before the wait: what is refused is so at once
    server.wait()
    return watch_language_model(model, server, server.close)


class LlamaCppModel:
    """Serves requests on a llama.cpp process, each session in a slot of its own.

    Conversations are rendered here and token ids exchanged, so that nothing is tokenised twice. A
    slot keeps what it has read: a next step costs its new tokens alone, and a rejected one is
    rewound by the next request of the session.

    Args:
        file: the model's.
        server: its process.
        options: the plain prompt, the template's arguments and the context are taken from here.
    """

    def __init__(self, file: GgufFile, server: LlamaServer, options: LlamaCppOptions) -> None:
        self._file = file
        self._server = server
        self._pieces = Pieces(file)
        self._words = Words(file, self._pieces, options.plain_prompt, options.template)
        self._places = Places(server.settings.slots)
        limits = (options.max_context, file.context, server.settings.context)
        self._context = min(limit for limit in limits if limit is not None)
        self._cleared = 0
        self._read: dict[int, int] = {}
        address = Address((server.url,), server.name)
        most = max(server.settings.slots * 2, 8)
        self._transport = Transport(address, replace(PATIENCE, concurrency=most), server.key)

    @property
    def shape(self) -> ModelShape:
        """Sizes, for FLOPs."""
        return self._file.shape

    @property
    def vocabulary(self) -> str:
        """Fingerprint of the vocabulary; files that share it exchange token ids."""
        return self._words.vocabulary

    @property
    def load(self) -> int:
        """Requests that are being served or wait."""
        return self._places.busy

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results must know; complete once requests were served."""
        return tuple(f"{self._file.path}: {note}" for note in self._words.notes)

    async def generate(self, requests: Sequence[Generate]) -> list[Generated | Failed]:
        """Serve each request; replies in the order of the requests."""
        return await _each(self._write, requests)

    async def stream(self, requests: Sequence[Generate], show: Show) -> list[Generated | Failed]:
        """As `generate`; new text goes to `show` as each token comes, and is never taken back."""

        async def write(numbered: tuple[int, Generate]) -> Generated:
            place, request = numbered
            return await self._write(request, Shown(partial(show, place)))

        return await _each(write, list(enumerate(requests)))

    async def choose(self, requests: Sequence[Choose]) -> list[Chosen | Failed]:
        """Serve each request; replies in the order of the requests."""
        return await _each(self._choose, requests)

    def describe(self) -> dict[str, str]:
        """What `rsd doctor` prints."""
        settings, shape = self._server.settings, self._file.shape
        eos = self._file.metadata.get("tokenizer.ggml.eos_token_id")
        cache = settings.slots * settings.context * self._file.cache_bytes
        return {
            "model": f"{self._file.architecture}, {shape.parameters:,} parameters, on llama.cpp",
            "tokenizer": f"{len(self._pieces)} tokens",
            "vocabulary": self.vocabulary,
            "prompt": "chat template" if self._words.has_template else "plain prompt",
            "end of sequence": "llama.cpp's own"
            if not isinstance(eos, int)
            else self._pieces.spelling(eos),
            "context": f"{self._context} tokens in each of {settings.slots} slots",
            "threads": str(settings.threads),
            "memory": f"{self._file.file_bytes / 2**20:.0f} MiB of weights, "
            f"{cache / 2**20:.0f} MiB of keys and values",
        }

    def end(self, session: str) -> None:
        """A session is over: its slot is free."""
        self._places.end(session)

    def clear(self) -> None:
        """What follows does not use what was read before."""
        self._places.clear()
        self._cleared += 1

    def close(self) -> None:
        """Close the connections; requests under way are answered with `Failed`."""
        self._transport.close()

    async def _write(self, request: Generate, shown: Shown | None = None) -> Generated:
        """A step: one request to llama.cpp, or several where it stops too early for us."""
        prompt = await self._rendered(
            request.session, lambda tokens: self._words.context_ids(tokens, request.context)
        )
        if len(prompt) >= self._context:
            return await self._full(request)
        step = Step(request, prompt, self._pieces, self.vocabulary, self._context)
        async with self._places.take(request.session, prompt) as slot:
            generated: Generated | None = None
            while generated is None:
                generated = await self._continue(request, step, slot, shown)
            slot.ids = list(step.ids)
        if shown is not None:
            shown.all(generated.segment.text)
        return generated

    async def _continue(
        self, request: Generate, step: Step, slot: Slot, shown: Shown | None
    ) -> Generated | None:
        boundary, sampling = request.boundary, request.sampling
        ask = Ask(step.ids, step.room, boundary.stops, sampling, step.seed)
        watch: Watch | None = None
        if shown is not None:
            watch = shown.watch(Preview(step.text, step.detokenizer()))

        async def attempt(exchange: Exchange) -> tuple[Answered, float]:
            started = time.perf_counter()
            answered = await self._asked(exchange, ask, slot, boundary, watch)
            return answered, time.perf_counter() - started

        answered, seconds = await self._run(request.session, attempt)
        ids = answered.ids
        if ids is None:
            ids = await self._rendered(
                request.session, lambda tokens: self._words.text_ids(tokens, answered.text)
            )
        if answered.ended == "eos" and answered.ids:
            ids = ids[:-1]
        return step.take(ids, answered.ended, answered.decoded_tokens, answered.usage(seconds))

    async def _asked(
        self, exchange: Exchange, ask: Ask, slot: Slot, boundary: Boundary, watch: Watch | None
    ) -> Answered:
        streams = LLAMA_CPP.streams(shown=watch is not None, chunks=boundary.tokens > 0)
        url, body = LLAMA_CPP.request(exchange.url, "", ask, stream=streams)
        body |= self._in_slot(slot) | _law(ask.sampling)
        if not streams:
            return LLAMA_CPP.read(ask, await exchange.post(url, body))
        stream = PieceStream(self._pieces)

        def take(event: object) -> None:
            part = stream.add(event)
            if watch is not None:
                watch(part)

        await exchange.receive(url, body, take)
        return LLAMA_CPP.read(ask, stream.reply())

    def _in_slot(self, slot: Slot) -> dict[str, Any]:
        """Where a request is served; the first one after `clear` reads its prompt anew."""
        keeps = self._read.get(slot.index, 0) == self._cleared
        self._read[slot.index] = self._cleared
        return {"id_slot": slot.index, "cache_prompt": keeps}

    async def _choose(self, request: Choose) -> Chosen:
        messages = request.messages
        prompt = await self._rendered(
            request.session, lambda tokens: self._words.bare_ids(tokens, messages)
        )
        self._check_length(prompt)
        columns = [await self._choice(request, text) for text in request.choices]

        async def attempt(exchange: Exchange) -> Chosen:
            started = time.perf_counter()
            ask = Ask(prompt, max_tokens=1, choices=len(columns))
            url, body = LLAMA_CPP.request(exchange.url, "", ask)
            body |= self._in_slot(slot) | {
                "temperature": 1.0,
                "samplers": ["temperature"],
                "post_sampling_probs": True,
                "logit_bias": [[column, BIAS] for column in columns],
            }
            reply = await exchange.post(url, body)
            usage = LLAMA_CPP.read(replace(ask, choices=0), reply).usage(
                time.perf_counter() - started
            )
            return Chosen(_probabilities(reply, columns), usage)

        async with self._places.take(request.session, prompt) as slot:
            chosen = await self._run(request.session, attempt)
            slot.ids = list(prompt)
        return chosen

    async def _choice(self, request: Choose, text: str) -> int:
        ids = await self._rendered(
            request.session, lambda tokens: self._words.text_ids(tokens, text)
        )
        if len(ids) != 1:
            raise RequestError(
                f"{text!r} is {len(ids)} tokens for {self._file.path}, but a choice must be one: "
                "use another model as the judge"
            )
        return ids[0]

    async def _rendered(self, session: str, make: Callable[[Tokenize], Awaitable[Ids]]) -> Ids:
        """Token ids that `make` makes with llama.cpp's tokenizer."""

        async def attempt(exchange: Exchange) -> Ids:
            async def tokenize(text: str, *, control: bool, start: bool) -> Ids:
                body = {"content": text, "parse_special": control, "add_special": start}
                reply = await exchange.post(f"{root_of(exchange.url)}/tokenize", body)
                ids = token_ids(entry(reply, "tokens"))
                if ids is None:
                    raise Fault(f"the reply has no token ids: {str(reply)[:200]}")
                return ids

            return await make(tokenize)

        return await self._run(session, attempt)

    async def _run(self, session: str, attempt: Callable[[Exchange], Awaitable[Reply]]) -> Reply:
        try:
            return await self._transport.run(session, attempt)
        except Refusal as refusal:
            raise RequestError(f"{self._file.path}: {refusal}") from None

    async def _full(self, request: Generate) -> Generated:
        """What a context without room for a token is answered; a question alone is refused."""
        messages: tuple[Message, ...] = request.context.messages
        self._check_length(
            await self._rendered(
                request.session, lambda tokens: self._words.prompt_ids(tokens, messages)
            )
        )
        return Generated(Segment("", Tokens(self.vocabulary, ())), FinishReason.LENGTH)

    def _check_length(self, prompt: Ids) -> None:
        if len(prompt) >= self._context:
            raise PromptTooLong(
                f"the question is {len(prompt)} tokens long for {self._file.path}, whose context "
                f"is {self._context}: shorten it, or set a longer one (engine.max_context)"
            )


class PieceStream(LlamaCppStream):
    """Events of llama.cpp's own route, with the tokens of characters that it leaves out.

    Args:
        pieces: of the vocabulary.
    """

    def __init__(self, pieces: Pieces) -> None:
        super().__init__()
        self._pieces = pieces

    def _whole(self, text: str, told: Ids, missing: int) -> Ids:
        if len(told) != 1:
            return ()
        return self._pieces.completed(text, told[0], missing) or ()


def _law(sampling: Sampling) -> dict[str, Any]:
    """Temperature before top-k and top-p, as everywhere else here; llama.cpp puts it last."""
    if not sampling.temperature:
        return {"samplers": ["top_k"], "top_k": 1}
    return {"samplers": ["temperature", "top_k", "top_p"]}


def _probabilities(reply: object, columns: Sequence[int]) -> tuple[float, ...]:
    listed = entry(reply, "completion_probabilities", 0, "top_probs")
    if not is_list(listed):
        raise Fault(f"the reply has no list of candidates: {str(reply)[:200]}")
    found = {int(entry(item, "id")): float(entry(item, "prob")) for item in listed}
    chances = [found.get(column, 0.0) for column in columns]
    total = sum(chances)
    if not total > 0.0:
        raise Fault(f"none of the tokens {list(columns)} is among the candidates")
    return tuple(chance / total for chance in chances)


async def _each(
    serve: Callable[[Request], Awaitable[Reply]], requests: Sequence[Request]
) -> list[Reply | Failed]:
    """Serve all at once; one that cannot be served fails alone."""

    async def one(request: Request) -> Reply | Failed:
        try:
            return await serve(request)
        except RsdError as error:
            return Failed(error)
        except Exception as error:  # noqa: BLE001  templates raise errors of their own
            said = f"the request cannot be rendered: {type(error).__name__}: {error}"
            return Failed(RequestError(said))

    return list(await asyncio.gather(*map(one, requests)))
