"""Writes a trained reward model as an ordinary checkpoint; its rewards, ours and plain."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsdecode.core.errors import ModelLoadError, StorageError
from rsdecode.core.requests import Failed, Score
from rsdecode.core.types import Context, Message, Segment
from rsdecode.rewards.settings import SECTION
from rsdecode.rewards.value_head import SUMMARY
from rsdecode.training.backbone import Backbone, copy_tokenizer, reward_logits
from rsdecode.training.train_data import Example
from rsdecode.training.train_settings import Layout, TrainSettings

if TYPE_CHECKING:
    from rsdecode.rewards.prefix_scorer import PrefixScorer

LARGEST_DIFFERENCE = 1e-3
NEW = ".new"


def save_reward_model(backbone: Backbone, settings: TrainSettings, folder: Path) -> None:
    """Write weights, config.json and tokenizer; config.json comes last, when all else is there.

    Raises:
        StorageError: they cannot be written.
    """
    new = folder / NEW
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        if settings.layout is Layout.TOKEN_CLASSIFIER:
            model: Any = backbone.whole
            model.save_pretrained(new)
            config = json.loads((new / "config.json").read_text(encoding="utf-8"))
        else:
            config = _save_value_head(backbone, new)
        config[SECTION] = {settings.reads: settings.mark}
        copy_tokenizer(backbone.source, new)
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        (new / "config.json").write_text(text, encoding="utf-8")
        for path in sorted(new.iterdir(), key=lambda path: path.name == "config.json"):
            os.replace(path, folder / path.name)
        new.rmdir()
    except OSError as error:
        raise StorageError(
            f"{folder}: the trained model cannot be written: {error.strerror or error}. Its last "
            "checkpoint is kept: make room, then the same command goes on from there"
        ) from error


def _save_value_head(backbone: Backbone, folder: Path) -> dict[str, Any]:
    """Skywork's layout: the backbone under its own name, one linear layer `v_head.summary`."""
    from safetensors.torch import (
        save_file,  # pyright: ignore[reportUnknownVariableType]
    )

    network: Any = backbone.network
    prefix = network.base_model_prefix
    tensors = {f"{prefix}.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"{SUMMARY}.{name}": value for name, value in backbone.head.state_dict().items()}
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})
    config: dict[str, Any] = network.config.to_dict()
    family = type(network).__name__.removesuffix("Model")
    dtype = str(network.dtype).removeprefix("torch.")
    return config | {"architectures": [f"{family}ForPrmModel"], "dtype": dtype}


async def score_loaded(reward: PrefixScorer, examples: Sequence[Example]) -> list[list[float]]:
    """The rewards of the steps that examples learn from, by our engine.

    Raises:
        RequestError: one could not be scored.
    """
    requests = [
        Score(
            Context((Message("user", e.solution.question),)),
            tuple(Segment(text) for text in e.solution.texts),
            f"check/{place}",
        )
        for place, e in enumerate(examples)
    ]
    found: list[list[float]] = []
    for example, reply in zip(examples, await reward.score(requests), strict=True):
        if isinstance(reply, Failed):
            raise reply.error
        first = example.solution.given
        found.append(list(reply.rewards[first : first + len(example.marks)]))
    return found


def score_plainly(folder: Path, layout: Layout, examples: Sequence[Example]) -> list[list[float]]:
    """The same by transformers alone, from the files: no code of ours reads the model.

    Examples bring their own token ids and marks.
    """
    import torch
    from safetensors.torch import (
        load_file,  # pyright: ignore[reportUnknownVariableType]
    )
    from transformers import AutoModel, AutoModelForTokenClassification

    auto: Any = AutoModel
    if layout is Layout.TOKEN_CLASSIFIER:
        auto = AutoModelForTokenClassification
    model = auto.from_pretrained(folder, dtype=torch.float32).eval()
    tensors = load_file(folder / "model.safetensors") if layout is Layout.VALUE_HEAD else {}
    found: list[list[float]] = []
    for example in examples:
        ids = torch.tensor([example.ids])
        with torch.inference_mode():
            if layout is Layout.TOKEN_CLASSIFIER:
                outputs = model(input_ids=ids, use_cache=False).logits[0, list(example.marks)]
            else:
                hidden = model(input_ids=ids, use_cache=False).last_hidden_state
                weight, bias = (tensors[f"{SUMMARY}.{part}"].float() for part in ("weight", "bias"))
                outputs = hidden[0, list(example.marks)] @ weight.T + bias
            found.append(reward_logits(outputs).sigmoid().tolist())
    return found


def largest_difference(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float:
    """Of two sets of rewards."""
    pairs = (
        (a, b)
        for mine, theirs in zip(one, other, strict=True)
        for a, b in zip(mine, theirs, strict=True)
    )
    return max((abs(a - b) for a, b in pairs), default=0.0)


def require_equal(difference: float, folder: Path) -> None:
    """Refuse a checkpoint that is not read as it was trained.

    Raises:
        ModelLoadError: rewards differ by more than `LARGEST_DIFFERENCE`.
    """
    if difference > LARGEST_DIFFERENCE:
        raise ModelLoadError(
            f"{folder}: its rewards in this engine and in transformers differ by {difference:.4f}: "
            "the checkpoint is kept, but must not be used; please report this with its config.json"
        )
