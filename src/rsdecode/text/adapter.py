"""Folders that hold an adapter (LoRA and the like) of a base model, not a whole model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from rsdecode.core.errors import ModelLoadError

CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
_LABEL_LAYERS = (".score.weight", ".classifier.weight", ".modules_to_save.weight")


@dataclass(frozen=True)
class Adapter:
    """An adapter on this machine.

    Attributes:
        folder: with adapter_config.json and the adapter's weights.
        settings: of adapter_config.json.
        base: folder or hub id of the model that it was trained on.
    """

    folder: Path
    settings: dict[str, Any]
    base: str

    @property
    def task(self) -> str:
        """What it was trained for, in peft's words: CAUSAL_LM, TOKEN_CLS, SEQ_CLS; or empty."""
        return str(self.settings.get("task_type") or "")

    @property
    def has_tokenizer(self) -> bool:
        """Whether a tokenizer lies beside it."""
        return any((self.folder / name).is_file() for name in _TOKENIZERS)

    @cached_property
    def shapes(self) -> dict[str, list[int]]:
        """The shape of each of its tensors; none of adapters in torch's format."""
        path = self.folder / _WEIGHTS[0]
        if not path.is_file():
            return {}
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return {name: entry["shape"] for name, entry in header.items() if "shape" in entry}

    @property
    def labels(self) -> int | None:
        """How many labels its classification layer has; None without one."""
        for name, shape in self.shapes.items():
            if name.endswith(_LABEL_LAYERS) and self.task in ("TOKEN_CLS", "SEQ_CLS"):
                return shape[0]
        return None


def find_adapter(path_or_id: str, revision: str | None = None) -> Adapter | None:
    """The adapter in a folder or at a hub id; None where there is a whole model.

    Raises:
        ModelLoadError: the folder holds both, or the adapter does not name its base model.
    """
    folder = Path(path_or_id)
    if not folder.is_dir():
        found = _on_hub(path_or_id, revision)
        if found is None:
            return None
        folder = found
    path = folder / CONFIG
    if not path.is_file():
        return None
    try:
        settings: Any = json.loads(path.read_text(encoding="utf-8"))
        base = settings["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError):
        base, settings = None, {}
    if not base or not isinstance(base, str):
        raise ModelLoadError(
            f"{path_or_id!r} holds an adapter whose {CONFIG} does not name its base model: set "
            "base_model_name_or_path there to the folder or hub id of the model it was trained on"
        )
    if not any((folder / name).is_file() for name in _WEIGHTS):
        raise ModelLoadError(
            f"{path_or_id!r} holds the {CONFIG} of an adapter of {base!r}, but not its weights "
            f"({' or '.join(_WEIGHTS)}): copy the whole folder"
        )
    if any((folder / name).is_file() for name in ("model.safetensors.index.json", *_whole(folder))):
        raise ModelLoadError(
            f"{path_or_id!r} holds both a whole model and an adapter of {base!r}: move one of them "
            f"to a folder of its own (an adapter is {CONFIG} and {_WEIGHTS[0]})"
        )
    return Adapter(folder, settings, _place(base, folder))


def require_base(adapter: Adapter) -> None:
    """Check that a base model that is named by a path is there.

    Raises:
        ModelLoadError: it is not.
    """
    base = adapter.base
    is_path = base.startswith((".", "/", "~")) or base.count("/") > 1
    if is_path and not Path(base).is_dir():
        raise ModelLoadError(
            f"{str(adapter.folder)!r} is an adapter of the base model {base!r}, which is not here: "
            f"set base_model_name_or_path in its {CONFIG} to where that model is"
        )


def _whole(folder: Path) -> list[str]:
    """The weights files that hold more than a value head, which TRL saves beside adapters."""
    if (folder / "model.safetensors").is_file():
        with (folder / "model.safetensors").open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        names = [name for name in header if name != "__metadata__"]
        if not all(name.startswith("v_head.") for name in names):
            return ["model.safetensors"]
    index = folder / "pytorch_model.bin.index.json"
    return [index.name] if index.is_file() else []


def _place(base: str, folder: Path) -> str:
    """The base model's folder, also where it is named relative to the adapter's; or its hub id."""
    if not Path(base).is_dir() and (folder / base).is_dir():
        return str(folder / base)
    return base


def _on_hub(path_or_id: str, revision: str | None) -> Path | None:
    """The folder of a hub repository that has an adapter and no model, downloaded."""
    if path_or_id.count("/") > 1 or path_or_id.startswith((".", "/", "~")):
        return None
    from transformers.utils import hub

    def file(name: str) -> str | None:
        return cast(Any, hub).cached_file(
            path_or_id,
            name,
            revision=revision,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            _raise_exceptions_for_gated_repo=False,
        )

    try:
        if file("config.json") is not None or (found := file(CONFIG)) is None:
            return None
        for name in (*_WEIGHTS, *_TOKENIZERS):
            file(name)
    except (OSError, ValueError):
        return None  # whoever reads the configuration says why
    return Path(found).parent
