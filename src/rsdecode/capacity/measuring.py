"""A short real run: what problems ask for, and how long each model takes for it."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import TypeVar

from rsdecode.capacity.service_times import Measured, ServiceTimes
from rsdecode.capacity.traces import Recording
from rsdecode.config import RunConfig
from rsdecode.config.specs import SpecKind, parse_reward_spec
from rsdecode.core.errors import ConfigError, RsdError
from rsdecode.core.protocols import LanguageModel, Models, RewardModel
from rsdecode.core.requests import Failed, Generate, Generated, Score, Scored
from rsdecode.core.types import Context, Problem, Role
from rsdecode.methods import Method
from rsdecode.session.job import Job
from rsdecode.session.session import Session

SIZES = (1, 4, 16, 32)
"""Requests that are timed together."""
SHORT, LONG = 4, 20
"""Tokens of two replies, whose difference in time is that of decoding passes."""
REPEATS = 3
Clock = Callable[[], float]
Reply = TypeVar("Reply")


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
    return asyncio.run(_measure(config, models, method, problems, clock))


async def _measure(
    config: RunConfig,
    models: Models,
    method: Method,
    problems: Sequence[Problem],
    clock: Clock,
) -> Measured:
    served = hosts(config)
    recording = Recording(method, served)
    errors = list[str]()
    session = Session(models, concurrency=config.run.concurrency)
    async for trajectory in session.run(Job(p, recording, config.run.seed) for p in problems):
        if trajectory.error is not None:
            errors.append(trajectory.error)
    if not recording.traces or errors:
        raise ConfigError(
            f"the short run failed: {errors[0]}" if errors else "the short run asked for nothing"
        )
    timing = _Timing(models, clock, min(config.engine.slots, config.run.concurrency))
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
    return Measured(times, tuple(recording.traces), about)


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
        contexts = [Context(problem.messages) for problem in problems]

        async def write(size: int, tokens: int) -> tuple[float, int, int]:
            """Seconds, tokens read, and tokens of the longest reply."""
            asked = [
                Generate(role, contexts[at % len(contexts)], tokens, seed=at, session=self._name())
                for at in range(size)
            ]
            seconds, replies = await self._timed(model.generate(asked), asked)
            good = [reply for reply in replies if isinstance(reply, Generated)]
            read = sum(reply.usage.prefill_tokens for reply in good)
            return seconds, read, max(reply.usage.decoded_tokens for reply in good)

        decode: list[tuple[int, float]] = []
        reads: list[tuple[int, float]] = []
        for size in self._sizes:
            await write(size, SHORT)  # the first time is not like the others
            short = [await write(size, SHORT) for _ in range(REPEATS)]
            long = [await write(size, LONG) for _ in range(REPEATS)]
            first = [await write(size, 1) for _ in range(REPEATS)]
            passes = max(long[0][2] - short[0][2], 1)
            took = _median(long) - _median(short)
            decode.append((size, max(took / passes, 1e-7)))
            reads.append((first[0][1], _median(first)))
        return ServiceTimes(tuple(decode), *_line(reads), self._most)

    async def reader(self, model: RewardModel, scored: Sequence[Score]) -> ServiceTimes:
        """Of a reward model."""
        if not scored:
            raise ConfigError("the short run asked for no score: give more --problems")

        async def read(size: int) -> tuple[float, int]:
            asked = [
                replace(scored[at % len(scored)], session=self._name()) for at in range(size)
            ]
            seconds, replies = await self._timed(model.score(asked), asked)
            good = [reply for reply in replies if isinstance(reply, Scored)]
            return seconds, sum(reply.usage.prefill_tokens for reply in good)

        reads: list[tuple[int, float]] = []
        for size in self._sizes:
            await read(size)
            timed = [await read(size) for _ in range(REPEATS)]
            reads.append((timed[0][1], statistics.median(seconds for seconds, _ in timed)))
        return ServiceTimes((), *_line(reads), self._most)

    def _name(self) -> str:
        return f"timing/{next(self._numbers)}"

    async def _timed(
        self,
        asking: Awaitable[Sequence[Reply | Failed]],
        asked: Sequence[Generate | Score],
    ) -> tuple[float, list[Reply]]:
        started = self._clock()
        replies = await asking
        seconds = self._clock() - started
        for request in asked:
            self._models.end(request.session)
        errors = [reply.error for reply in replies if isinstance(reply, Failed)]
        if errors:
            raise _unmeasured(errors[0])
        return seconds, [reply for reply in replies if not isinstance(reply, Failed)]


def _unmeasured(error: RsdError) -> ConfigError:
    return ConfigError(f"the models could not be timed: {error}")


def _median(timed: Sequence[tuple[float, int, int]]) -> float:
    return statistics.median(seconds for seconds, _, _ in timed)


def _line(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Seconds of a pass and of a token, by least squares of the relative errors; never negative."""
    if len({tokens for tokens, _ in points}) < 2:
        tokens, seconds = points[0]
        return 0.0, seconds / max(tokens, 1)
    weights = [1.0 / max(seconds, 1e-9) ** 2 for _, seconds in points]
    total = sum(weights)
    mean_x = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
    mean_y = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
    above = sum(w * (x - mean_x) * (y - mean_y) for w, (x, y) in zip(weights, points, strict=True))
    below = sum(w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, points, strict=True))
    slope = max(above / below, 0.0)
    return max(mean_y - slope * mean_x, 0.0), slope
