"""`rsd prm train`: a reward model from labelled steps."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rsdecode.cli.messages import InterruptedRun, print_note, print_warning
from rsdecode.cli.option_file import OptionFile
from rsdecode.core.counted import counted
from rsdecode.core.errors import ConfigError
from rsdecode.core.segment import unescaped


def command(
    *,
    labels: Annotated[
        list[Path],
        typer.Option("--labels", help="Folder of rsd prm label, or a file; may be given again."),
    ],
    backbone: Annotated[
        str, typer.Option("--backbone", help="Model to start from: hf:ID_OR_PATH, abacus:target.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the reward model.")],
    layout: Annotated[
        str, typer.Option("--layout", help="value-head (Skywork) or token-classifier (TRL).")
    ] = "value-head",
    part: Annotated[
        str,
        typer.Option(
            "--part",
            help="What is trained: full, lora (merged at the end), layers (--new-layers and the "
            "head) or head.",
        ),
    ] = "full",
    mark: Annotated[
        str, typer.Option("--mark", help="Text after each step, where its reward is read.")
    ] = "\\n",
    epochs: Annotated[float, typer.Option("--epochs", help="Passes over the labels.")] = 3.0,
    rate: Annotated[
        float | None,
        typer.Option("--rate", help="Peak learning rate; default 2e-5, lora 2e-4, layers 1e-3."),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", help="Solutions of one update.")] = 16,
    accumulate: Annotated[
        int, typer.Option("--accumulate", help="Parts that a batch is computed in, for memory.")
    ] = 1,
    max_length: Annotated[
        int, typer.Option("--max-length", help="Tokens; longer solutions lose their last steps.")
    ] = 2048,
    soft: Annotated[
        bool, typer.Option("--soft", help="Learn the share of completions that end right.")
    ] = False,
    after_error: Annotated[
        bool, typer.Option("--after-error", help="Learn from steps after a wrong one as well.")
    ] = False,
    language_weight: Annotated[
        float, typer.Option("--language-weight", help="Of the language-model loss on right steps.")
    ] = 0.0,
    corrupted: Annotated[
        float,
        typer.Option(
            "--corrupted",
            help="Copies with replaced digits of each right solution, as further wrong steps.",
        ),
    ] = 0.0,
    token_weight: Annotated[
        float, typer.Option("--token-weight", help="Of the loss at single tokens, their mean.")
    ] = 0.0,
    optimiser: Annotated[
        str, typer.Option("--optimiser", help="adamw, or muon, for --part full or layers.")
    ] = "adamw",
    balance: Annotated[
        bool, typer.Option("--balance", help="Wrong and right steps weigh the same.")
    ] = False,
    lora_rank: Annotated[int, typer.Option("--lora-rank", help="Of the adapters.")] = 16,
    new_layers: Annotated[
        int,
        typer.Option("--new-layers", help="Put behind the backbone's, for --part full or layers."),
    ] = 0,
    widen: Annotated[
        bool,
        typer.Option(
            "--widen",
            help="With further dimensions in which the new layers find which token was read.",
        ),
    ] = False,
    held_out: Annotated[
        float, typer.Option("--held-out", help="Share of the problems, of files that bring none.")
    ] = 0.1,
    evaluations: Annotated[
        int, typer.Option("--evaluations", help="On held-out problems, and checkpoints, in all.")
    ] = 10,
    patience: Annotated[
        int, typer.Option("--patience", help="Evaluations without a better loss; 0: never stop.")
    ] = 3,
    low_memory: Annotated[
        bool, typer.Option("--low-memory", help="Compute activations again, for long solutions.")
    ] = False,
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile", help="Faster updates after a minute or two; needs a C++ compiler."
        ),
    ] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate/--no-calibrate", help="On the held-out problems.")
    ] = True,
    boundary: Annotated[
        str | None, typer.Option("--boundary", help="Refuse labels whose steps end otherwise.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of order, head and adapters.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1.")] = "auto",
    dtype: Annotated[
        str, typer.Option("--dtype", help="float32, or bfloat16 on a GPU.")
    ] = "float32",
    _config: OptionFile = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout at the end.")
    ] = False,
) -> None:
    """Train a process reward model on labelled steps.

    The folder holds an ordinary checkpoint afterwards: `--reward hf:OUT` reads it, config.json says
    where. Training keeps checkpoints; the same command goes on after a kill. It stops when the loss
    on held-out problems gets no better, takes the best checkpoint, calibrates it, and checks that
    plain transformers gives the same rewards. README.md holds the measures, loss.svg the losses.

    Exit code: 0 trained; 2 the options, labels or the backbone are wrong; 130 interrupted (143 by
    SIGTERM).
    """
    from rsdecode.training.train_plan import DONE, claim, plan_training, read_training
    from rsdecode.training.train_settings import Layout, Optimiser, Part, TrainSettings

    if layout not in list(Layout):
        raise ConfigError(f"--layout {layout}: use {' or '.join(Layout)}")
    if part not in list(Part):
        raise ConfigError(f"--part {part}: use one of {', '.join(Part)}")
    if optimiser not in list(Optimiser):
        raise ConfigError(f"--optimiser {optimiser}: use {' or '.join(Optimiser)}")
    settings = TrainSettings(
        Layout(layout), Part(part), unescaped(mark), epochs, rate, batch, accumulate, max_length,
        soft, after_error, language_weight, corrupted, token_weight,
        Optimiser(optimiser), balance, lora_rank, new_layers, widen, evaluations, patience,
        low_memory, compiled, calibrate, dtype, seed,
    )  # fmt: skip
    _require_libraries()
    plan = plan_training(settings, backbone, labels, boundary, held_out)
    for file, line in plan.bad[:5]:
        print_warning(f"{file}, line {line.number}: {line.reason}")
    if len(plan.bad) > 5:
        print_warning(f"and {counted(len(plan.bad) - 5, 'line')} more without usable labels")
    typed = shlex.join(["rsd", *sys.argv[1:]])
    if claim(out, plan, typed):
        print_note(f"{out} is trained already")
        about = read_training(out)
    else:
        about = _train(plan, out, device, typed)
    assert about[DONE]
    if json_output:
        print(json.dumps({**about, "out": str(out)}), flush=True)


def _require_libraries() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("torch", "transformers", "accelerate") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"rsd prm train needs {' and '.join(missing)}, not installed: "
            "pip install 'rsdecode[train]'"
        )


def _train(plan: Any, out: Path, device: str, typed: str) -> dict[str, Any]:
    from rsdecode.text.quiet import quiet_libraries
    from rsdecode.training.train_card import draw_losses, measures_of, write_card
    from rsdecode.training.train_plan import DONE, write_training
    from rsdecode.training.train_run import run_training

    try:
        with quiet_libraries():
            trained = run_training(plan, out, device, print_note)
    except KeyboardInterrupt:
        raise InterruptedRun(
            "interrupted: the same command goes on from the last checkpoint"
        ) from None
    write_card(out, plan, trained, typed)
    if not draw_losses(out, trained.log):
        print_note("no loss.svg: matplotlib is not installed (pip install 'rsdecode[report]')")
    about: dict[str, Any] = {
        "key": plan.key,
        "command": typed,
        DONE: True,
        "boundary": plan.boundary,
        "calibration": trained.scale,
        "difference_to_transformers": trained.difference,
        "measures": measures_of(trained),
        "log": trained.log,
    }
    write_training(out, about)
    roc = about["measures"]["area_under_roc"]
    known = "" if roc is None else f"area under ROC {roc['estimate']:.3f} on held-out problems; "
    print_note(f"{out}: {known}rsd solve --reward hf:{out} uses it, rsd prm test measures it")
    return about
