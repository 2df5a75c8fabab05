"""A reward model from a draft, a target and questions alone: label, train, test, tune, evaluate.

    python -m recipes.own_prm --out runs/own --json                 # the embedded family
    python -m recipes.own_prm --out runs/pair --json --small gguf:SMALL.gguf \
        --large gguf:LARGE.gguf --questions gsm8k_train.jsonl --test gsm8k.jsonl \
        --errors prmbench.jsonl

Each stage is a command of `rsd` as anybody would type it, and goes on after a kill; a stage that
has ended is not run again. OUT/figures.json holds the commands, what they printed, and how many
seconds of processor time they took, those of attempts that were cut off left out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RSD = [sys.executable, "-m", "rsdecode"]
MOST_TOKENS = ["--max-tokens", "300"]
"""Of an answer of the embedded family: the longest right one has fewer."""

HELD_OUT = 100
"""Questions for models of one's own on which the trained one is measured, if they get labels."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One command.

    Attributes:
        arguments: of `rsd`.
        accepted: exit codes with which its result counts.
        shards: processes among which its problems are shared, side by side.
        minutes: after which it stops with what is done; None for no limit.
    """

    name: str
    arguments: list[str]
    accepted: tuple[int, ...] = (0,)
    shards: int = 1
    minutes: float | None = None


def abacus(options: argparse.Namespace) -> list[Stage]:
    """The loop on the embedded family, from its draft and its target; the shipped PRM is compared.

    What the target finds likely is a reward already. A few steps labelled by bisection make it a
    probability; it then labels many solutions, token by token, from which new layers behind the
    target learn.
    """
    out, many = options.out, ["--concurrency", "96", "--slots", "192"]
    few, labels, prm, exact = out / "few", out / "labels", out / "prm", out / "exact"
    teacher, tuned = out / "teacher.yaml", out / "tuned.yaml"
    reward, cores = f"hf:{prm}", os.cpu_count() or 1
    return [
        Stage("few", ["prm", "label", "--data", "abacus:train", "--limit", "150", "--by", "bisect",
                      "--keep-easy", *MOST_TOKENS, *many, "--out", f"{few}"], shards=cores),
        Stage("calibrate", ["calibrate", "--reward", "likelihood:target:min", "--data",
                            f"{few / 'train.jsonl'}", "--limit", "100000", "--out", f"{teacher}"]),
        Stage("label", ["prm", "label", "--data", "abacus:train", "--limit", f"{options.problems}",
                        "--by", "reward", "--config", f"{teacher}", "--samples", "1",
                        "--continued", "1", "--keep-easy", "--held-out", "0.02", *MOST_TOKENS,
                        *many, "--out", f"{labels}"], shards=cores),
        Stage("train", ["prm", "train", "--labels", f"{labels}", "--backbone", "abacus:target",
                        "--part", "layers", "--new-layers", "2", "--widen", "--mark", r"\n\n",
                        "--soft", "--token-weight", "20", "--rate", "2e-3", "--batch", "4",
                        "--epochs", f"{options.epochs:g}", "--evaluations", "6", "--device", "cpu",
                        "--out", f"{prm}"]),
        Stage("exact", ["prm", "label", "--data", "abacus:test", "--limit", "300", "--by",
                        "checker", "--reward", "python:benchmarks.exact_steps:score",
                        "--samples", "1", "--continued", "1", "--temperatures", "0.7",
                        "--keep-easy", "--held-out", "0.99999", *MOST_TOKENS, *many,
                        "--out", f"{exact}"]),
        Stage("test", ["prm", "test", "--data", f"{exact}", "--reward", reward, "--against",
                       "abacus:prm", "--against", "likelihood:target:min"]),
        Stage("tune", ["tune", "--reward", reward, "--no-worse-than-target", "--limit",
                       f"{options.tuned}", *many, "--out", f"{tuned}"], (0, 1)),
        Stage("eval", ["eval", "--data", "abacus:test", "--limit", f"{options.tested}",
                       "--methods", "draft,target,rsd", "--config", f"{tuned}", "--out",
                       f"{out / 'eval'}"]),
    ]  # fmt: skip


def pair(options: argparse.Namespace) -> list[Stage]:
    """The loop on two language models of one's own; only the head is trained, on the small one."""
    out = options.out
    models = ["--draft", options.small, "--target", options.large, *options.run]
    labels, prm = out / "labels", out / "prm"
    reward, tokens = f"hf:{prm}", ["--max-tokens", f"{options.max_tokens}"]
    test = ["prm", "test", "--reward", reward, *options.run]
    errors = [Stage("errors", [*test, "--data", options.errors])] if options.errors else []
    return [
        Stage("label", ["prm", "label", "--data", options.questions, "--limit",
                        f"{options.problems}", "--by", "bisect", "--samples", "1",
                        "--continued", "0", "--completions", "4", "--keep-easy", "--held-out",
                        f"{min(0.5, HELD_OUT / options.problems):.3g}", *models, *tokens,
                        "--out", f"{labels}"],
              shards=options.shards, minutes=options.minutes),
        Stage("train", ["prm", "train", "--labels", f"{labels}", "--backbone", options.small,
                        "--part", "head", "--max-length", "768", "--dtype", "bfloat16",
                        "--out", f"{prm}"]),
        Stage("test", [*test, "--data", f"{labels}"]),
        *errors,
        Stage("eval", ["eval", "--data", options.test, "--limit", f"{options.tested}", "--methods",
                       "draft,target,rsd@0.8", "--reward", reward, *models, *tokens,
                       "--out", f"{out / 'eval'}"]),
    ]  # fmt: skip


