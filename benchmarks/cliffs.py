"""No cliffs: every method alone and beside one busy process, at the default settings.

    python -m benchmarks.cliffs --json
    python -m benchmarks.cliffs --draft gguf:SMALL --target gguf:LARGE --reward confidence:draft \
        --data gsm8k@FILE --problems 1 --max-tokens 48 --json

Models are loaded once. A round solves the problems with each method alone, and then with each
beside a process that keeps one core busy; caches are emptied before each run. After `--minutes` no
further round begins, so all have as many. Of each method it tells the median alone and how much
longer the slowest took (at most 1.3), and the median beside against alone (at most 2).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import Any

from benchmarks.report import device_name, versions
from rsdecode.cli.demo import CONCURRENCY
from rsdecode.config import RunConfig
from rsdecode.config.build import build_models
from rsdecode.core.protocols import Models
from rsdecode.evals.grading import GradingPool
from rsdecode.evals.plan import EvalRequest, EvalTask, plan
from rsdecode.evals.runner import run_eval_task

METHODS = ("draft", "target", "rsd")
SLOWEST, BESIDE = 1.3, 2.0


@contextmanager
def busy() -> Generator[None]:
    """A process that keeps one core busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.2)
        yield
    finally:
        process.kill()
        process.wait()


def configured(given: argparse.Namespace) -> RunConfig:
    """The demo's settings, or those of `rsd eval` with the models that are named."""
    settings: dict[str, Any] = {"weighting": {"threshold": given.threshold}}
    if given.draft or given.target:
        settings |= {"draft": given.draft, "target": given.target}
        settings["reward"] = {"spec": given.reward}
    else:
        settings["engine"] = {"slots": CONCURRENCY}
        settings["run"] = {"concurrency": CONCURRENCY}
    if given.max_tokens is not None:
        settings["limits"] = {"max_tokens": given.max_tokens}
    return RunConfig.model_validate(settings)


async def seconds(task: EvalTask, models: Models, pool: GradingPool) -> float:
    """How long a method takes for its problems."""
    records: list[dict[str, Any]] = []
    started = time.perf_counter()
    await run_eval_task(task, task.jobs, models, records.append, pool=pool, watch=lambda _: None)
    took = time.perf_counter() - started
    failed = [record["error"] for record in records if record.get("error")]
    if failed or len(records) != len(task.jobs):
        raise SystemExit(f"{task.name}: {len(failed)} problems failed: {failed[:1]}")
    return took


async def measure(
    tasks: list[EvalTask], models: Models, runs: int, minutes: float
) -> dict[str, dict[str, list[float]]]:
    """The seconds of each run, by method and by whether it was `alone` or `beside`."""
    names = [task.meta.method for task in tasks]
    found = {name: {"alone": list[float](), "beside": list[float]()} for name in names}
    with GradingPool() as pool:
        for task in tasks:
            await seconds(task, models, pool)  # warm
        end = time.monotonic() + 60 * minutes
        for _ in range(runs):
            if time.monotonic() > end:
                break
            for where in ("alone", "beside"):
                with busy() if where == "beside" else nullcontext():
                    for name, task in zip(names, tasks, strict=True):
                        found[name][where].append(await seconds(task, models, pool))
    return found


def figures(runs: dict[str, list[float]]) -> dict[str, Any]:
    """What the runs of one method come to."""
    alone, beside = (statistics.median(runs[where]) for where in ("alone", "beside"))
    slowest, ratio = max(runs["alone"]) / alone, beside / alone
    return {
        "runs": len(runs["alone"]),
        "alone_s": round(alone, 3),
        "slowest_to_median": round(slowest, 3),
        "beside_s": round(beside, 3),
        "beside_to_alone": round(ratio, 3),
        "holds": slowest <= SLOWEST and ratio <= BESIDE,
        "all": {where: [round(value, 3) for value in values] for where, values in runs.items()},
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10, help="of each method, alone and beside")
    parser.add_argument("--minutes", type=float, default=5.0, help="after which no round begins")
    parser.add_argument("--problems", type=int, default=40)
    parser.add_argument("--data", default="abacus:test")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--draft")
    parser.add_argument("--target")
    parser.add_argument("--reward", default="confidence:draft", help="with --draft and --target")
    parser.add_argument("--threshold", type=float, default=0.7)
    parser.add_argument("--max-tokens", type=int)
    parser.add_argument("--json", action="store_true", help="the whole record on stdout")
    given = parser.parse_args()
    if bool(given.draft) != bool(given.target):
        parser.error("give both --draft and --target, or neither")
    config = configured(given)
    tasks = plan(config, EvalRequest((given.data,), tuple(given.methods), given.problems))
    models = build_models(config, [task.method for task in tasks])
    try:
        found = asyncio.run(measure(list(tasks), models, given.runs, given.minutes))
    finally:
        models.close()
    told = {method: figures(runs) for method, runs in found.items()}
    if given.json:
        record = {"date": time.strftime("%Y-%m-%d"), "device": device_name()}
        print(json.dumps({**record, "versions": versions(), "methods": told}, indent=2))
        return
    for method, each in told.items():
        print(
            f"{method:8} {each['runs']} runs: alone {each['alone_s']:.2f} s, slowest "
            f"{each['slowest_to_median']:.2f}x; beside {each['beside_to_alone']:.2f}x"
        )


if __name__ == "__main__":
    main()
