from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rsdecode.backends.vllm_server import watch_language_model, watch_reward_model
from rsdecode.core.errors import ModelLoadError, RequestError
from rsdecode.core.protocols import Chooser, Streamer
from rsdecode.core.requests import Failed, Generate, Generated, Score, Scored
from rsdecode.core.types import Context, FinishReason, Message, Role, Segment


class Down:
    """A server that comes back, or does not."""

    def __init__(self, returns: bool, error: ModelLoadError | None = None) -> None:
        self.epoch = 7
        self.error = error
        self.returns = returns
        self.asked: list[int] = []

    async def came_back(self, epoch: int) -> bool:
        self.asked.append(epoch)
        return self.returns


class Flaky:
    """Fails requests for even numbers of tokens, the first time that they come."""

    shape = None

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.closed = 0

    async def generate(self, requests: Sequence[Generate]) -> list[Generated | Failed]:
        return [self._reply(request.max_tokens) for request in requests]

    def _reply(self, number: int) -> Generated | Failed:
        self.seen.append(number)
        if number % 2 == 0 and self.seen.count(number) == 1:
            return Failed(RequestError("the connection was lost"))
        return Generated(Segment(str(number)), FinishReason.EOS)

    def close(self) -> None:
        self.closed += 1


class Judging(Flaky):
    async def choose(self, requests: Sequence[Any]) -> list[Any]:
        return list(requests)


class Streaming(Judging):
    """Shows two halves of its text; a crash comes between them."""

    async def stream(
        self, requests: Sequence[Generate], show: Callable[[int, str], None]
    ) -> list[Generated | Failed]:
        replies = await self.generate(requests)
        for place, (request, reply) in enumerate(zip(requests, replies, strict=True)):
            show(place, f"{request.max_tokens}, ")
            if isinstance(reply, Generated):
                show(place, "done")
        return replies


def requests(count: int) -> list[Generate]:
    context = Context((Message("user", "?"),))
    return [Generate(Role.DRAFT, context, number) for number in range(count)]


def watched(inner: Any, server: Any, released: list[int] | None = None) -> Any:
    return watch_language_model(inner, server, lambda: (released or []).append(1))


async def test_what_a_crash_took_is_asked_again() -> None:
    inner, server = Flaky(), Down(returns=True)
    replies = await watched(inner, server).generate(requests(5))
    assert [reply.segment.text for reply in replies] == list("01234")
    assert inner.seen == [0, 1, 2, 3, 4, 0, 2, 4]
    assert server.asked == [7]


async def test_text_that_was_shown_before_a_crash_is_not_shown_again() -> None:
    shown: dict[int, list[str]] = {}
    model = watched(Streaming(), Down(returns=True))
    assert isinstance(model, Streamer)
    assert not isinstance(watched(Judging(), Down(returns=True)), Streamer)
    await model.stream(requests(4), lambda place, text: shown.setdefault(place, []).append(text))
    assert shown == {place: [f"{place}, ", "done"] for place in range(4)}


async def test_other_failures_stay() -> None:
    replies = await watched(Flaky(), Down(returns=False)).generate(requests(3))
    assert [isinstance(reply, Failed) for reply in replies] == [True, False, True]
    assert "connection" in str(replies[0].error)


async def test_a_server_that_stays_down_says_why() -> None:
    server = Down(returns=False, error=ModelLoadError("out of memory, says the log"))
    replies = await watched(Flaky(), server).generate(requests(1))
    assert str(replies[0].error) == "out of memory, says the log"
    assert isinstance(replies[0].error, RequestError)


async def test_nothing_is_asked_of_the_server_when_all_is_well() -> None:
    server = Down(returns=True)
    await watched(Flaky(), server).generate(requests(2)[1:])
    assert server.asked == []


async def test_a_reward_model() -> None:
    class Reward:
        async def score(self, asked: Sequence[Score]) -> list[Scored | Failed]:
            return [Scored((0.5,))] * len(asked)

    model = watch_reward_model(Reward(), Down(returns=True), list)  # pyright: ignore
    assert await model.score([Score(Context(()), (Segment("x"),))]) == [Scored((0.5,))]


@pytest.mark.parametrize("inner", [Flaky(), Judging()])
def test_it_can_what_the_model_can(inner: Flaky) -> None:
    released = [0]
    model = watched(inner, Down(returns=True), released)
    assert isinstance(model, Chooser) == isinstance(inner, Judging)
    assert model.describe() == {}
    model.close()
    assert (inner.closed, released) == (1, [0, 1])
