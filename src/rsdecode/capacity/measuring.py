"""A short real run: what problems ask for, and how long each model takes for it."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any, NamedTuple

from rsdecode.capacity.service_times import Measured, ServiceTimes
from rsdecode.capacity.simulation import Deployment, Replicas, simulate
from rsdecode.capacity.traces import Recording
from rsdecode.config import RunConfig
from rsdecode.config.specs import SpecKind, parse_model_spec, parse_reward_spec
from rsdecode.core.errors import ConfigError, RsdError
from rsdecode.core.protocols import LanguageModel, Models, RewardModel
from rsdecode.core.requests import Failed, Generate, Generated, Score, Scored
from rsdecode.core.types import Context, Problem, Role, Usage
from rsdecode.methods import Method
from rsdecode.session.job import Job
from rsdecode.session.session import Session

SIZES = (1, 4, 16, 32)
"""Requests that are timed together."""
SHORT, LONG = 4, 20
"""Tokens of two replies, whose difference in time is that of decoding passes."""
REPEATS = 3
Clock = Callable[[], float]


def hosts(config: RunConfig) -> dict[Role, Role]:
    """Which model serves the requests of each role; rules of the reward cost nothing.

    A reward that reads the draft or the target alone (`likelihood:target`) is served by it.
    """
    found = {role: role for role in config.models_needed}
    if Role.REWARD not in found:
        return found
    spec = parse_reward_spec(config.reward.spec)
    if spec.kind in (SpecKind.ARITHMETIC, SpecKind.PYTHON):
        del found[Role.REWARD]
    elif len(spec.reads) == 1 and len(spec.parts) == 1:
        found[Role.REWARD] = next(iter(spec.reads))
    return found


def measure(
    config: RunConfig,
    models: Models,
    method: Method,
    problems: Sequence[Problem],
    *,
    clock: Clock = time.perf_counter,
) -> Measured:
    """Solve problems, and time the models by themselves.

    Args:
        config: of the run.
        models: loaded.
        method: what decodes.
        problems: some that are like those to come.
        clock: seconds.

    Raises:
        ConfigError: nothing could be measured.
    """
    found, seconds = asyncio.run(_measure(config, models, method, problems, clock))
    deployment = _as_measured(config, found.times)
    again = simulate(found, deployment, problems=len(problems), concurrency=config.run.concurrency)
    return found.corrected(seconds * again.problems_per_s / len(problems))


async def _measure(
    config: RunConfig,
    models: Models,
    method: Method,
    problems: Sequence[Problem],
    clock: Clock,
) -> tuple[Measured, float]:
    """What is measured, and the seconds of the run."""
    served, at_once = hosts(config), config.run.concurrency
    await _solve(models, method, problems[-1:], config)  # the first time is not like the others
    models.clear()
    recording = Recording(method, served)
    started = clock()
    await _solve(models, recording, problems, config)
    seconds = clock() - started
    if not recording.traces:
        raise ConfigError("the short run asked the models for nothing")
    timing = _Timing(models, clock, min(config.engine.slots, at_once))
    times: dict[Role, ServiceTimes] = {}
    for role in sorted(set(served.values())):
        if role is Role.REWARD:
            times[role] = await timing.reader(models.reward_model(), recording.scored)
        else:
            times[role] = await timing.writer(models.language_model(role), role, problems)
    about = {
        "method": config.method,
        "draft": config.draft,
        "target": config.target,
        "reward": config.reward.spec,
        "problems": len(problems),
    }
    return Measured(times, tuple(recording.traces), about), seconds


async def _solve(
    models: Models, method: Method, problems: Sequence[Problem], config: RunConfig
) -> None:
    """Solve problems that are all there at the start.

    Raises:
        ConfigError: one failed.
    """
    session = Session(models, concurrency=config.run.concurrency)
    async for trajectory in session.run(Job(p, method, config.run.seed) for p in problems):
        if trajectory.error is not None:
            raise ConfigError(f"the short run failed: {trajectory.error}")


def _as_measured(config: RunConfig, roles: Iterable[Role]) -> Deployment:
    """The deployment of the short run: models of this process share its device."""
    specs = {
        Role.DRAFT: parse_model_spec(config.draft),
        Role.TARGET: parse_model_spec(config.target),
        Role.REWARD: parse_reward_spec(config.reward.spec),
    }
    own = (SpecKind.HTTP, SpecKind.VLLM, SpecKind.GGUF)
    shared = [role for role in roles if specs[role].kind not in own]
    return {role: Replicas(1, 1 / len(shared) if role in shared else 1.0) for role in roles}


class _Timing:
    """Times models, each alone.

    Args:
        models: told when a session is over.
        clock: seconds.
        most: requests at once at most.
    """

    def __init__(self, models: Models, clock: Clock, most: int) -> None:
        self._models = models
        self._clock = clock
        self._most = most
        self._sizes = [size for size in SIZES if size < most] + [most]
        self._numbers = count()

    async def writer(
        self, model: LanguageModel, role: Role, problems: Sequence[Problem]
    ) -> ServiceTimes:
        """Of a draft or target."""
        short = [Context(problem.messages) for problem in problems]
        long = [_longer(context) for context in short]

        async def write(contexts: Sequence[Context], size: int, tokens: int) -> _Timed:
            asked = [
                Generate(role, self._unread(contexts[at % len(contexts)]), tokens, seed=at)
                for at in range(size)
            ]
            return await self._timed(model.generate, asked)

        decode: list[tuple[int, float]] = []
        reads: list[tuple[int, _Timed, _Timed]] = []
        for size in self._sizes:
            await write(short, size, SHORT)  # the first time is not like the others
            few = await self._repeat(partial(write, short, size, SHORT))
            many = await self._repeat(partial(write, short, size, LONG))
            passes = max(many.longest - few.longest, 1)
            decode.append((size, max((many.seconds - few.seconds) / passes, 1e-7)))
            ones = [await self._repeat(partial(write, of, size, 1)) for of in (short, long)]
            reads.append((size, ones[0], ones[1]))
        return ServiceTimes(tuple(decode), *_reading(reads), max_batch=self._most)

    async def reader(self, model: RewardModel, scored: Sequence[Score]) -> ServiceTimes:
        """Of a reward model."""
        if not scored:
            raise ConfigError("the short run asked for no score: give more --problems")
        longer = [replace(request, context=_longer(request.context)) for request in scored]

        async def read(requests: Sequence[Score], size: int) -> _Timed:
            some = [requests[at % len(requests)] for at in range(size)]
            asked = [replace(each, context=self._unread(each.context)) for each in some]
            return await self._timed(model.score, asked)

        reads: list[tuple[int, _Timed, _Timed]] = []
        for size in self._sizes:
            await read(scored, size)
            both = [await self._repeat(partial(read, of, size)) for of in (scored, longer)]
            reads.append((size, both[0], both[1]))
        return ServiceTimes((), *_reading(reads), max_batch=self._most)

    async def _repeat(self, once: Callable[[], Awaitable[_Timed]]) -> _Timed:
        """The median of some times."""
        timed = [await once() for _ in range(REPEATS)]
        return sorted(timed)[len(timed) // 2]

    def _unread(self, context: Context) -> Context:
        """The same conversation in words that no cache holds."""
        *before, last = context.messages
        first = before[0] if before else last
        marked = replace(first, content=f"{next(self._numbers)} {first.content}")
        return replace(context, messages=(marked, *before[1:], *([last] if before else [])))

    async def _timed(
        self,
        ask: Callable[[Sequence[Any]], Awaitable[Sequence[Generated | Scored | Failed]]],
        asked: Sequence[Generate | Score],
    ) -> _Timed:
        named = [replace(request, session=f"timing/{next(self._numbers)}") for request in asked]
        started = self._clock()
        replies = await ask(named)
        seconds = self._clock() - started
        for request in named:
            self._models.end(request.session)
        usages: list[Usage] = []
        for reply in replies:
            if isinstance(reply, Failed):
                raise _unmeasured(reply.error)
            usages.append(reply.usage)
        read = sum(usage.prefill_tokens for usage in usages)
        return _Timed(seconds, read, max(usage.decoded_tokens for usage in usages))


class _Timed(NamedTuple):
    """Seconds of some requests, tokens that were read, and tokens of the longest reply."""

    seconds: float
    read: int
    longest: int


def _longer(context: Context) -> Context:
    """The same conversation with a longer last message."""
    *before, last = context.messages
    return replace(context, messages=(*before, replace(last, content=" ".join([last.content] * 3))))


def _unmeasured(error: RsdError) -> ConfigError:
    return ConfigError(f"the models could not be timed: {error}")


def _reading(reads: Sequence[tuple[int, _Timed, _Timed]]) -> tuple[float, float, float]:
    """Seconds of a pass, of a token and of a further prompt.

    Args:
        reads: for each number of prompts, from one on, the times of short ones and of long ones.
    """
    slopes = [
        (long.seconds - short.seconds) / (long.read - short.read)
        for _, short, long in reads
        if long.read > short.read
    ]
    token_s = max(statistics.median(slopes), 0.0) if slopes else 0.0
    beside = [
        (count, timed.seconds - token_s * timed.read) for count, *both in reads for timed in both
    ]
    pass_s = max(statistics.fmean(seconds for count, seconds in beside if count == 1), 0.0)
    more = [(seconds - pass_s) / (count - 1) for count, seconds in beside if count > 1]
    return pass_s, token_s, max(statistics.median(more), 0.0) if more else 0.0
