"""The Trainer of transformers, set up for reward models: it trains, keeps checkpoints, goes on."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import (
    load_model,  # pyright: ignore[reportUnknownVariableType]
)
from torch import nn
from torch.utils.data import Sampler
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from rsdecode.core.errors import ConfigError, OutOfMemory, StorageError
from rsdecode.training.muon import MuonWithAdamW
from rsdecode.training.train_settings import Optimiser, TrainSettings

CHECKPOINTS, STATE = "checkpoints", "trainer_state.json"
GROUPED = 16
"""Batches whose rows are grouped by length."""
Tell = Callable[[str], None]


class _Stopping(EarlyStoppingCallback):
    """Early stopping that a resumed training remembers: it stops again where it had stopped."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            control.should_training_stop = True


class _Telling(TrainerCallback):
    """Tells the losses as they are logged."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        logs = logs or {}
        done = f"update {state.global_step:,} of {state.max_steps:,}"
        if "eval_loss" in logs:
            self._tell(f"{done}: loss on held-out problems {logs['eval_loss']:.4f}")
        elif "loss" in logs:
            self._tell(f"{done}: loss {logs['loss']:.4f}")


class _Alike(Sampler[int]):
    """Rows in random order, those of like length together; the same ones again after a kill.

    The trainer's own grouping draws from the state of all random numbers: a resumed epoch has
    another order, so that it sees some rows twice and others never.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self._lengths, self._batch, self._seed = lengths, batch, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Take the order of another epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        draw, size = random.Random(f"{self._seed}/{self._epoch}"), self._batch
        order = draw.sample(range(len(self._lengths)), len(self._lengths))
        chunk = size * GROUPED
        batches: list[list[int]] = []
        for start in range(0, len(order), chunk):
            alike = sorted(order[start : start + chunk], key=self._lengths.__getitem__)
            batches += [alike[at : at + size] for at in range(0, len(alike), size)]
        draw.shuffle(batches)
        batches.sort(key=lambda batch: len(batch) < size)  # a short one would shift the others
        return iter([row for batch in batches for row in batch])


class _Trainer(Trainer):
    """The trainer with an order of rows that a resumed training keeps."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        given: Any = vars(self)["train_dataset"] if train_dataset is None else train_dataset
        lengths = [len(row["input_ids"]) for row in given]
        return _Alike(lengths, self.args.train_batch_size, self.args.seed)


def train(
    module: nn.Module,
    rows: Sequence[Any],
    held_out: Sequence[Any],
    collate: Callable[[Any], Any],
    *,
    settings: TrainSettings,
    folder: Path,
    tell: Tell,
) -> list[dict[str, Any]]:
    """Train a module in place, from its last whole checkpoint on, and load the best of them.

    Args:
        module: its output has a `loss`.
        rows: to train on.
        held_out: to choose the best checkpoint by, and when to stop; may be empty.
        collate: makes a batch of rows.
        settings: of the training.
        folder: of the trained model; checkpoints are kept below it.
        tell: is told of losses.

    Returns:
        The log: losses by update.

    Raises:
        ConfigError: the backbone cannot be compiled.
        OutOfMemory: a batch does not fit.
        StorageError: a checkpoint cannot be written.
    """
    updates = max(1, round(settings.epochs * len(rows) / settings.batch))
    arguments = _arguments(module, settings, folder, updates, measured=bool(held_out))
    callbacks: list[TrainerCallback] = [_Telling(tell)]
    if held_out and settings.patience:
        callbacks.append(_Stopping(settings.patience))
    trainer: Any = _Trainer(
        model=module,  # pyright: ignore[reportArgumentType] - any module with a loss will do
        args=arguments,
        data_collator=collate,
        optimizers=(_optimiser(module, settings), None),
        train_dataset=list(rows),  # pyright: ignore[reportArgumentType]
        eval_dataset=list(held_out) or None,  # pyright: ignore[reportArgumentType]
        callbacks=callbacks,
    )
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)
    start = last_whole_checkpoint(folder / CHECKPOINTS)
    if start is not None and (state := _state_of(start))["global_step"] >= updates:
        return _take_best(module, start, state)
    if start is not None:
        tell(f"goes on from {start.name}")
    with _failures_told(settings, folder):
        trainer.train(resume_from_checkpoint=None if start is None else str(start))
    return trainer.state.log_history


def _arguments(
    module: nn.Module,
    settings: TrainSettings,
    folder: Path,
    updates: int,
    *,
    measured: bool,
) -> TrainingArguments:
    """Of the trainer; `measured`: whether held-out problems choose the best checkpoint."""
    every = max(1, updates // settings.evaluations)
    at_once = max(1, settings.batch // settings.accumulate)
    return TrainingArguments(
        output_dir=str(folder / CHECKPOINTS),
        max_steps=updates,
        per_device_train_batch_size=at_once,
        per_device_eval_batch_size=at_once,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=max(1, updates // 20),
        weight_decay=0.01,
        max_grad_norm=1.0,
        logging_steps=max(1, every // 4),
        eval_strategy="steps" if measured else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=measured,
        metric_for_best_model="eval_loss" if measured else None,
        greater_is_better=False if measured else None,
        restore_callback_states_from_checkpoint=True,
        seed=settings.seed,
        data_seed=settings.seed,
        use_cpu=next(module.parameters()).device.type == "cpu",
        prediction_loss_only=True,
        label_names=["targets"],
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=[],
        dataloader_pin_memory=False,
    )


@contextmanager
def _failures_told(settings: TrainSettings, folder: Path) -> Generator[None]:
    """What the libraries raise of memory and disk, as errors that say what helps.

    Raises:
        ConfigError, OutOfMemory, StorageError: see `train`.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise _too_large(settings) from error
    except (RuntimeError, MemoryError) as error:
        if settings.compiled and type(error).__module__.startswith(("torch._dynamo", "torch._ind")):
            first = str(error).strip().partition("\n")[0]
            raise ConfigError(f"--compile: torch.compile failed ({first}): leave it out") from error
        if isinstance(error, MemoryError) or "alloc" in str(error).lower():
            raise _too_large(settings) from error
        if reason := _disk_failure(str(error)):
            raise _unwritten(folder, reason) from error
        raise
    except OSError as error:
        raise _unwritten(folder, error.strerror or str(error)) from error


