from __future__ import annotations

import threading
from dataclasses import dataclass, field

from rsdecode.backends.transformers.worker import PATIENCE, Worker


@dataclass(eq=False)
class Steps:
    """An engine with so many steps to do, that tells of each."""

    name: str
    load: int
    told: list[str]
    done: threading.Event = field(default_factory=threading.Event)

    def step(self) -> None:
        self.told.append(self.name)
        self.load -= 1
        if not self.load:
            self.done.set()


def order(*engines: Steps) -> str:
    """The order of the steps of engines that have something to do when the worker starts."""
    worker = Worker("test")
    begun = threading.Event()
    first = Steps("", 1, [])
    first.step = begun.wait  # type: ignore[method-assign]  # holds the worker until all are there
    worker.add(first)
    for engine in engines:
        worker.add(engine)
    first.load = 0
    begun.set()
    for engine in engines:
        assert engine.done.wait(10)
    for engine in (*engines, first):
        worker.remove(engine)
    return "".join(engines[0].told)


def test_an_engine_goes_on_until_it_has_half_as_much_to_do_as_another() -> None:
    told: list[str] = []
    assert order(Steps("a", 8, told), Steps("b", 6, told)) == "aaaaaa" + "bbbbbb" + "aa"


def test_none_waits_for_longer_than_it_must() -> None:
    told: list[str] = []
    steps = order(Steps("a", 5 * PATIENCE, told), Steps("b", 1, told))
    assert steps.index("b") == PATIENCE


def test_an_engine_that_leaves_is_not_stepped_again() -> None:
    told: list[str] = []
    worker = Worker("test")
    engine = Steps("a", 10**9, told)
    worker.add(engine)
    worker.remove(engine)
    count = len(told)
    assert not threading.Event().wait(0.05)
    assert len(told) == count
