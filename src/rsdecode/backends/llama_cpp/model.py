"""A GGUF file on llama.cpp's own engine.

The seams are `LanguageModel`, `Streamer`, `Chooser`, `Assessor`, `TellsLogprobs`, `TellsTokens`
and `Tokenizes`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rsdecode.backends.llama_cpp.assembly import Step
from rsdecode.backends.llama_cpp.choosing import choose
from rsdecode.backends.llama_cpp.connection import Connection
from rsdecode.backends.llama_cpp.gguf_file import GgufFile
from rsdecode.backends.llama_cpp.replies import PieceStream, asked_logprobs, written_logprobs
from rsdecode.backends.llama_cpp.server import LlamaServer, require_binding
from rsdecode.backends.llama_cpp.settings import LlamaCppOptions, plan
from rsdecode.backends.llama_cpp.telling import Written, tell
from rsdecode.backends.llama_cpp.walking import assess, walk
from rsdecode.backends.llama_cpp.words import Ids
from rsdecode.backends.openai_http.asks import Ask
from rsdecode.backends.openai_http.assessing import is_plain
from rsdecode.backends.openai_http.dialects import LLAMA_CPP
from rsdecode.backends.openai_http.showing import Preview, Shown, Watch
from rsdecode.backends.openai_http.transport import Exchange
from rsdecode.backends.transformers.slots import Slot
from rsdecode.backends.vllm_server import LogWatcher, Watcher, watch_language_model
from rsdecode.core.cost import ModelShape
from rsdecode.core.counted import counted
from rsdecode.core.errors import RequestError, RsdError
from rsdecode.core.protocols import Choose, Chosen, LanguageModel, Show
from rsdecode.core.requests import (
    Assess,
    Assessed,
    Begin,
    Begun,
    Failed,
    Generate,
    Generated,
    Sampling,
)
from rsdecode.core.segment import Boundary
from rsdecode.core.types import FinishReason, Message, Segment, Tokens, ToldToken, Usage

Request = TypeVar("Request")
Reply = TypeVar("Reply")


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
    file, server = server_of(path, options, watcher)
    model = LlamaCppModel(file, server, options)  # before the wait: what is refused is so at once
    server.wait()
    return watch_language_model(model, server, server.close)


def server_of(
    path: Path, options: LlamaCppOptions, watcher: Watcher | None = None
) -> tuple[GgufFile, LlamaServer]:
    """A GGUF file and its process, which has yet to be waited for (see `load_llama_cpp`)."""
    require_binding()
    file = GgufFile(path)
    server = LlamaServer(
        plan(file, options),
        watcher or LogWatcher(),
        logs=options.logs,
        ready_timeout_s=options.ready_timeout_s,
    )
    return file, server


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
        self._connection = Connection(file, server, options)
        self._words, self._pieces = self._connection.words, self._connection.pieces
        self._tells_logprobs = False

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
        return self._connection.places.busy

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results must know; complete once requests were served."""
        return tuple(f"{self._file.path}: {note}" for note in self._words.notes)

    async def generate(self, requests: Sequence[Generate]) -> list[Generated | Failed]:
        """Serve each request; replies in the order of the requests."""
        return await _each(self._write, requests)

    async def begin(self, requests: Sequence[Begin]) -> list[Begun | Failed]:
        """Serve each request; replies in the order of the requests."""
        return [self._words.begun(request.messages, request.marks) for request in requests]

    async def stream(self, requests: Sequence[Generate], show: Show) -> list[Generated | Failed]:
        """As `generate`; new text goes to `show` as each token comes, and is never taken back."""

        async def write(numbered: tuple[int, Generate]) -> Generated:
            place, request = numbered
            return await self._write(request, Shown(partial(show, place)))

        return await _each(write, list(enumerate(requests)))

    async def choose(self, requests: Sequence[Choose]) -> list[Chosen | Failed]:
        """Serve each request; replies in the order of the requests."""
        return await _each(partial(choose, self._connection), requests)

    async def assess(self, requests: Sequence[Assess]) -> list[Assessed | Failed]:
        """Serve each request; replies in the order of the requests."""
        return await _each(partial(assess, self._connection), requests)

    def tell_logprobs(self) -> None:
        """From now on, segments carry log-probabilities."""
        self._tells_logprobs = True

    def check_tokens(self) -> None:
        """Nothing: it tells how likely its tokens were."""

    async def tokenize(self, text: str, *, special: bool = True) -> Ids:
        """The ids of a text, in which spelled control tokens are meant."""
        return await self._connection.rendered(
            "", lambda tokens: tokens(text, control=True, start=special)
        )

    async def tokenize_chat(self, messages: tuple[Message, ...]) -> Ids:
        """The ids of a conversation, up to where its reply begins."""
        return await self._connection.rendered(
            "", lambda tokens: self._words.prompt_ids(tokens, messages)
        )

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text of ids, control tokens spelled.

        Raises:
            RequestError: one is not in the vocabulary.
        """
        for token in ids:
            if not 0 <= token < len(self._pieces):
                most = len(self._pieces) - 1
                raise RequestError(f"{self._file.path}: {token} is no token: give 0 to {most}")
        return b"".join(map(self._pieces.spelled, ids)).decode("utf-8", "replace")

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
            "context": f"{self._connection.context} tokens in each of "
            f"{counted(settings.slots, 'slot')}",
            "threads": str(settings.threads),
            "memory": f"{self._file.file_bytes / 2**20:.0f} MiB of weights, "
            f"{cache / 2**20:.0f} MiB of keys and values",
        }

    def end(self, session: str) -> None:
        """A session is over: its slot is free."""
        self._connection.places.end(session)

    def clear(self) -> None:
        """What follows does not use what was read before."""
        self._connection.clear()

    def close(self) -> None:
        """Close the connections; requests under way are answered with `Failed`."""
        self._connection.close()

    async def _write(self, request: Generate, shown: Shown | None = None) -> Generated:
        """A step: one request to llama.cpp, or several where it stops too early for us."""
        connection = self._connection
        if request.told is not None and self._tells_logprobs and not is_plain(request.sampling):
            raise RequestError(
                f"{self._file.path}: llama.cpp tells the log-probabilities of one law at a time: "
                "ask for none, or set a temperature of 0 or 1, or use another gate than the "
                "draft's confidence"
            )
        prompt = await connection.rendered(
            request.session, lambda tokens: self._words.context_ids(tokens, request.context)
        )
        if len(prompt) >= connection.context:
            return await self._full(request)
        step = Step(request, prompt, self._pieces, self.vocabulary, connection.context)
        async with connection.places.take(request.session, prompt) as slot:
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
        ask = Ask(step.ids, step.room, boundary.stops, sampling, step.seed, told=request.told)
        watch: Watch | None = None
        if shown is not None:
            watch = shown.watch(Preview(step.text, step.detokenizer()))

        async def attempt(exchange: Exchange) -> tuple[object, float]:
            started = time.perf_counter()
            reply = await self._asked(exchange, ask, slot, boundary, watch)
            return reply, time.perf_counter() - started

        reply, seconds = await self._connection.run(request.session, attempt)
        answered = LLAMA_CPP.read(ask, reply)
        ids, usage = answered.ids, answered.usage(seconds)
        if ids is None:
            ids = await self._connection.rendered(
                request.session, lambda tokens: self._words.text_ids(tokens, answered.text)
            )
        logprobs: tuple[float, ...] | None = None
        told: list[ToldToken] | None = None
        if request.told is not None:
            written = Written(slot, step.ids, ids, reply)
            told, cost = await tell(self._connection, request.session, written, request.told)
            usage += cost
        if self._tells_logprobs:
            logprobs = written_logprobs(reply, ids)
            if logprobs is None:
                logprobs, cost = await self._measured(request, slot, step.ids, ids)
                usage += cost
        if answered.ended == "eos" and answered.ids:
            ids = ids[:-1]
        return step.take(ids, answered, usage, logprobs, told)

    async def _asked(
        self, exchange: Exchange, ask: Ask, slot: Slot, boundary: Boundary, watch: Watch | None
    ) -> object:
        """The reply, whole."""
        streams = LLAMA_CPP.streams(shown=watch is not None, chunks=boundary.tokens > 0)
        url, body = LLAMA_CPP.request(exchange.url, "", ask, stream=streams)
        body |= self._connection.in_slot(slot) | _law(ask.sampling)
        if self._tells_logprobs:
            body |= asked_logprobs(ask)
        if not streams:
            return await exchange.post(url, body)
        stream = PieceStream(self._pieces)

        def take(event: object) -> None:
            part = stream.add(event)
            if watch is not None:
                watch(part)

        await exchange.receive(url, body, take)
        LLAMA_CPP.read(ask, stream.reply())  # one that broke off is a fault, and asked for again
        return stream.reply()

    async def _measured(
        self, request: Generate, slot: Slot, before: Sequence[int], ids: Sequence[int]
    ) -> tuple[tuple[float, ...], Usage]:
        """Log-probabilities that were not told with the tokens: the model reads what it wrote.

        Raises:
            RequestError: they are wanted under another law than the model's own.
        """
        if not is_plain(request.sampling):
            raise RequestError(
                f"{self._file.path}: llama.cpp does not tell the log-probabilities of characters "
                "that take several tokens at another temperature than 0 or 1: use one of them for "
                "the draft, or run the file in the engine (--dequantise)"
            )
        told, usage = await walk(self._connection, request.session, slot, before, ids)
        return tuple(logprob for logprob, _ in told), usage

    async def _full(self, request: Generate) -> Generated:
        """What a context without room for a token is answered; a question alone is refused."""
        messages: tuple[Message, ...] = request.context.messages
        self._connection.check_length(
            await self._connection.rendered(
                request.session, lambda tokens: self._words.prompt_ids(tokens, messages)
            )
        )
        return Generated(Segment("", Tokens(self.vocabulary, ())), FinishReason.LENGTH)


def _law(sampling: Sampling) -> dict[str, Any]:
    """Temperature before top-k and top-p, as everywhere else here; llama.cpp puts it last."""
    if not sampling.temperature:
        return {"samplers": ["top_k"], "top_k": 1}
    return {"samplers": ["temperature", "top_k", "top_p"]}


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
