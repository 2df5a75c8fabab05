"""Every job has one record, however many workers are lost."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsdecode.core.errors import ModelLoadError, WorkersLost
from rsdecode.distributed.crew import Crew, WorkerLost
from rsdecode.distributed.tasks import AnswerTask, Shapes, TaskSettings

SETTINGS = AnswerTask({}, "math")
SHAPES: Shapes = {"draft": None}


class Member:
    """A worker that dies at its n-th answer, or while it loads."""

    def __init__(self, factory: Factory, dies_at: int) -> None:
        self.factory = factory
        self.left = dies_at
        self.busy = 0

    def _check(self) -> None:
        if self.left == 0:
            raise WorkerLost("it was killed")

    async def load(self) -> None:
        self._check()

    async def begin(self, task: TaskSettings) -> Shapes:
        self._check()
        return SHAPES

    async def do(self, item: str) -> str:
        self.busy += 1
        self.factory.busiest = max(self.factory.busiest, self.busy)
        try:
            for _ in range(self.factory.draw.randint(0, 3)):
                await asyncio.sleep(0)
                self._check()
            if self.left > 0:
                self.left -= 1
            self._check()
            self.factory.tried[item] += 1
            return item
        finally:
            self.busy -= 1

    async def notes(self) -> tuple[str, ...]:
        self._check()
        return ("a note",)

    async def close(self) -> None:
        self.factory.closed += 1


class Factory:
    """Hires members that die as told, and then such that do not."""

    def __init__(self, deaths: list[int], seed: int = 0) -> None:
        self.deaths = deaths
        self.draw = random.Random(seed)
        self.tried: Counter[str] = Counter()
        self.hired = self.closed = self.busiest = 0

    async def __call__(self) -> Member:
        self.hired += 1
        return Member(self, self.deaths.pop(0) if self.deaths else -1)


def jobs(count: int) -> list[str]:
    return [str(n) for n in range(count)]


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 40),
    size=st.integers(1, 3),
    at_once=st.integers(1, 4),
    deaths=st.lists(st.integers(0, 5), max_size=4),
    seed=st.integers(0, 99),
)
def test_every_job_has_one_record(
    count: int, size: int, at_once: int, deaths: list[int], seed: int
) -> None:
    factory, found, told = Factory(deaths, seed), list[str](), list[str]()

    async def run() -> tuple[str, ...]:
        crew = Crew(factory, size, at_once, told.append)
        assert await crew.shapes(SETTINGS) == SHAPES
        for _ in range(2):  # tasks, on the same workers
            await crew.run(SETTINGS, jobs(count), found.append)
        notes = await crew.notes()
        await crew.close()
        return notes

    assert asyncio.run(run()) in (("a note",), ())
    assert Counter(found) == {str(n): 2 for n in range(count)}
    assert factory.busiest <= at_once


async def test_nothing_to_do_hires_nobody() -> None:
    factory = Factory([])
    await Crew(factory, 2, 2, print).run(SETTINGS, [], lambda _: None)
    assert factory.hired == 0


async def test_workers_that_die_without_an_answer_end_the_run() -> None:
    factory = Factory([0] * 100)
    with pytest.raises(WorkersLost, match="10 workers were lost in a row"):
        await Crew(factory, 2, 2, lambda _: None).run(SETTINGS, jobs(3), lambda _: None)
    with pytest.raises(WorkersLost):
        await Crew(factory, 1, 2, lambda _: None).shapes(SETTINGS)


async def test_an_error_of_loading_ends_the_run() -> None:
    async def hire() -> Member:
        raise ModelLoadError("no such model")

    with pytest.raises(ModelLoadError):
        await Crew(hire, 2, 2, print).run(SETTINGS, jobs(3), lambda _: None)


async def test_a_loss_is_told_and_a_failing_keeper_ends_the_run() -> None:
    told: list[str] = []
    crew = Crew(Factory([1, 1]), 1, 1, told.append)
    await crew.run(SETTINGS, jobs(4), lambda _: None)
    assert len(told) == 2
    assert "it was killed" in told[0]

    def full(_: str) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        await crew.run(SETTINGS, jobs(4), full)


MANY = """
import asyncio, re
from pathlib import Path
from rsdecode.core.types import Message, Problem
from rsdecode.distributed.crew import Crew
from rsdecode.distributed.tasks import AnswerTask, Sample

class Quick:
    async def load(self): pass
    async def begin(self, task): return {}
    async def do(self, item):
        await asyncio.sleep(0)
        return {"id": item.problem.id, "text": "a step of the answer. " * 100}
    async def notes(self): return ()
    async def close(self): pass

async def hire(): return Quick()

async def run(count):
    question = "Ben has {} buttons and gets more of them. " * 8
    texts = (question.replace("{}", str(n)) for n in range(count))
    items = [Sample(Problem.ask(text, id=str(n)), 0) for n, text in enumerate(texts)]
    done = 0
    def take(record):
        nonlocal done
        done += 1
    await Crew(hire, 8, 32, print).run(AnswerTask({}), items, take)
    return done

count = asyncio.run(run(100_000))
# not ru_maxrss, which a child takes over from whoever started it
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(count, int(peak[1]) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_a_hundred_thousand_waiting_problems_take_less_than_a_gigabyte() -> None:
    """On the side that shares them out; workers are cheap here."""
    done = subprocess.run(
        [sys.executable, "-c", MANY], check=True, capture_output=True, text=True, timeout=120
    )
    count, mebibytes = map(int, done.stdout.split())
    assert count == 100_000
    assert mebibytes < 1000
