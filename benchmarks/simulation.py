"""Simulated servers: continuous batching with measured costs, answers replayed from a real run.

A server works in iterations, as vLLM does. Each iteration reads up to `PREFILL_TOKENS` of prompts
and writes one token of every running request; what it costs depends on both. A request that comes
during an iteration waits for its end, and one that comes to a full batch waits for a place. What a
session's earlier requests have left in the prefix cache is not read again.
"""

from __future__ import annotations

import asyncio
import bisect
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rsdecode.core.protocols import Models
from rsdecode.core.requests import Failed, Generate, Generated, Score, Scored
from rsdecode.core.types import Context, FinishReason, Problem, Role, Segment, Tokens, Usage

PREFILL_TOKENS = 2048
"""Of one iteration: vLLM's default `max_num_batched_tokens`."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a server takes for its work, measured with `--measure`.

    Attributes:
        decode_s: seconds of an iteration by how many requests it writes a token of; between the
            measured sizes, and beyond the largest, it is a straight line. For a reward server: of
            an iteration that reads so many requests, beside what the tokens cost.
        prefill_s: seconds per prompt token that is read.
        request_s: seconds of a request outside the model: HTTP, tokenising, queueing.
        max_batch: requests in one iteration at most.
        block_tokens: of the prefix cache, which holds whole blocks.
    """

    decode_s: tuple[tuple[int, float], ...]
    prefill_s: float
    request_s: float
    max_batch: int
    block_tokens: int

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Costs:
        """From one entry of the measured file's "servers"."""
        decode = tuple((int(n), float(s)) for n, s in data["decode_s"])
        others: dict[str, Any] = {key: value for key, value in data.items() if key != "decode_s"}
        return cls(decode_s=decode, **others)

    def iteration_s(self, requests: int, read_tokens: int) -> float:
        """Seconds of an iteration."""
        return self._decode(requests) + self.prefill_s * read_tokens

    def _decode(self, requests: int) -> float:
        if requests == 0:
            return 0.0
        sizes = [size for size, _ in self.decode_s]
        right = min(max(bisect.bisect_left(sizes, requests), 1), len(sizes) - 1)
        (n0, s0), (n1, s1) = self.decode_s[right - 1], self.decode_s[right]
        return s0 + (s1 - s0) * (requests - n0) / (n1 - n0)


@dataclass(slots=True)
class _Job:
    read: int
    write: int
    done: asyncio.Future[None]


