"""Plays a method by hand: what the tests of all methods share."""

from __future__ import annotations

from collections.abc import Sequence

from rsdecode.core.errors import RsdError
from rsdecode.core.requests import Announce, Decoding, Generate, Generated, Reply, Request, Scored
from rsdecode.core.types import FinishReason, Problem, Segment, Trajectory, Usage

EOS, STOP = FinishReason.EOS, FinishReason.STOP
STEP_LIMIT, LENGTH = FinishReason.STEP_LIMIT, FinishReason.LENGTH
PROBLEM = Problem.ask("q", id="p")
USED = Usage(10, 0, 3, 1, 0.5, 20)


def text(written: str, finish: FinishReason = EOS, tokens: int = 3) -> Generated:
    return Generated(Segment(written), finish, Usage(10, 0, tokens, 1, 0.5, 20))


def reward(*values: float) -> Scored:
    return Scored(values, Usage(7, 1, 0, 1))


def play(
    decoding: Decoding, *rounds: Sequence[Reply] | RsdError
) -> tuple[list[list[Request]], Trajectory]:
    """Answer each list of questions with the next round; returns the questions and the result.

    News, and lists without a question, need no round.
    """
    waiting = list(rounds)
    asked: list[list[Request]] = []
    try:
        requests = next(decoding)
        while True:
            if all(isinstance(request, Announce) for request in requests):
                requests = decoding.send([None] * len(requests))
                continue
            asked.append(list(requests))
            answer = waiting.pop(0)
            if isinstance(answer, RsdError):
                requests = decoding.throw(answer)
            else:
                assert len(answer) == len(requests), requests
                requests = decoding.send(answer)
    except StopIteration as end:
        assert not waiting
        return asked, end.value


def generates(requests: Sequence[Request]) -> list[Generate]:
    return [request for request in requests if isinstance(request, Generate)]
