"""Do the graders accept the references? `python -m benchmarks.grading --data FOLDER`.

The folder holds `gsm8k.jsonl`, `math500.jsonl` and so on. What every problem is asked:

answer    its reference in a box must be right; so must the reference solution, where a row has one
solution  (GSM8K and MATH give their final answer in it)
announced the same after "the answer is", so that it is compared part by part and not just as text
crossed   the reference of the problem before it should be wrong; those that are right are listed,
          unless the two references are the same text, to be judged by a person

Then the same answers, and variants of which it is known whether they are right
(`benchmarks.grading_variants`), are graded by math-verify alone, as its README calls it, and every
disagreement is listed with who is right.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.grading_variants import variants
from rsdecode.evals.datasets import DATASETS, dataset_named, load_dataset
from rsdecode.evals.grading import AnswerKind, GradingPool, Verdict
from rsdecode.evals.grading.notation import compact


class Check(NamedTuple):
    """An answer to a problem, and whether it should be right."""

    id: str
    form: str
    text: str
    reference: str
    expected: bool = True


def checks(name: str, path: Path) -> Iterator[Check]:
    """The answers that the problems of a data set are given."""
    problems = load_dataset(f"{name}@{path}")
    lines = [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
    solutions = [solution(name, line) for line in lines]
    if len(solutions) != len(problems):  # rows that do not belong to the set were left out
        solutions = [None] * len(problems)
    before = ""
    for problem, text in zip(problems, solutions, strict=True):
        if not (wanted := problem.answer):
            continue
        yield Check(problem.id, "answer", f"\\boxed{{{wanted}}}", wanted)
        if text is not None:
            yield Check(problem.id, "solution", text, wanted)
        announced = f"\\boxed{{\\text{{The answer is }} {wanted}}}"
        yield Check(problem.id, "announced", announced, wanted)
        if before and compact(before) != compact(wanted):
            yield Check(problem.id, "crossed", f"\\boxed{{{before}}}", wanted, False)
        before = wanted


def solution(name: str, row: dict[str, object]) -> str | None:
    """The reference solution, of the sets whose solutions state their answer."""
    text = row.get({"gsm8k": "answer", "math500": "solution"}.get(name, ""))
    return text if isinstance(text, str) else None


async def grade_all(
    todo: list[Check], kind: AnswerKind, pool: GradingPool
) -> list[tuple[Check, Verdict]]:
    async def one(check: Check) -> tuple[Check, Verdict]:
        return check, await pool.grade(check.text, check.reference, kind)

    return await asyncio.gather(*map(one, todo))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with NAME.jsonl")
    parser.add_argument("--sets", nargs="*", default=list(DATASETS), help="names of data sets")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--variants", type=int, default=500, help="0 for no outside grader")
    options = parser.parse_args()
    graded_sets: list[tuple[Check, Verdict]] = []
    with GradingPool(options.workers) as pool:
        for name in options.sets:
            path = options.data / f"{name}.jsonl"
            if not path.exists():
                continue
            started = time.perf_counter()
            todo = list(checks(name, path))
            graded = asyncio.run(grade_all(todo, dataset_named(name).answer_type, pool))
            report(name, graded, time.perf_counter() - started)
            if dataset_named(name).answer_type is not AnswerKind.CHOICE:
                graded_sets += [one for one in graded if one[0].form in ("answer", "crossed")]
        if options.variants:
            references = list(dict.fromkeys(check.reference for check, _ in graded_sets))
            made = [
                Check(f"variant-{i}", v.form, v.text, v.reference, v.right)
                for i, v in enumerate(variants(references, options.variants))
            ]
            graded_sets += asyncio.run(grade_all(made, AnswerKind.MATH, pool))
            compare_graders(graded_sets)


def compare_graders(graded: list[tuple[Check, Verdict]]) -> None:
    """Our verdicts beside math-verify's alone, and who is right where they differ."""
    from importlib.metadata import version

    started = time.perf_counter()
    print(f"\nmath-verify {version('math-verify')} alone, beside ours:")
    outside = [math_verify_alone(check) for check, _ in graded]
    for form in dict.fromkeys(check.form for check, _ in graded):
        rows = [
            (c, v.correct, o) for (c, v), o in zip(graded, outside, strict=True) if c.form == form
        ]
        ours = sum(correct is check.expected for check, correct, _ in rows)
        theirs = sum(other is check.expected for check, _, other in rows)
        better = sum(
            correct is c.expected != other for c, correct, other in rows if correct != other
        )
        worse = sum(other is c.expected for c, correct, other in rows if correct != other)
        print(
            f"{form}: {len(rows)} answers, as expected: ours {ours}, math-verify {theirs}; "
            f"they differ on {better + worse}: ours right on {better}, math-verify on {worse}"
        )
    for (check, verdict), other in zip(graded, outside, strict=True):
        if verdict.correct != other or verdict.correct is not check.expected:
            right = "ours" if verdict.correct is check.expected else "math-verify"
            right = right if verdict.correct != other else "neither is"
            print(
                f"  {right} right ({check.form}): {check.text!r} for {check.reference!r}: "
                f"ours {verdict.correct} ({verdict.rule}), math-verify {other}"
            )
    print(f"  {time.perf_counter() - started:.1f} s", flush=True)


def math_verify_alone(check: Check) -> bool:
    """The verdict of math-verify with its defaults, the reference set as a formula."""
    import math_verify

    library: Any = math_verify
    reference = check.reference
    gold = library.parse(reference if "$" in reference else f"${reference}$")
    return bool(library.verify(gold, library.parse(check.text)))


def report(name: str, graded: list[tuple[Check, Verdict]], seconds: float) -> None:
    for form in dict.fromkeys(check.form for check, _ in graded):
        pairs = [(check, verdict) for check, verdict in graded if check.form == form]
        good = sum(verdict.correct is check.expected for check, verdict in pairs)
        rules = dict(Counter(str(verdict.rule) for _, verdict in pairs))
        print(f"{name}: {form} {good}/{len(pairs)} as expected {rules}", flush=True)
    for check, verdict in graded:
        if verdict.correct is not check.expected:
            print(f"  {check.id} ({check.form}): {verdict}")
    print(f"  {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