def _optimiser(module: nn.Module, settings: TrainSettings) -> MuonWithAdamW | None:
    """None for the trainer's own, which is AdamW."""
    if settings.optimiser is Optimiser.ADAMW:
        return None
    return MuonWithAdamW(module, settings.learning_rate)


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The latest checkpoint that was written to its end.

    The trainer's state is the last file that it writes; where a kill came before, there is none.
    """
    found: dict[int, Path] = {}
    for path in folder.glob("checkpoint-*"):
        number = path.name.rpartition("-")[2]
        try:
            state = _state_of(path)
        except (OSError, ValueError):
            continue
        if number.isdecimal() and state.get("global_step") == int(number):
            found[int(number)] = path
    return found[max(found)] if found else None


def _state_of(checkpoint: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    return state


def _take_best(module: nn.Module, last: Path, state: dict[str, Any]) -> list[dict[str, Any]]:
    """Load what a training that had ended chose; resumed, the trainer would do one more update."""
    named: str | None = state.get("best_model_checkpoint")
    best = last if named is None else last.parent / Path(named).name
    load_model(module, best / "model.safetensors")
    return state["log_history"]


def _too_large(settings: TrainSettings) -> OutOfMemory:
    return OutOfMemory(
        f"a batch of {settings.batch} in {settings.accumulate} parts does not fit into memory: "
        "raise --accumulate, lower --batch or --max-length, give --low-memory, or train less with "
        "--part lora, layers or head; the same command goes on from its last checkpoint"
    )


def _disk_failure(message: str) -> str | None:
    """What an error of the libraries says of the disk; None where it says nothing.

    torch.save (2.13) tells of a full disk as "[enforce fail at inline_container.cc:672] .
    unexpected pos 917312 vs 917200": fewer bytes came out than were written.
    """
    if "inline_container" in message:
        return "No space left on device, or another failure of its disk"
    return message if "write" in message.lower() or "No space" in message else None


def _unwritten(folder: Path, reason: str) -> StorageError:
    return StorageError(
        f"{folder}: a checkpoint cannot be written: {reason}. The one before is kept: make room, "
        "then the same command goes on from there"
    )
