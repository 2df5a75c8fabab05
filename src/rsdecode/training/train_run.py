"""Trains a reward model: reads labels, runs the trainer, calibrates, saves, checks and measures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from rsdecode.core.counted import counted
from rsdecode.core.errors import ConfigError
from rsdecode.training.backbone import Backbone, load_backbone, scale_head, source_of
from rsdecode.training.calibrate import fit_scale
from rsdecode.training.corruption import corrupted_copies
from rsdecode.training.features import features_of
from rsdecode.training.measures import ScoredStep
from rsdecode.training.train_data import (
    Collator,
    Example,
    Examples,
    as_rows,
    class_weights,
    make_examples,
)
from rsdecode.training.train_plan import TrainPlan
from rsdecode.training.train_save import (
    largest_difference,
    require_equal,
    save_reward_model,
    score_loaded,
    score_plainly,
)
from rsdecode.training.train_settings import Part, TrainSettings

Tell = Callable[[str], None]
HELD_OUT = "held-out"
"""Name of the files of their features."""
CHECKED = 16
"""Solutions that are scored in transformers too."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training gave.

    Attributes:
        log: losses by update.
        scale: of the calibration: scale and shift; None where nothing was fitted.
        difference: largest, of rewards in our engine and in transformers.
        scored: held-out steps with the rewards of the saved model.
    """

    log: list[dict[str, Any]]
    scale: tuple[float, float] | None
    difference: float
    scored: list[ScoredStep]


def run_training(plan: TrainPlan, folder: Path, device: str, tell: Tell) -> Trained:
    """Train, or go on; the folder holds the reward model afterwards.

    Raises:
        ConfigError: nothing can be learnt from what fits.
        ModelLoadError: the backbone cannot be loaded, or the result is not read as it was trained.
        OutOfMemory: it does not fit.
        StorageError: something cannot be written.
    """
    settings = plan.settings
    backbone = load_backbone(
        source_of(plan.backbone, device, settings.dtype, folder, tell), settings
    )
    if backbone.continued:
        tell(f"{plan.backbone} is a reward model: its head is trained further")
    words = backbone.vocabulary
    copies = corrupted_copies(plan.train, settings.corrupted, settings.seed)
    if copies:
        tell(f"also learnt from: {len(copies):,} of the right solutions with digits replaced")
    train = make_examples([*plan.train, *copies], words, settings, backbone.context)
    held_out = make_examples(plan.held_out, words, settings, backbone.context)
    _tell_lengths(train, held_out, tell)
    if not train.examples:
        raise ConfigError(
            f"no labelled solution fits into {min(settings.max_tokens, backbone.context)} tokens: "
            "raise --max-length, or choose a backbone with a longer context"
        )
    run = _Run(backbone, train.examples, held_out.examples, settings, folder, tell)
    log = run.fit()
    scale = run.calibrate() if settings.calibrate and held_out.examples else None
    save_reward_model(run.backbone, settings, folder)
    difference, scored = check(folder, settings, held_out.examples or train.examples, device)
    return Trained(log, scale, difference, scored)


def _tell_lengths(train: Examples, held_out: Examples, tell: Tell) -> None:
    steps = sum(len(e.marks) for e in train.examples)
    wrong = steps - sum(sum(e.right) for e in train.examples)
    tell(
        f"{counted(len(train.examples), 'solution')} with {counted(steps, 'step')}, {wrong:,} of "
        "them wrong; "
        f"held out: {counted(len(held_out.examples), 'solution')}"
    )
    if cut := train.cut + held_out.cut:
        tell(f"longer than --max-length, and cut there: {counted(cut, 'solution')}")
    if too_long := train.too_long + held_out.too_long:
        tell(f"left out, as no step fits: {counted(too_long, 'solution')}")


@dataclass(slots=True)
class _Run:
    """One training at work.

    Attributes:
        backbone: after `fit` without adapters.
        train: what is learnt from.
        held_out: what the best checkpoint is chosen by, and the calibration.
    """

    backbone: Backbone
    train: Sequence[Example]
    held_out: Sequence[Example]
    settings: TrainSettings
    folder: Path
    tell: Tell

    def fit(self) -> list[dict[str, Any]]:
        """Train what is to be trained; returns the log."""
        if self.settings.part is Part.HEAD:
            return self._fit_head()
        from rsdecode.training.train_model import RewardModule
        from rsdecode.training.trainer import train as run

        settings, backbone = self.settings, self.backbone
        network: Any = backbone.network
        if settings.low_memory:
            network.gradient_checkpointing_enable()
        if settings.part is Part.LORA:
            network = _with_adapters(network, settings)
        log = run(
            RewardModule(
                network,
                backbone.head,
                settings.language_weight,
                backbone.words,
                settings.token_weight,
                compiled=settings.compiled,
            ),
            as_rows(self.train),
            as_rows(self.held_out),
            Collator(class_weights(self.train, settings)),
            settings=settings,
            folder=self.folder,
            tell=self.tell,
        )
        if settings.part is Part.LORA:
            network = network.merge_and_unload()
            whole = backbone.whole if backbone.whole is not backbone.network else network
            self.backbone = replace(backbone, network=network, whole=whole)
        return log

    def _fit_head(self) -> list[dict[str, Any]]:
        """Fit it to features; the head of a reward model is where the fit begins."""
        import torch

        from rsdecode.training.backbone import reward_logits
        from rsdecode.training.head_fit import Steps, fit_head

        head, weights = self.backbone.head, class_weights(self.train, self.settings)
        features = self._features(self.train, "train")
        right = [ok for example in self.train for ok in example.right]
        with torch.inference_mode():
            before = reward_logits(head(features.to(head.weight.device))).cpu()
        steps = Steps(
            features,
            torch.tensor([target for example in self.train for target in example.targets]),
            torch.tensor([weights[ok] for ok in right]),
            before.clone(),
            [example.solution.problem for example in self.train for _ in example.marks],
        )
        fitted = fit_head(steps, self.settings.seed)
        with torch.no_grad():
            head.weight[-1] += fitted.weight.to(head.weight.device)
            head.bias[-1] += fitted.bias
        why = "under which other problems are predicted best" if fitted.losses else (
            "as there are too few problems to try others"
        )  # fmt: skip
        self.tell(f"penalty {fitted.penalty:g}, {why}")
        return [
            {"penalty": penalty, "loss": known, "eval_loss": others}
            for penalty, (known, others) in fitted.losses.items()
        ]

    def calibrate(self) -> tuple[float, float] | None:
        """Fit scale and shift on the held-out steps, and fold them into the head."""
        logits = [value for own in self._logits() for value in own]
        scale = fit_scale(logits, [ok for e in self.held_out for ok in e.right])
        if scale is None:
            self.tell("too few held-out steps of either kind to calibrate: scores stay as they are")
        else:
            scale_head(self.backbone.head, *scale)
        return scale

    def _logits(self) -> list[list[float]]:
        """Of the held-out steps."""
        import torch

        from rsdecode.training.backbone import reward_logits
        from rsdecode.training.train_model import RewardModule, logits_of

        backbone = self.backbone
        if self.settings.part is not Part.HEAD:
            module = RewardModule(cast("Any", backbone.network), backbone.head)
            return logits_of(module, _batches(self.held_out, backbone))
        known = self._features(self.held_out, HELD_OUT)
        with torch.inference_mode():
            head: Any = backbone.head
            values = reward_logits(head(known.to(head.weight.device))).tolist()
        each = iter(cast("list[float]", values))
        return [[next(each) for _ in e.marks] for e in self.held_out]

    def _features(self, examples: Sequence[Example], name: str) -> Any:
        network = self.backbone.network
        return features_of(network, examples, self.folder / "features", name, self.tell)


def _with_adapters(network: Any, settings: TrainSettings) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise ConfigError(
            "--part lora needs peft, which is not installed: pip install 'rsdecode[train]'"
        ) from None
    config = LoraConfig(
        r=settings.lora_rank, lora_alpha=2 * settings.lora_rank, target_modules="all-linear"
    )
    return get_peft_model(network, config)


def _batches(examples: Sequence[Example], backbone: Backbone, size: int = 8) -> Iterator[Any]:
    collate = Collator((1.0, 1.0))
    network: Any = backbone.network
    for start in range(0, len(examples), size):
        batch = collate([{"example": e} for e in examples[start : start + size]])
        yield {name: tensor.to(network.device) for name, tensor in batch.items()}


def check(
    folder: Path, settings: TrainSettings, examples: Sequence[Example], device: str
) -> tuple[float, list[ScoredStep]]:
    """Load the result as everybody will, and compare it with transformers.

    Returns:
        The largest difference of rewards, and the rewards of the steps.

    Raises:
        ModelLoadError: it cannot be loaded, or the rewards differ.
    """
    from rsdecode.backends.transformers.load import LoadOptions
    from rsdecode.rewards.load import load_reward_model

    reward = load_reward_model(str(folder), LoadOptions(device=device, dtype="float32"))
    try:
        scores = asyncio.run(score_loaded(reward, examples))
    finally:
        reward.close()
    plain = score_plainly(folder, settings.layout, examples[:CHECKED])
    difference = largest_difference(scores[:CHECKED], plain)
    require_equal(difference, folder)
    scored = [
        ScoredStep(e.solution.problem, e.solution.id, e.solution.given + place, score, right)
        for e, own in zip(examples, scores, strict=True)
        for place, (score, right) in enumerate(zip(own, e.right, strict=True))
    ]
    return difference, scored
