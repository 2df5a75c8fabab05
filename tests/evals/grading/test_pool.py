from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator

import pytest

from rsdecode.core.errors import ConfigError
from rsdecode.evals.grading import AnswerKind, GradingPool, Rule, pool

HANGS = [(r"\boxed{9^{9^{9^{9}}}}", "9^{9^{9^{8}}}"), (r"\boxed{(10^{9})!}", "(10^9)! + x!")]


@pytest.fixture(scope="module")
def graders() -> Iterator[GradingPool]:
    with GradingPool(1, timeout_s=8) as shared:
        yield shared


async def test_formulas_are_compared_in_another_process(graders: GradingPool) -> None:
    assert (await graders.grade(r"\boxed{x+1}", "1+x")).correct
    verdict = await graders.grade(r"\boxed{x+2}", "1+x")
    assert (verdict.correct, verdict.extracted, verdict.rule) == (False, "x+2", Rule.SYMBOLIC)


async def test_many_at_once_keep_their_places(graders: GradingPool) -> None:
    asked = [(f"\\boxed{{x+{n}}}", f"{n}+x" if n % 2 else "x-1") for n in range(1, 7)]
    verdicts = await asyncio.gather(*(graders.grade(*one) for one in asked))
    assert [verdict.correct for verdict in verdicts] == [True, False] * 3


def test_it_belongs_to_no_event_loop(graders: GradingPool) -> None:
    for _ in range(2):
        assert asyncio.run(graders.grade(r"\boxed{x+1}", "1+x")).correct


async def test_an_answer_that_hangs_is_wrong_and_the_next_one_is_graded() -> None:
    with GradingPool(1, timeout_s=2) as graders:
        verdict = await graders.grade(*HANGS[0])
        assert (verdict.correct, verdict.extracted) == (False, "9^{9^{9^{9}}}")
        assert verdict.rule == Rule.TIMEOUT
        assert (await graders.grade(r"\boxed{x+1}", "1+x")).correct


async def test_a_process_that_dies_makes_a_crash(graders: GradingPool) -> None:
    task = asyncio.create_task(graders.grade(*HANGS[0]))
    await asyncio.sleep(0.5)
    os.kill(process_id(graders), signal.SIGKILL)
    assert (await task).rule == Rule.CRASH
    assert (await graders.grade(r"\boxed{x+1}", "1+x")).correct


async def test_a_process_that_died_meanwhile_is_replaced(graders: GradingPool) -> None:
    await graders.grade(r"\boxed{x+1}", "1+x")
    os.kill(process_id(graders), signal.SIGKILL)
    await asyncio.sleep(0.1)
    assert (await graders.grade(r"\boxed{x+1}", "1+x")).correct


async def test_closing_does_not_wait_for_an_answer_that_hangs() -> None:
    graders = GradingPool(1, timeout_s=300)
    assert (await graders.grade(r"\boxed{x+1}", "1+x")).correct
    task = asyncio.create_task(graders.grade(*HANGS[0]))
    await asyncio.sleep(0.2)
    started = time.monotonic()
    graders.close()
    assert time.monotonic() - started < 20
    with pytest.raises(RuntimeError, match="closed"):
        await task


async def test_a_closed_pool_refuses_formulas() -> None:
    with GradingPool(1) as graders:
        pass
    with pytest.raises(RuntimeError):
        await graders.grade(r"\boxed{x+1}", "1+x")


async def test_without_math_verify_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import json; print(json.dumps({'error': \"pip install 'rsdecode[eval]'\"}))"
    real = pool.subprocess.Popen
    monkeypatch.setattr(
        pool.subprocess, "Popen", lambda command, **kw: real([command[0], "-c", script], **kw)
    )
    with GradingPool(1) as graders:
        assert (await graders.grade(r"\boxed{7}", "7", AnswerKind.MATH)).correct
        with pytest.raises(ConfigError, match=r"rsdecode\[eval\]"):
            await graders.grade(r"\boxed{x+1}", "1+x")


@pytest.mark.parametrize("settings", [{"timeout_s": 0}, {"workers": 0}])
def test_settings_that_make_no_sense(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="grading needs a time limit above 0"):
        GradingPool(**settings)


def process_id(graders: GradingPool) -> int:
    process = graders._workers[0]._process
    assert process is not None
    return process.pid
