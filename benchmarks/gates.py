"""One table and one picture of several folders of `rsd eval`, which differ in more than the method.

    python -m benchmarks.gates --target runs/steps --picture gates.png PRM=runs/steps ...

Each NAME=FOLDER is a line of the picture: its methods, on the same problems as the target.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rsdecode.evals.report.drawing import OTHERS, TARGET, Plot, save
from rsdecode.results.stats import Interval, paired_difference, wilson

Answers = dict[str, dict[str, Any]]


class Row(NamedTuple):
    """A method, beside the target alone."""

    name: str
    method: str
    accuracy: Interval
    difference: Interval
    accepted: float
    paper: float
    exact: float


def answers(folder: Path) -> Iterator[tuple[str, Answers]]:
    """Each method of a folder with its answers by problem."""
    for file in sorted((folder / "cells").glob("*.jsonl")):
        records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        yield file.name.split("--")[1], {r["id"]: r for r in records if "id" in r}


def row(name: str, method: str, found: Answers, target: Answers) -> Row:
    """What a method's answers come to."""
    right = {problem: bool(record["grade"]["correct"]) for problem, record in found.items()}
    pairs = [[int(good) - int(bool(target[i]["grade"]["correct"]))] for i, good in right.items()]
    steps = [step for record in found.values() for step in record["steps"]]

    def relative(count: str) -> float:
        ours, theirs = (sum(each[i]["flops"][count] for i in found) for each in (found, target))
        return ours / theirs

    return Row(
        name,
        method,
        wilson(sum(right.values()), len(right)),
        paired_difference(pairs),
        sum(step["accepted"] for step in steps) / max(1, len(steps)),
        relative("paper"),
        relative("exact"),
    )


def picture(rows: list[Row]) -> Plot:
    """Accuracy over FLOPs, a line for each name."""

    def plot(axes: Any) -> None:
        names = list(dict.fromkeys(each.name for each in rows))
        for name, other in zip(names, OTHERS * len(names), strict=False):
            own = [each for each in rows if each.name == name]
            colour = TARGET if name == "target" else other
            x, y = [each.paper for each in own], [100 * each.accuracy.estimate for each in own]
            axes.plot(x, y, "o-", color=colour, label=name, linewidth=1.2, markersize=4)
            for each, a, b in zip(own, x, y, strict=True):
                threshold = each.method.removeprefix("rsd@") if "rsd@" in each.method else ""
                axes.annotate(threshold, (a, b), xytext=(4, 4), fontsize=7,
                              textcoords="offset points")  # fmt: skip
        axes.set(xlabel="FLOPs relative to the target, by the paper's rule", ylabel="right, %")
        axes.set_xlim(left=0)
        axes.legend(loc="lower right")

    return plot


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gates", description=__doc__)
    parser.add_argument("--target", type=Path, required=True, help="folder with `target`")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("sets", nargs="+", metavar="NAME=FOLDER")
    options = parser.parse_args()
    target = dict(answers(options.target))["target"]
    rows = [row("target", "target", target, target)]
    for text in options.sets:
        name, _, folder = text.partition("=")
        found = answers(Path(folder))
        rows += [row(name, method, each, target) for method, each in found if method != "target"]
    for each in rows:
        a, low, high = (100 * value for value in each.accuracy)
        d, below, above = (100 * value for value in each.difference)
        print(
            f"| {each.name} | {each.method} | {a:.1f} % [{low:.1f}, {high:.1f}] | {d:+.1f} "
            f"[{below:+.1f}, {above:+.1f}] | {100 * each.accepted:.0f} % | {each.paper:.2f}x | "
            f"{each.exact:.2f}x |"
        )
    if options.picture is not None:
        save(picture(rows), options.picture)


if __name__ == "__main__":
    main()
