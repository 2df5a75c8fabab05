"""What can be read of a model without its weights, and without torch: config and tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsdecode.core.errors import ModelLoadError
from rsdecode.text.adapter import find_adapter, require_base

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

PLAIN_PROMPT = "Question: {question}\n\nAnswer: Let's think step by step.\n\n"
"""What a model without a chat template is given."""

UNLIMITED = 1 << 20
"""Context lengths from here on are a tokenizer's way of saying that it does not know."""


def read_config(
    path_or_id: str, revision: str | None = None, gguf_file: str | None = None
) -> PreTrainedConfig:
    """The model's configuration; of an adapter that of its base model, with the adapter's labels.

    Raises:
        ModelLoadError: there is none to be had.
    """
    from transformers import AutoConfig

    auto: Any = AutoConfig
    looks_like_path = path_or_id.startswith((".", "/", "~")) or path_or_id.count("/") > 1
    if looks_like_path and not Path(path_or_id).exists():
        raise ModelLoadError(f"model folder {path_or_id!r} does not exist: check the path")
    adapter = None if gguf_file else find_adapter(path_or_id, revision)
    if adapter is not None and not (adapter.folder / "config.json").is_file():
        require_base(adapter)
        config: Any = read_config(adapter.base)
        if adapter.labels is not None and adapter.labels != config.num_labels:
            config.num_labels = adapter.labels
        return config
    try:
        return auto.from_pretrained(path_or_id, revision=revision, **gguf_argument(gguf_file))
    except (OSError, ValueError, KeyError) as error:
        raise ModelLoadError(
            f"cannot read the configuration of model {path_or_id!r} ({first_line(error)}): give a "
            "folder with a config.json, or the id of a model on the hub that can be reached"
        ) from error


def load_tokenizer(
    path_or_id: str, revision: str | None = None, gguf_file: str | None = None
) -> PreTrainedTokenizerBase:
    """The model's tokenizer; that of the base model where an adapter has none beside it.

    Raises:
        ModelLoadError: there is none to be had.
    """
    from transformers import AutoTokenizer

    adapter = None if gguf_file else find_adapter(path_or_id, revision)
    if adapter is not None and not adapter.has_tokenizer:
        require_base(adapter)
        return load_tokenizer(adapter.base)
    auto: Any = AutoTokenizer
    reason = "it turns text into nothing"
    try:
        tokenizer: Any = auto.from_pretrained(
            path_or_id, revision=revision, **gguf_argument(gguf_file)
        )
        # Without the files, transformers makes an empty tokenizer of the right class.
        if tokenizer.encode("1 + 1 = 2", add_special_tokens=False):
            return tokenizer
    except Exception as error:  # noqa: BLE001 - every tokenizer library raises its own
        reason = first_line(error)
    raise ModelLoadError(
        f"cannot load a tokenizer from {path_or_id!r} ({reason}): the folder needs "
        "tokenizer.json, or the files of another tokenizer that transformers knows"
    )


def context_length(
    config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, cap: int | None
) -> int:
    """Tokens that the model was made for, or the user's cap if that is lower."""
    text: Any = config.get_text_config()
    limits: list[Any] = [getattr(text, "max_position_embeddings", None), cap]
    stated: Any = getattr(tokenizer, "model_max_length", None)
    limits.append(stated if stated and stated < UNLIMITED else None)
    return int(min((limit for limit in limits if limit), default=4096))


def gguf_argument(file: str | None) -> dict[str, str]:
    """The argument that names a GGUF file, where there is one."""
    return {} if file is None else {"gguf_file": file}


def first_line(error: BaseException) -> str:
    """The kind and the first line of an error of a library."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.:')}" if lines else type(error).__name__
