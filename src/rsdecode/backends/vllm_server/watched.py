"""Models behind a server of ours: requests that it took down with it are asked again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from rsdecode.backends.openai_http.showing import Shown
from rsdecode.backends.vllm_server.server import ServerProcess
from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import ConfigError, RequestError
from rsdecode.core.protocols import (
    LOGPROBS_HIDDEN,
    NOT_ASSESSED,
    Assessor,
    Caching,
    Choose,
    Chooser,
    Chosen,
    Closeable,
    LanguageModel,
    MayNotAssess,
    Measure,
    Measured,
    Measurer,
    Noted,
    RewardModel,
    Show,
    Sized,
    Streamer,
    TellsLogprobs,
    TellsTokens,
    Tokenizes,
)
from rsdecode.core.requests import (
    Assess,
    Assessed,
    Begin,
    Begun,
    Failed,
    Generate,
    Generated,
    Score,
    Scored,
)
from rsdecode.core.types import Message
from rsdecode.text.codec import Codec, HasCodec

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class _Watched:
    """What watched models have in common.

    Args:
        inner: speaks to the server.
        server: its server.
        release: stops the servers of the run.
    """

    def __init__(self, inner: Any, server: ServerProcess, release: Callable[[], None]) -> None:
        self._inner = inner
        self._server = server
        self._release = release

    @property
    def shape(self) -> ModelShape | None:
        return self._inner.shape if isinstance(self._inner, Sized) else None

    def describe(self) -> dict[str, str]:
        """What `rsd doctor` prints."""
        describe: Any = getattr(self._inner, "describe", dict[str, str])
        return describe()

    def end(self, session: str) -> None:
        """No request of the session will follow."""
        if isinstance(self._inner, Caching):
            self._inner.end(session)

    def clear(self) -> None:
        """What follows does not use what was read before."""
        if isinstance(self._inner, Caching):
            self._inner.clear()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results must know."""
        return self._inner.notes if isinstance(self._inner, Noted) else ()

    def close(self) -> None:
        """Close the connections and stop the servers of the run; they stop together."""
        if isinstance(self._inner, Closeable):
            self._inner.close()
        self._release()

    async def _ask(
        self,
        call: Callable[[Sequence[Request]], Awaitable[list[Reply | Failed]]],
        requests: Sequence[Request],
    ) -> list[Reply | Failed]:
        """Serve the requests; those that fail with a server that comes back are served by it."""
        epoch = self._server.epoch
        replies = await call(requests)
        failed = [i for i, reply in enumerate(replies) if isinstance(reply, Failed)]
        if not failed:
            return replies
        if await self._server.came_back(epoch):
            again = await call([requests[i] for i in failed])
        elif self._server.error is not None:
            again = [Failed(RequestError(str(self._server.error)))] * len(failed)
        else:
            return replies
        for i, reply in zip(failed, again, strict=True):
            replies[i] = reply
        return replies


class _LanguageModel(_Watched):
    async def generate(self, requests: Sequence[Generate]) -> list[Generated | Failed]:
        """Serve each request; replies in the order of the requests."""
        return await self._ask(self._inner.generate, requests)


class _Chooser(_LanguageModel):
    async def assess(self, requests: Sequence[Assess]) -> list[Assessed | Failed]:
        """Serve each request; replies in the order of the requests."""
        return await self._ask(self._inner.assess, requests)

    async def begin(self, requests: Sequence[Begin]) -> list[Begun | Failed]:
        """Serve each request; replies in the order of the requests."""
        return await self._ask(self._inner.begin, requests)

    def tell_logprobs(self) -> None:
        """From now on, segments carry log-probabilities."""
        self.check_logprobs()
        self._inner.tell_logprobs()

    @property
    def codec(self) -> Codec | None:
        """The model's tokenizer, where it is known here."""
        return self._inner.codec if isinstance(self._inner, HasCodec) else None

    async def measure(self, requests: Sequence[Measure]) -> list[Measured | Failed]:
        """Serve each request; replies in the order of the requests."""
        if not isinstance(self._inner, Measurer):
            return [Failed(RequestError(NOT_ASSESSED.format(role="model")))] * len(requests)
        return await self._ask(self._inner.measure, requests)

    async def tokenize(self, text: str, *, special: bool = True) -> tuple[int, ...]:
        """The ids of a text."""
        return await self._tokenizes.tokenize(text, special=special)

    async def tokenize_chat(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        """The ids of a conversation."""
        return await self._tokenizes.tokenize_chat(messages)

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return await self._tokenizes.detokenize(ids)

    @property
    def _tokenizes(self) -> Tokenizes:
        if not isinstance(self._inner, Tokenizes):
            raise RequestError("this model does not tell token ids")
        return self._inner

    def check_assesses(self) -> None:
        """See that the model tells how likely a given text is.

        Raises:
            ConfigError: it does not.
        """
        if not isinstance(self._inner, Assessor):
            raise ConfigError(NOT_ASSESSED.format(role="model"))
        if isinstance(self._inner, MayNotAssess):
            self._inner.check_assesses()

    def check_logprobs(self) -> None:
        """See that the model tells how likely what it writes is.

        Raises:
            ConfigError: it does not.
        """
        if not isinstance(self._inner, TellsLogprobs):
            raise ConfigError(LOGPROBS_HIDDEN.format(role="model"))
        if isinstance(self._inner, MayNotAssess):
            self._inner.check_logprobs()

    def check_tokens(self) -> None:
        """See that the model tells how likely its tokens were.

        Raises:
            ConfigError: it does not.
        """
        if not isinstance(self._inner, TellsTokens):
            raise ConfigError("it does not tell how likely its tokens are")
        self._inner.check_tokens()

    async def choose(self, requests: Sequence[Choose]) -> list[Chosen | Failed]:
        """Serve each request; replies in the order of the requests."""
        return await self._ask(self._inner.choose, requests)


class _Streamer(_Chooser):
    async def stream(self, requests: Sequence[Generate], show: Show) -> list[Generated | Failed]:
        """Serve each request, and show its text as it comes; asked again, what is not shown yet."""
        shown = [Shown(partial(show, place)) for place in range(len(requests))]

        async def ask(some: Sequence[tuple[int, Generate]]) -> list[Generated | Failed]:
            texts = [""] * len(some)

            def watch(place: int, new: str) -> None:
                texts[place] += new
                shown[some[place][0]].all(texts[place])

            return await self._inner.stream([request for _, request in some], watch)

        return await self._ask(ask, list(enumerate(requests)))


class _RewardModel(_Watched):
    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        """Score each request; replies in the order of the requests."""
        return await self._ask(self._inner.score, requests)


def watch_language_model(
    inner: LanguageModel, server: ServerProcess, release: Callable[[], None]
) -> LanguageModel:
    """The model `inner`, served by `server`; closing it calls `release`."""
    if not isinstance(inner, Chooser):
        return _LanguageModel(inner, server, release)
    kind = _Streamer if isinstance(inner, Streamer) else _Chooser
    return kind(inner, server, release)


def watch_reward_model(
    inner: RewardModel, server: ServerProcess, release: Callable[[], None]
) -> RewardModel:
    """The reward model `inner`, served by `server`; closing it calls `release`."""
    return _RewardModel(inner, server, release)
