"""`rsd prm label`: solutions with labelled steps, from questions with answers."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rsdecode.cli.language import tell_unreadable
from rsdecode.cli.messages import InterruptedRun, print_note, print_warning
from rsdecode.cli.on_ray import RayOption
from rsdecode.cli.options import RunOptions, with_run_options
from rsdecode.cli.prm.label_options import read_settings, selected
from rsdecode.core.counted import counted
from rsdecode.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rsdecode.cli.prm.labelling import Ending
    from rsdecode.config import RunConfig
    from rsdecode.results.store import Shard, Store
    from rsdecode.training.label_files import FileOptions, Written
    from rsdecode.training.label_plan import LabelPlan
    from rsdecode.training.label_settings import LabelSettings
    from rsdecode.training.selection import Selection


@with_run_options
def command(
    options: RunOptions,
    *,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", help="Questions with answers, as rsd eval takes them; default abacus:train."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="Folder; what it holds is not labelled again.")
    ] = Path("runs/labels"),
    by: Annotated[
        str,
        typer.Option(
            "--by",
            help="How steps are labelled (see above): rollouts, bisect, outcome, checker, reward.",
        ),
    ] = "rollouts",
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Problems, at most; default all, 200 of abacus."),
    ] = None,
    writers: Annotated[
        str,
        typer.Option("--writers", help="Who writes the solutions: draft, target or draft,target."),
    ] = "draft",
    continued: Annotated[
        int,
        typer.Option(
            "--continued",
            min=0,
            help="Further solutions of each writer, each of which goes on from a beginning of an "
            "earlier one that was labelled right.",
        ),
    ] = 2,
    temperatures: Annotated[
        str, typer.Option("--temperatures", help="With which the solutions are written, in turn.")
    ] = "0.7,1",
    completer: Annotated[
        str | None,
        typer.Option(
            "--completer",
            help="Who writes completions: draft or target; default target, draft where --draft is "
            "given alone.",
        ),
    ] = None,
    completions: Annotated[
        int, typer.Option("--completions", min=1, help="Written from a step, at most.")
    ] = 8,
    every: Annotated[
        bool,
        typer.Option(
            "--every-completion",
            help="Always write as many as --completions; by default they stop once it is clear "
            "whether a step is right.",
        ),
    ] = False,
    right_share: Annotated[
        float,
        typer.Option(
            "--right-share",
            help="A step is right if more than this share of its completions reach the answer.",
        ),
    ] = 0.1,
    rollout_temperature: Annotated[
        float, typer.Option("--rollout-temperature", min=0, help="Temperature of the completions.")
    ] = 0.7,
    held_out: Annotated[
        float,
        typer.Option(
            "--held-out",
            help="Share of the problems that go to validation.jsonl, not to train.jsonl.",
        ),
    ] = 0.1,
    keep_easy: Annotated[
        bool,
        typer.Option(
            "--keep-easy",
            help="Also keep problems of which every solution is right; they are left out.",
        ),
    ] = False,
    select: Annotated[
        str | None,
        typer.Option(
            "--select",
            help="uncertain: write no new solutions, but label those of --from of which the reward "
            "model was most mistaken or unsure.",
        ),
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder of an rsd eval, for --select.")
    ] = None,
    count: Annotated[
        int, typer.Option("--count", min=1, help="Solutions that --select takes, at most.")
    ] = 200,
    shard: Annotated[
        str | None,
        typer.Option("--shard", help="i/n: every n-th problem; shards may share --out."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes",
            min=0,
            help="Stop after so many and write what is labelled by then, which is more of the "
            "problems that take little; 0 labels nothing more.",
        ),
    ] = None,
    only_estimate: Annotated[
        bool,
        typer.Option(
            "--estimate", help="Label the first problems only, and say what the others would cost."
        ),
    ] = False,
    ray: RayOption = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout at the end.")
    ] = False,
) -> int:
    """Sample solutions of questions and label their steps.

    Each step is labelled right or wrong, --by one of these:

    rollouts: the solution is continued from the step several times (completions); the step is right
    if enough of them reach the reference answer.

    bisect: the same, but only at the few steps at which a binary search for the first wrong one
    looks.

    outcome: all steps of a right answer are right, all of a wrong one wrong.

    checker: --reward says which steps are right, such as --reward arithmetic.

    reward: the same, and the numbers that --reward gives are kept as soft labels.

    Each labelled solution is kept as soon as it is there, in OUT/store; the same command goes on
    where it was cut off. At the end OUT/train.jsonl and OUT/validation.jsonl hold the solutions,
    split by problem, as TRL, datasets and axolotl read them (prompt, completions, labels), and
    labels.json what they were made with.

    Exit code: 0 all were labelled; 1 some failed; 2 the options, the configuration or a model are
    wrong; 130 interrupted (143 by SIGTERM).
    """
    from rsdecode.cli.prm.labelling import Ending
    from rsdecode.results.store import Shard, Store
    from rsdecode.training.label_files import FileOptions

    config, settings = read_settings(
        options,
        by=by,
        writers=writers,
        continued=continued,
        temperatures=temperatures,
        completer=completer,
        completions=completions,
        every=every,
        right_share=right_share,
        rollout_temperature=rollout_temperature,
    )
    if not 0 <= held_out < 1:
        raise ConfigError(f"--held-out {held_out:g} must be a share, from 0 to below 1")
    part = None if shard is None else Shard.parse(shard)
    chosen = selected(select, source, count)
    plan = _plan(config, settings, chosen, data, limit=limit, shard=part)
    files = FileOptions(held_out, config.run.seed, keep_easy)
    _tell_left_out(plan)
    with Store(out / "store", part) as store:
        if store.warning is not None:
            print_warning(store.warning)
        store.describe({"data": plan.meta.data, "key": plan.meta.key, "config": plan.meta.config})
        failed = _run(plan, store, ray, Ending(minutes, only_estimate=only_estimate))
        written = _write(plan, store, out, files)
    _show(written, out, json_output=json_output)
    return 1 if failed or plan.bad else 0


def _of_roles(config: RunConfig, settings: LabelSettings) -> RunConfig:
    """With a method of the same writers: it decides the default system message."""
    from rsdecode.core.types import Role

    alone = {frozenset({Role.DRAFT}): "draft", frozenset({Role.TARGET}): "target"}
    method = alone.get(settings.roles - {Role.REWARD}, "speculative")
    changes: dict[str, Any] = {
        "method": method,
        "run": config.run.model_copy(update={"samples": 1}),
    }
    return config.model_copy(update=changes)


def _plan(
    config: RunConfig,
    settings: LabelSettings,
    chosen: Selection | None,
    data: str | None,
    *,
    limit: int | None,
    shard: Shard | None,
) -> LabelPlan:
    from rsdecode.training.label_plan import plan_labels

    written = None
    if chosen is not None:
        if data not in (None, chosen.data):
            raise ConfigError(f"--data {data}: the solutions of --from are of {chosen.data}")
        data, written = chosen.data, chosen.solutions
        settings = replace(settings, selected=chosen.key)
    config = _of_roles(config, settings)
    return plan_labels(config, settings, data or "abacus:train", limit, shard, written=written)


def _tell_left_out(plan: LabelPlan) -> None:
    data = plan.meta.data
    for line in plan.bad:
        print_warning(f"{data}, line {line.number}: {line.reason}")
    if plan.unanswered:
        count, first = len(plan.unanswered), plan.unanswered[0]
        print_warning(
            f"{data}: {counted(count, 'question')} without an answer left out (first: {first!r}): "
            "nothing says which of their solutions are right; --by checker needs no answers"
        )


def _run(plan: LabelPlan, store: Store, ray: str | None, ending: Ending) -> int:
    """Label what is left, as far as the minutes go; returns how many solutions failed."""
    from rsdecode.cli.prm.label_progress import LabelProgress
    from rsdecode.cli.prm.labelling import label_here, label_there
    from rsdecode.cli.progress import tell_damage
    from rsdecode.training.label_costs import most_completions

    file = store.cell(plan.meta)
    tell_damage(file.found, file.name)
    ids = {problem.id for problem in plan.problems}
    done = sum(key[0] in ids for key in file.done)
    total = plan.solutions
    before = f", {done:,} of them before" if done else ""
    print_note(
        f"{plan.meta.data}: {most_completions(plan.settings, len(plan.problems), total)}{before}"
    )
    if done >= total or ending.minutes == 0:
        return 0
    tell_unreadable([plan.config], (problem.question for problem in plan.problems))
    progress = LabelProgress(total, done)
    notes: list[str] = []
    try:
        if ray is None:
            label_here(plan, file, progress, notes, ending=ending)
        else:
            label_there(ray, plan, file, progress, notes, ending=ending)
    except KeyboardInterrupt:
        raise InterruptedRun(
            f"interrupted: {counted(progress.tally.solutions, 'solution')} added; the same command "
            "goes on from here, and with --minutes 0 it writes what is labelled"
        ) from None
    finally:
        for note in notes:
            print_warning(note)
        file.close(notes)
    print_note(
        f"{counted(progress.tally.solutions, 'solution')} in {progress.seconds / 60:.1f} min · "
        f"{progress}"
    )
    return progress.tally.failed


def _write(plan: LabelPlan, store: Store, out: Path, files: FileOptions) -> Written:
    from rsdecode.training.label_files import write_labels

    answers = store.cell(plan.meta).done
    about: Mapping[str, Any] = {
        "data": plan.meta.data,
        "by": plan.settings.method.value,
        "boundary": plan.config.boundary,
        "draft": plan.config.draft,
        "target": plan.config.target,
        **_reward_of(plan),
        "settings": _plain(plan.settings),
        "seed": plan.meta.seed,
        "key": plan.meta.key,
        "version": plan.meta.version,
        "code": plan.meta.code,
        "no_answer": len(plan.unanswered),
        "unusable_lines": len(plan.bad),
    }
    return write_labels(out, [answers[key] for key in sorted(answers)], about, files)


def _reward_of(plan: LabelPlan) -> dict[str, Any]:
    """What labelled the steps, where it was a reward."""
    if not plan.settings.asks_reward:
        return {}
    reward = plan.config.reward
    return {"reward": reward.spec, "calibration": reward.calibration}


def _plain(settings: LabelSettings) -> dict[str, Any]:
    from rsdecode.results.identity import describe

    return describe(settings)


def _show(written: Written, out: Path, *, json_output: bool) -> None:
    share = written.right_steps / written.steps if written.steps else 0.0
    print_note(
        f"{out}: {counted(written.train, 'solution')} in train.jsonl, {written.held_out:,} in "
        f"validation.jsonl; {counted(written.steps, 'step')}, {share:.1%} right"
    )
    for reason, count in sorted(written.left_out.items()):
        print_note(f"left out: {counted(count, 'solution')}: {reason}")
    if json_output:
        print(json.dumps({**asdict(written), "out": str(out)}), flush=True)
