"""What Ray 2.60 does that one would not expect, and what ours does about it.

Each test shows the surprise on plain Ray first. If that part fails, Ray has changed: see whether
what we do about it is still needed.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from rsdecode.config import RunConfig
from rsdecode.core.errors import ConfigError, ModelLoadError
from rsdecode.core.types import Problem
from rsdecode.distributed.cluster import Cluster, OursAlone
from rsdecode.distributed.crew import Crew, WorkerLost
from rsdecode.distributed.tasks import AnswerTask, Sample
from rsdecode.server.errors import ApiError

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster() -> Generator[Cluster]:
    patch = pytest.MonkeyPatch()
    patch.delenv("OMP_NUM_THREADS", raising=False)  # Ray leaves alone what the user has set
    with Cluster("local", cpus=4) as connected:
        yield connected
    patch.undo()


class Dying:
    """Writes down each call, and dies in the first one."""

    def __init__(self, log: str) -> None:
        self._log = Path(log)

    def _call(self) -> int:
        with self._log.open("a") as file:
            file.write("called\n")
        return len(self._log.read_text().splitlines())

    async def method(self) -> str:
        if self._call() == 1:
            os._exit(1)
        return "done"

    async def stream(self) -> Any:
        call = self._call()
        for item in range(4):
            if call == 1 and item == 2:
                await asyncio.sleep(1.0)  # the first items have been read by then
                os._exit(1)
            yield f"{call}:{item}"


def restarting(ray: Any, log: Path) -> Any:
    actor = ray.remote(Dying).options(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    return actor.remote(str(log))


def test_a_method_is_run_again_without_a_word(cluster: Cluster, ray: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert ray.get(restarting(ray, log).method.remote()) == "done"
    assert len(log.read_text().splitlines()) == 2
    crew = crew_of(cluster)

    async def lost() -> None:
        """Ours: the loss is told, and nothing is repeated behind the crew's back."""
        member = await crew._hire()
        await member.load()
        await member.begin(task())
        asking = asyncio.ensure_future(member.do(sample(0)))
        await asyncio.sleep(0)
        ray.kill(member._actor)  # type: ignore[attr-defined]
        with pytest.raises(WorkerLost):
            await asking

    asyncio.run(lost())


def test_nothing_of_ray_is_on_standard_output(
    cluster: Cluster, ray: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Ray prints there that an actor died, with `log_to_driver=False` too."""
    before = sys.stdout
    sys.stdout = OursAlone(before)  # type: ignore[assignment] - pytest has put its own there
    try:
        assert ray.get(restarting(ray, tmp_path / "log").method.remote()) == "done"
        time.sleep(2.0)
        print("a result")
    finally:
        sys.stdout = before
    assert capfd.readouterr().out == "a result\n"


def test_a_stream_is_spliced_from_two_attempts(cluster: Cluster, ray: Any, tmp_path: Path) -> None:
    """So no streams travel: `rsd serve --ray` asks for whole steps (test_serve.py kills them)."""
    actor = restarting(ray, tmp_path / "log")
    stream = actor.stream.options(num_returns="streaming").remote()
    items = [ray.get(reference) for reference in stream]
    assert items[:2] == ["1:0", "1:1"]
    assert items[2:] == ["2:2", "2:3"], "two attempts, and nothing tells"


class RichError(Exception):
    def __init__(self, status: int, *, message: str) -> None:
        super().__init__(f"{status}: {message}")


class Raising:
    async def rich(self) -> None:
        raise RichError(400, message="no")

    async def ours(self, error: Exception) -> None:
        raise error


def test_a_rich_exception_arrives_as_another_type(cluster: Cluster, ray: Any) -> None:
    actor = ray.remote(Raising).options(num_cpus=0).remote()
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is, it is not ours
        ray.get(actor.rich.remote())
    assert not isinstance(caught.value, RichError)
    for error in (ConfigError("no such key"), ApiError(429, "later", param="n")):
        with pytest.raises(type(error), match=re.escape(str(error))):
            ray.get(actor.ours.remote(error))
    wrong = RunConfig.model_validate({"draft": "hf:/nowhere/at-all"})
    crew = cluster.crew(wrong, [AnswerTask.of(wrong)], print)
    with pytest.raises((ConfigError, ModelLoadError), match="/nowhere/at-all"):
        asyncio.run(crew.shapes(AnswerTask.of(wrong)))


class Threads:
    def variable(self) -> str | None:
        return os.environ.get("OMP_NUM_THREADS")


def test_actors_get_one_thread_unless_they_ask_for_more(cluster: Cluster, ray: Any) -> None:
    """So `ray.cpus` (and of replicas) is both: what Ray sets aside, and threads."""
    actor = ray.remote(Threads)
    assert ray.get(actor.options(num_cpus=0).remote().variable.remote()) == "1"
    assert ray.get(actor.options(num_cpus=2).remote().variable.remote()) == "2"


class Running:
    def __init__(self) -> None:
        self.steps = 0

    async def write(self) -> Any:
        for _ in range(100):
            self.steps += 1
            await asyncio.sleep(0.05)
            yield self.steps

    async def count(self) -> int:
        return self.steps


def test_a_dropped_generator_runs_on(cluster: Cluster, ray: Any) -> None:
    actor = ray.remote(Running).options(num_cpus=0, max_concurrency=4).remote()
    stream = actor.write.options(num_returns="streaming").remote()
    ray.get(next(iter(stream)))
    del stream
    before = ray.get(actor.count.remote())
    time.sleep(1.0)
    assert ray.get(actor.count.remote()) > before + 3, "nobody listens, and it runs on"


def crew_of(cluster: Cluster) -> Crew:
    config = RunConfig()
    return cluster.crew(config, [task()], lambda _: None)


def task() -> AnswerTask:
    return AnswerTask.of(RunConfig())


def sample(number: int) -> Sample:
    return Sample(
        Problem.ask("Ben has 24 buttons. Ben loses 19 of them. How many?", id="0"), number
    )
