"""The model card of a trained reward model, and the picture of its losses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rsdecode import __version__
from rsdecode.core.counted import counted
from rsdecode.results.answer_file import replace_file
from rsdecode.training.measures import accuracy, area, calibration_error, first_errors, resampled
from rsdecode.training.train_plan import TrainPlan
from rsdecode.training.train_run import Trained
from rsdecode.training.train_settings import Part

CARD, PICTURE = "README.md", "loss.svg"


def measures_of(trained: Trained) -> dict[str, Any]:
    """What the held-out steps come to, as JSON."""
    steps = trained.scored
    roc = resampled(steps, area)
    errors = first_errors(steps)
    return {
        "steps": len(steps),
        "wrong_steps": sum(not step.right for step in steps),
        "area_under_roc": None if roc is None else roc._asdict(),
        "accuracy": accuracy(steps)._asdict() if steps else None,
        "first_error_f1": errors.f1,
        "calibration_error": calibration_error(steps),
    }


def write_card(folder: Path, plan: TrainPlan, trained: Trained, command: str) -> None:
    """Write README.md.

    Raises:
        StorageError: it cannot be written.
    """
    settings, measured = plan.settings, measures_of(trained)
    where = "held-out problems" if plan.held_out else "the training problems: none were held out"
    lines = [
        "---\nlibrary_name: rsdecode\npipeline_tag: token-classification\n"
        "tags:\n- process-reward-model\n---\n",
        "# Process reward model\n",
        f"Trained by rsdecode {__version__} from `{plan.backbone}`:\n\n    {command}\n",
        f"It reads the question and steps that each end in {settings.mark!r}; the reward of a step "
        f"is read there ({settings.layout.value}). config.json says so, under `rsd_reward`: "
        "`--reward hf:PATH` needs nothing else.",
        f"\nLabels: {', '.join(map(str, plan.labels))}; {counted(len(plan.train), 'solution')}"
        + (f", steps cut at `{plan.boundary}`" if plan.boundary else "")
        + ".\n",
        f"## On {where}\n",
        "| measure | value |\n|---|---|",
        f"| steps, wrong ones | {measured['steps']:,}, {measured['wrong_steps']:,} |",
        f"| area under ROC | {_interval(measured['area_under_roc'], 3)} |",
        f"| accuracy at 0.5 | {_interval(measured['accuracy'], 3)} |",
        f"| F1 of first errors at 0.5 | {_number(measured['first_error_f1'])} |",
        f"| calibration error | {_number(measured['calibration_error'])} |\n",
        f"Intervals are 95 %, by problem.{_seen(plan, trained)}\n",
        "Rewards in rsdecode's engine and in plain transformers differ by "
        f"{trained.difference:.1e} at most.",
    ]
    path = folder / CARD
    replace_file(path, ("\n".join(lines) + "\n").encode(), str(path))


def _seen(plan: TrainPlan, trained: Trained) -> str:
    """What the problems that it is measured on had a say in."""
    chosen = [] if plan.settings.part is Part.HEAD else ["chosen"]
    done = " and ".join([*chosen, *(["calibrated"] if trained.scale else [])])
    return f" The model was {done} on these problems: `rsd prm test` measures it on others." * bool(
        done
    )


def draw_losses(folder: Path, log: Sequence[dict[str, Any]]) -> bool:
    """Draw the losses over the updates, or over what was tried; False without matplotlib.

    Args:
        folder: to draw into.
        log: losses by `step`, or by `penalty` of the head alone.
    """
    from rsdecode.core.errors import ConfigError
    from rsdecode.evals.report.drawing import INK, RSD, draw, require_matplotlib

    try:
        require_matplotlib()
    except ConfigError:
        return False
    by = "penalty" if any("penalty" in row for row in log) else "step"
    others = "held-out problems" if by == "step" else "other problems"
    train = [(row[by], row["loss"]) for row in log if "loss" in row]
    held_out = [(row[by], row["eval_loss"]) for row in log if "eval_loss" in row]

    def plot(axes: Any) -> None:
        if train:
            axes.plot(*zip(*train, strict=True), color=INK, linewidth=1.2, label="training")
        if held_out:
            axes.plot(*zip(*held_out, strict=True), "o-", color=RSD, markersize=4,
                      label=others)  # fmt: skip
        axes.set_ylim(bottom=0)
        axes.set_xlabel("update" if by == "step" else "penalty")
        if by == "penalty":
            axes.set_xscale("log")
        axes.set_ylabel("loss")
        if train or held_out:
            axes.legend()

    path = folder / PICTURE
    replace_file(path, draw(plot).encode(), str(path))
    return True


def _interval(value: dict[str, float] | None, digits: int) -> str:
    if value is None:
        return "not known: all steps are alike"
    estimate, low, high = (f"{value[name]:.{digits}f}" for name in ("estimate", "low", "high"))
    return f"{estimate} [{low}, {high}]"


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3f}"
