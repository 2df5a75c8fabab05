"""One thread for each device: its models take turns, the one with most to do first, none starves.

Several models on one device gain nothing from running at the same moment. Running the model for
which most requests wait, and going on with it while there is enough to do, lets the requests of the
others pile up into large batches meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")
PATIENCE = 16
"""Steps of other engines that an engine with something to do waits for at most."""
ENOUGH = 0.5
"""An engine goes on while it has this share of what the one with most to do has."""


class Stepper(Protocol):
    """An engine, as the worker sees it."""

    @property
    def load(self) -> int:
        """Requests that could be advanced now; 0 when idle."""
        ...

    def step(self) -> None:
        """Advance some of them. Must not raise."""
        ...


class Worker:
    """Steps the engines of one device."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._engines: list[Stepper] = []
        self._stepping: Stepper | None = None
        self._last: Stepper | None = None
        self._passed_over: dict[int, int] = {}
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, engine: Stepper) -> None:
        """Let `engine` take part; the first one starts the thread."""
        with self._wake:
            self._engines.append(engine)
            if self._thread is None:
                name = f"rsdecode-{self._name}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()

    def remove(self, engine: Stepper) -> None:
        """Wait for the step under way, then leave `engine` out; the thread ends with the last."""
        with self._wake:
            if engine in self._engines:
                self._engines.remove(engine)
            if self._last is engine:
                self._last = None
            self._wake.wait_for(lambda: self._stepping is not engine)
            thread = self._thread if not self._engines else None
            if thread is not None:
                self._thread = None
            self._wake.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def notify(self) -> None:
        """There is something to do."""
        with self._wake:
            self._wake.notify_all()

    def _next(self) -> Stepper | None:
        """The last engine while it has enough to do, else the one with most; none starves."""
        loads = {id(engine): load for engine in self._engines if (load := engine.load)}
        busy = [engine for engine in self._engines if id(engine) in loads]
        if not busy:
            self._passed_over.clear()
            return None
        waited = {id(engine): self._passed_over.get(id(engine), 0) for engine in busy}
        chosen = max(busy, key=lambda engine: loads[id(engine)])
        enough = ENOUGH * loads[id(chosen)]
        if self._last is not None and loads.get(id(self._last), 0) >= enough:
            chosen = self._last
        starving = max(busy, key=lambda engine: waited[id(engine)])
        if waited[id(starving)] >= PATIENCE:
            chosen = starving
        self._last = chosen
        self._passed_over = {id(engine): waited[id(engine)] + 1 for engine in busy}
        self._passed_over[id(chosen)] = 0
        return chosen

    def _run(self) -> None:
        while True:
            with self._wake:
                engine = self._next()
                if engine is None:
                    if self._thread is not threading.current_thread():
                        return
                    self._wake.wait()
                    continue
                self._stepping = engine
            engine.step()
            with self._wake:
                self._stepping = None
                self._wake.notify_all()


_workers: dict[str, Worker] = {}
_lock = threading.Lock()


def worker_for(device: str) -> Worker:
    """The worker of a device; the same for all models on it."""
    with _lock:
        return _workers.setdefault(device, Worker(device))


def run_in_temporary_thread(function: Callable[[], T]) -> T:
    """Call `function` in a thread that ends with it; raises what it raises.

    torch gives each thread that computes on a CPU a team of helpers, which lives as long as the
    thread. With a second team alive, both sleep between operations instead of spinning, as there
    are more of them than cores: every forward pass of the worker would take about 1.6 times as
    long. So whatever computes outside of the worker, like the loading of weights, is done here.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="rsdecode-temporary") as thread:
        return thread.submit(function).result()
