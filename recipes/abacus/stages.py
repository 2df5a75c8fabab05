"""The stages of the recipe, what each one needs, and how they run side by side."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from recipes.abacus.calibrate import calibrate
from recipes.abacus.chunks import calibrate_chunks
from recipes.abacus.config import CONFIGS, Config
from recipes.abacus.evaluate import evaluate, load_family
from recipes.abacus.export import (
    export_language_model,
    export_prm,
    load_trained,
    load_trained_prm,
)
from recipes.abacus.label import label, read_samples
from recipes.abacus.prm import train_on_digits, train_prm
from recipes.abacus.sample import Writer
from recipes.abacus.tokenizer import build_tokenizer
from recipes.abacus.train import device, train_language_model


class Stage(NamedTuple):
    """One resumable piece of work."""

    needs: tuple[str, ...]
    run: Callable[[Config, Path], None]


def _draft(config: Config, out: Path) -> None:
    train_language_model("draft", config.draft, config.draft_schedule, out, seed=config.seed)


def _target(config: Config, out: Path) -> None:
    train_language_model("target", config.target, config.target_schedule, out, seed=config.seed)


def _label_draft(config: Config, out: Path) -> None:
    network: Any = load_trained("draft", config.draft, out)
    writer = Writer(network.to(device()), build_tokenizer())
    label(writer, out / "draft-train.jsonl", "train", config.draft_samples, 1_000_000)
    held_out = out / "draft-validation.jsonl"
    label(writer, held_out, "validation", config.calibration_samples, 2_000_000)


def _label_target(config: Config, out: Path) -> None:
    network: Any = load_trained("target", config.target, out)
    writer = Writer(network.to(device()), build_tokenizer())
    label(
        writer,
        out / "target-train.jsonl",
        "train",
        config.target_samples,
        3_000_000,
        chunk_size=250,
    )


def _prm_digits(config: Config, out: Path) -> None:
    train_on_digits(config, out)


def _prm(config: Config, out: Path) -> None:
    train_prm(config, out)


def _export(config: Config, out: Path) -> None:
    device()
    export_language_model("draft", config.draft, out, out / "models")
    export_language_model("target", config.target, out, out / "models")
    network = load_trained_prm(config.prm, out)
    calibrate(network, read_samples(out / "draft-validation.jsonl"))
    export_prm(network, config.prm, out / "models")


def _chunks(config: Config, out: Path) -> None:
    device()
    calibrate_chunks(out / "models", config.calibration_samples)


def _evaluate(config: Config, out: Path) -> None:
    device()
    family, path = load_family(out / "models"), out / "evaluation.json"
    evaluate(family, config.evaluation_problems, path, config.evaluation_thresholds)


STAGES: dict[str, Stage] = {
    "target": Stage((), _target),
    "draft": Stage((), _draft),
    "label-draft": Stage(("draft",), _label_draft),
    "label-target": Stage(("target",), _label_target),
    "prm-digits": Stage(("label-draft", "label-target"), _prm_digits),
    "prm": Stage(("prm-digits",), _prm),
    "export": Stage(("prm",), _export),
    "chunks": Stage(("export",), _chunks),
    "evaluate": Stage(("chunks",), _evaluate),
}


def run_stage(name: str, config_name: str, out: Path) -> None:
    """Runs one stage to its end, unless it has ended before."""
    if not is_done(name, out):
        STAGES[name].run(CONFIGS[config_name], out)
        (out / f"{name}.done").touch()


def is_done(name: str, out: Path) -> bool:
    """Whether a stage has ended."""
    return (out / f"{name}.done").exists()


def run_all(config_name: str, out: Path, jobs: int) -> None:
    """Runs every stage that has not ended, up to ``jobs`` at a time, each in its own process."""
    if jobs == 1:
        for name in STAGES:
            run_stage(name, config_name, out)
        return
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        while waiting := [name for name in STAGES if not is_done(name, out)]:
            for name, process in list(running.items()):
                if process.poll() is not None:
                    del running[name]
                    if process.returncode:
                        raise RuntimeError(f"stage {name!r} failed with {process.returncode}")
            for name in waiting:
                ready = all(is_done(need, out) for need in STAGES[name].needs)
                if ready and name not in running and len(running) < jobs:
                    running[name] = _start(name, config_name, out)
            time.sleep(0.5)
    finally:
        for process in running.values():
            process.terminate()


def _start(name: str, config_name: str, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-u", "-m", "recipes.abacus", "--out", str(out)]
    return subprocess.Popen([*command, "--config", config_name, "--stage", name])
