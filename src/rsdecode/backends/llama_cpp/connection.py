"""What every request to a llama.cpp process needs: its tokenizer, a slot, and repeated tries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from rsdecode.backends.llama_cpp.gguf_file import GgufFile
from rsdecode.backends.llama_cpp.pieces import Pieces
from rsdecode.backends.llama_cpp.places import Places
from rsdecode.backends.llama_cpp.server import LlamaServer
from rsdecode.backends.llama_cpp.settings import LlamaCppOptions
from rsdecode.backends.llama_cpp.words import Ids, Tokenize, Words
from rsdecode.backends.openai_http import Address, HttpSettings, Transport
from rsdecode.backends.openai_http.address import root_of
from rsdecode.backends.openai_http.faults import Fault, Refusal
from rsdecode.backends.openai_http.reading import entry, token_ids
from rsdecode.backends.openai_http.transport import Exchange
from rsdecode.backends.transformers.slots import Slot
from rsdecode.core.errors import PromptTooLong, RequestError

Reply = TypeVar("Reply")
PATIENCE = HttpSettings(
    timeout_s=86_400, deadline_s=86_400, attempts=4, backoff_s=0.05, rest_s=0.05
)
"""The process is watched, so a reply that takes long is a long reply. It closes connections that
were idle for some seconds, and what was just being sent through one must be sent again."""


class Connection:
    """Speaks to the process of one GGUF file.

    Args:
        file: the model's.
        server: its process.
        options: the plain prompt, the template's arguments and the context are taken from here.

    Attributes:
        context: tokens of a sequence at most.
    """

    def __init__(self, file: GgufFile, server: LlamaServer, options: LlamaCppOptions) -> None:
        self.file = file
        self.pieces = Pieces(file)
        self.words = Words(file, self.pieces, options.plain_prompt, options.template)
        self.places = Places(server.settings.slots)
        limits = (options.max_context, file.context, server.settings.context)
        self.context = min(limit for limit in limits if limit is not None)
        self._cleared = 0
        self._read: dict[int, int] = {}
        address = Address((server.url,), server.name)
        most = max(server.settings.slots * 2, 8)
        self._transport = Transport(address, replace(PATIENCE, concurrency=most), server.key)

    def in_slot(self, slot: Slot) -> dict[str, Any]:
        """Where a request is served; the first one after `clear` reads its prompt anew."""
        keeps = self._read.get(slot.index, 0) == self._cleared
        self._read[slot.index] = self._cleared
        return {"id_slot": slot.index, "cache_prompt": keeps}

    def clear(self) -> None:
        """What follows does not use what was read before."""
        self.places.clear()
        self._cleared += 1

    def close(self) -> None:
        """Close the connections; requests under way are answered with `Failed`."""
        self._transport.close()

    async def rendered(self, session: str, make: Callable[[Tokenize], Awaitable[Ids]]) -> Ids:
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

        return await self.run(session, attempt)

    async def run(self, session: str, attempt: Callable[[Exchange], Awaitable[Reply]]) -> Reply:
        """The reply to a request, which is tried again after faults that may pass.

        Raises:
            RequestError: it was refused.
        """
        try:
            return await self._transport.run(session, attempt)
        except Refusal as refusal:
            raise RequestError(f"{self.file.path}: {refusal}") from None

    def check_length(self, prompt: Ids) -> None:
        """See that there is room for a reply.

        Raises:
            PromptTooLong: there is none.
        """
        if len(prompt) >= self.context:
            raise PromptTooLong(
                f"the question is {len(prompt)} tokens long for {self.file.path}, whose context "
                f"is {self.context}: shorten it, or set a longer one (engine.max_context)"
            )