def run(stages: list[Stage], out: Path) -> dict[str, Any]:
    """Run what is left of them.

    Raises:
        SystemExit: a command failed, with its code.
    """
    file = out / "figures.json"
    figures: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    for stage in stages:
        known = figures.get(stage.name)
        if known is not None and known["arguments"] == stage.arguments:
            continue
        print(f"rsd {' '.join(stage.arguments)}", file=sys.stderr, flush=True)
        start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        limit = [] if stage.minutes is None else ["--minutes", f"{stage.minutes:g}"]
        if stage.shards > 1:
            _run_shards(stage, limit)
            limit = ["--minutes", "0"] if limit else []
        done = subprocess.run(
            [*RSD, *stage.arguments, *limit, "--json"],
            stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        if done.returncode not in stage.accepted:
            raise SystemExit(done.returncode)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        figures[stage.name] = {
            "arguments": stage.arguments,
            "code": done.returncode,
            "user_s": round(after.ru_utime - before.ru_utime, 1),
            "wall_s": round(time.monotonic() - start, 1),
            "result": json.loads(done.stdout),
        }
        new = file.with_suffix(".new")
        new.write_text(json.dumps(figures, indent=1) + "\n")
        new.replace(file)
    return figures


def _run_shards(stage: Stage, limit: list[str]) -> None:
    """Run a stage's shards side by side, one thread each; the stage itself then finds all done.

    Args:
        stage: what to run.
        limit: of their time, as options.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    shards = [
        subprocess.Popen(
            [*RSD, *stage.arguments, *limit, "--shard", f"{number}/{stage.shards}"],
            stdout=subprocess.DEVNULL, env=environment,
        )
        for number in range(1, stage.shards + 1)
    ]  # fmt: skip
    if failed := [code for shard in shards if (code := shard.wait())]:
        raise SystemExit(max(failed) if max(failed) > 0 else 1)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m recipes.own_prm", description=__doc__)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="labels, reward model, results, figures.json")
    add("--problems", type=int, help="to label; default 4,000 of the family, 400 of a file")
    add("--epochs", type=float, default=2.0, help="of the training, for the family")
    add("--tuned", type=int, default=300, help="problems to tune on, of the family")
    add("--tested", type=int, help="problems of the evaluation; default 1,000, of a file 100")
    add("--small", help="draft, whose outputs the trained head reads; default the family")
    add("--large", help="target")
    add("--questions", help="file of questions with answers to label")
    add("--test", help="file of questions with answers to evaluate on")
    add("--errors", help="file of labelled steps to test on as well, such as PRMBench")
    add(
        "--run",
        default="",
        help="further options of the commands that write with them: --run='OPTION OPTION'",
    )
    add("--shards", type=int, default=1, help="processes that label with them, of one thread each")
    add("--minutes", type=float, help="of labelling with them; then what is labelled is taken")
    add("--max-tokens", type=int, default=400, help="of an answer, for models of one's own")
    add("--json", action="store_true", help="all figures on stdout")
    options = parser.parse_args()
    own = [options.small, options.large, options.questions, options.test]
    if any(own) and not all(own):
        parser.error("give all of --small, --large, --questions and --test, or none of them")
    if not any(own) and (options.run or options.shards > 1 or options.minutes is not None):
        parser.error(
            "--run, --shards and --minutes are for models of one's own: give --small and the others"
        )
    if options.minutes is not None and not options.minutes >= 0:
        parser.error(f"--minutes {options.minutes:g} must be at least 0")
    try:
        options.run = shlex.split(options.run)
    except ValueError as error:
        parser.error(f"--run {options.run}: {error}")
    if options.problems is None:
        options.problems = 400 if options.small else 4000
    if options.tested is None:
        options.tested = 100 if options.small else 1000
    options.out.mkdir(parents=True, exist_ok=True)
    figures = run((pair if options.small else abacus)(options), options.out)
    if options.json:
        print(json.dumps(figures), flush=True)
    for name, figure in figures.items():
        print(f"{name}: {figure['user_s']:,.0f} s of processor time", file=sys.stderr)


if __name__ == "__main__":
    main()
