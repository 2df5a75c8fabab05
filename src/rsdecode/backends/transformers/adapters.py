"""Merges an adapter into its base model, with peft."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from rsdecode.core.errors import ModelLoadError
from rsdecode.text.adapter import Adapter
from rsdecode.text.pretrained import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_VOCABULARY_LAYERS = (".embed_tokens.weight", ".embed_tokens.modules_to_save.weight")


def require_peft(adapter: Adapter) -> None:
    """Check that peft is installed.

    Raises:
        ModelLoadError: it is not; says what the folder is.
    """
    try:
        import peft  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError:
        raise ModelLoadError(
            f"{str(adapter.folder)!r} is an adapter of the base model {adapter.base!r}, which peft "
            "loads: pip install 'rsdecode[peft]', or merge the two where peft is installed "
            "(merge_and_unload) and give the merged model"
        ) from None


def merge_adapter(model: PreTrainedModel, adapter: Adapter) -> PreTrainedModel:
    """The base model with the adapter's changes in its weights.

    Args:
        model: the base, of the class that the adapter was trained on.
        adapter: to merge.

    Raises:
        ModelLoadError: the adapter does not fit the model, or is of a kind that cannot be merged.
    """
    from peft import PeftModel

    said = f"the adapter {str(adapter.folder)!r} does not fit its base model {adapter.base!r}"
    remedy = f"set base_model_name_or_path in {adapter.folder.name}/adapter_config.json to the one "
    remedy += "it was trained on"
    _resize_vocabulary(model, adapter)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            tuned: Any = PeftModel.from_pretrained(model, str(adapter.folder))
        except (RuntimeError, ValueError, KeyError) as error:
            raise ModelLoadError(f"{said} ({first_line(error)}): {remedy}") from error
    missing = [str(w.message) for w in caught if "missing adapter keys" in str(w.message)]
    if missing:  # peft goes on without them, with the base model's weights
        raise ModelLoadError(f"{said} ({missing[0][:200]}): {remedy}")
    merge = getattr(tuned.base_model, "merge_and_unload", None)
    if merge is None:
        kind = adapter.settings.get("peft_type")
        raise ModelLoadError(
            f"{str(adapter.folder)!r} is a {kind} adapter, which cannot be merged into its base "
            "model: only LoRA and its like can be loaded here"
        )
    return merge()


def given_by(adapter: Adapter, weight: str) -> bool:
    """Whether the adapter brings a weight that the base model lacks, say a classifier's."""
    layer, _, part = weight.rpartition(".")
    names = (f"{layer}.{part}", f"{layer}.modules_to_save.{part}")
    return any(name.endswith(names) for name in adapter.shapes)


def _resize_vocabulary(model: Any, adapter: Adapter) -> None:
    """Give the base the rows of tokens that were added in training."""
    known: int = model.get_input_embeddings().weight.shape[0]
    for name, (rows, *_) in adapter.shapes.items():
        if name.endswith(_VOCABULARY_LAYERS) and rows != known:
            model.resize_token_embeddings(rows)