class Server:
    """A server's time; what it answers is none of its business."""

    def __init__(self, costs: Costs) -> None:
        self.busy_s = 0.0
        self.iterations = 0
        self._costs = costs
        self._waiting: deque[_Job] = deque()
        self._running: list[_Job] = []
        self._task: asyncio.Task[None] | None = None

    async def serve(self, read: int, write: int) -> None:
        """Read and write so many tokens; back when that is done. May be cancelled.

        A request that writes nothing (a score) is done when it is read.
        """
        await asyncio.sleep(self._costs.request_s)
        job = _Job(max(read, 1), write, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        await job.done

    async def _work(self) -> None:
        await asyncio.sleep(0)  # requests of this moment share the first iteration
        while self._admit():
            left = PREFILL_TOKENS
            writing: list[_Job] = []
            touched = 0
            for job in self._running:
                if job.read:
                    part = min(job.read, left)
                    job.read -= part
                    left -= part
                    touched += bool(part)
                if not job.read and job.write:
                    writing.append(job)
            requests = max(len(writing), touched)
            seconds = self._costs.iteration_s(requests, PREFILL_TOKENS - left)
            self.busy_s += seconds
            self.iterations += 1
            await asyncio.sleep(seconds)
            for job in writing:
                job.write -= 1
            for job in self._running:
                if not job.read and not job.write and not job.done.done():
                    job.done.set_result(None)

    def _admit(self) -> bool:
        """Fill the batch; whether there is anything to do."""
        self._running = [job for job in self._running if not job.done.done()]
        while self._waiting and len(self._running) < self._costs.max_batch:
            job = self._waiting.popleft()
            if not job.done.done():
                self._running.append(job)
        return bool(self._running)


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """A step of a real run: what the draft wrote and, where that was rejected, the target."""

    draft: int
    draft_finish: FinishReason
    target: int = 0
    target_finish: FinishReason = FinishReason.STOP

    @property
    def accepted(self) -> bool:
        """Whether the draft's step entered the answer."""
        return self.target == 0


@dataclass(frozen=True, slots=True)
class Recorded:
    """An answer of a real run: lengths in tokens, no text."""

    prompt: int
    steps: tuple[RecordedStep, ...]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Recorded:
        """From one entry of the measured file's "answers"."""
        steps = (
            RecordedStep(draft, FinishReason(draft_end), target, FinishReason(target_end))
            for draft, draft_end, target, target_end in data["steps"]
        )
        return cls(data["prompt"], tuple(steps))


@dataclass(frozen=True, slots=True)
class Measured:
    """A measured run: costs of the three servers, and answers to replay."""

    servers: dict[Role, Costs]
    answers: tuple[Recorded, ...]

    @classmethod
    def load(cls, path: Path) -> Measured:
        """Read a file that `--measure` wrote."""
        data = json.loads(path.read_text(encoding="utf-8"))
        servers = {role: Costs.from_json(data["servers"][role.value]) for role in Role}
        return cls(servers, tuple(Recorded.from_json(answer) for answer in data["answers"]))

    def problems(self, count: int) -> list[Problem]:
        """As many problems; the recorded answers, again from the first if need be."""
        return [Problem.ask(str(i % len(self.answers)), id=str(i)) for i in range(count)]


@dataclass(slots=True)
class Simulation:
    """Three simulated servers, as models.

    Attributes:
        reads_ahead: the target finds everything read, at no cost: as if it had read the accepted
            steps while others worked, on a device with time to spare. No prefetch can do better.
    """

    measured: Measured
    reads_ahead: bool = False
    servers: dict[Role, Server] = field(init=False)

    def __post_init__(self) -> None:
        self.servers = {role: Server(costs) for role, costs in self.measured.servers.items()}

    @property
    def models(self) -> Models:
        """Fresh models on these servers, with empty prefix caches."""
        return Models(
            _Writer(self, Role.DRAFT), _Writer(self, Role.TARGET), _Reader(self, Role.REWARD)
        )


class _Caching:
    """What both kinds of model share: the prefix cache, by session."""

    def __init__(self, simulation: Simulation, role: Role) -> None:
        self._answers = simulation.measured.answers
        self._server = simulation.servers[role]
        self._block = simulation.measured.servers[role].block_tokens
        self._role = role
        self._reads_ahead = simulation.reads_ahead and role is Role.TARGET
        self._held: dict[str, tuple[Segment, ...]] = {}

    def _recorded(self, context: Context) -> Recorded:
        return self._answers[int(context.question)]

    def _new_tokens(self, session: str, context: Context, *more: Segment) -> int:
        """Tokens to read of a context, and of what is to be scored after it."""
        segments = (*context.answer, *more)
        total = self._recorded(context).prompt + sum(map(_length, segments))
        held = self._held.get(session)
        self._held[session] = segments
        if held is None:
            return total
        cached = self._recorded(context).prompt
        for old, new in zip(held, segments, strict=False):
            if old is not new:
                break
            cached += _length(new)
        return total - cached // self._block * self._block

    def _holds(self, session: str, written: Segment) -> None:
        self._held[session] = (*self._held[session], written)


class _Writer(_Caching):
    async def generate(self, requests: Sequence[Generate]) -> list[Generated | Failed]:
        return list(await asyncio.gather(*map(self._write, requests)))

    async def _write(self, request: Generate) -> Generated:
        steps = self._recorded(request.context).steps
        place = len(request.context.answer)
        step = steps[min(place, len(steps) - 1)]
        read = self._new_tokens(request.session, request.context)
        count, finish = step.draft, step.draft_finish
        if self._role is Role.TARGET:
            count, finish = step.target, step.target_finish
        await self._server.serve(0 if self._reads_ahead else read, count)
        segment = Segment(f"{self._role} {place}", Tokens("recorded", (0,) * count))
        self._holds(request.session, segment)
        return Generated(segment, finish, Usage(read, 0, count, 1))


class _Reader(_Caching):
    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        return list(await asyncio.gather(*map(self._read, requests)))

    async def _read(self, request: Score) -> Scored:
        step = self._recorded(request.context).steps[len(request.context.answer)]
        read = self._new_tokens(request.session, request.context, *request.steps)
        await self._server.serve(read, 0)
        return Scored((float(step.accepted),), Usage(read, 0, 0, 1))


def _length(segment: Segment) -> int:
    return len(segment.tokens.ids) if segment.tokens is not None else 0
