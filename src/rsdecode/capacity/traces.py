"""What problems ask of the models: written down during a real run, replayed in a simulated one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rsdecode.core.errors import RsdError
from rsdecode.core.requests import (
    Assess,
    Begun,
    Decoding,
    Generate,
    Generated,
    Propose,
    Proposed,
    Reply,
    Request,
    Score,
    Verify,
)
from rsdecode.core.types import Problem, Role
from rsdecode.methods import Method


class Work(NamedTuple):
    """One request to one model.

    Attributes:
        role: whose.
        read: tokens of its prompt that the model's cache does not hold.
        write: tokens.
    """

    role: Role
    read: int
    write: int


Round = tuple[Work, ...]
"""Requests that are made at once; the next round waits for all of them."""
Trace = tuple[Round, ...]
"""One problem."""


class Recording:
    """A method that writes down what it asks for (a `Method`).

    Args:
        method: what decodes.
        hosts: which model serves the requests of a role; a role that is missing costs nothing.

    Attributes:
        traces: of the problems that ended.
        scored: requests for scores, as examples.
    """

    def __init__(self, method: Method, hosts: Mapping[Role, Role]) -> None:
        self._method = method
        self._hosts = hosts
        self.traces: list[Trace] = []
        self.scored: list[Score] = []

    @property
    def roles(self) -> frozenset[Role]:
        """See `Method`."""
        return self._method.roles

    def __call__(self, problem: Problem, *, seed: int = 0, sample: int = 0) -> Decoding:
        """See `Method`."""
        return self._record(self._method(problem, seed=seed, sample=sample))

    def _record(self, decoding: Decoding) -> Decoding:
        rounds: list[Round] = []
        try:
            requests = next(decoding)
            while True:
                try:
                    replies = yield requests
                except RsdError as error:
                    requests = decoding.throw(error)
                else:
                    if asked := self._round(requests, replies):
                        rounds.append(asked)
                    requests = decoding.send(replies)
        except StopIteration as end:
            if rounds:
                self.traces.append(tuple(rounds))
            return end.value

    def _round(self, requests: Sequence[Request], replies: Sequence[Reply]) -> Round:
        self.scored += [request for request in requests if isinstance(request, Score)]
        asked = (self._work(*pair) for pair in zip(requests, replies, strict=True))
        return tuple(work for work in asked if work is not None)

    def _work(self, request: Request, reply: Reply) -> Work | None:
        match request:
            case Generate():
                role = request.role
            case Propose():
                role = Role.DRAFT
            case Verify() | Assess():
                role = Role.TARGET
            case Score():
                role = Role.REWARD
            case _:
                return None
        host = self._hosts.get(role)
        if reply is None or isinstance(reply, Begun) or host is None:
            return None
        usage = reply.usage
        writes = isinstance(reply, Generated | Proposed)
        return Work(host, usage.prefill_tokens, usage.decoded_tokens if writes else 0)


def trace_to_json(trace: Trace) -> list[list[list[Any]]]:
    """A trace as JSON: rounds of [role, read, write]."""
    return [[[work.role.value, work.read, work.write] for work in asked] for asked in trace]


def trace_of_json(data: Sequence[Sequence[Sequence[Any]]]) -> Trace:
    """A trace from JSON.

    Raises:
        ValueError: it is none.
    """
    return tuple(
        tuple(Work(Role(role), int(read), int(write)) for role, read, write in asked)
        for asked in data
    )
