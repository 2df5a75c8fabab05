"""A GGUF file as a backbone: its weights dequantised once, as an ordinary checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rsdecode.core.errors import StorageError

FOLDER = "backbone"
"""Below that of the training."""


def dequantised(
    file: Path, folder: Path, device: str, dtype: str, tell: Callable[[str], None]
) -> Path:
    """The folder with the file's weights; it is made where it is not there yet.

    Args:
        file: GGUF.
        folder: of the training.
        device: to load onto.
        dtype: of the weights.
        tell: is told, as it takes long.

    Raises:
        ModelLoadError: the file cannot be read, or is of a family that transformers cannot read.
        StorageError: the folder cannot be written.
    """
    made = folder / FOLDER
    if (made / "config.json").is_file():
        return made
    from transformers import AutoModelForCausalLM

    from rsdecode.backends.transformers.load import LoadOptions, load_pretrained
    from rsdecode.text.pretrained import load_tokenizer

    tell(f"{file}: its weights are dequantised once, into {made}; that takes minutes")
    place, name = str(file.parent), file.name
    options = LoadOptions(device=device, dtype=dtype)
    model: Any = load_pretrained(AutoModelForCausalLM, place, options, name)
    tokenizer: Any = load_tokenizer(place, None, name)
    if (quantizer := getattr(model, "hf_quantizer", None)) is not None:
        # transformers 5.24 takes its dequantised weights for quantised ones, and will not save them
        quantizer.remove_quantization_config(model)
    new = made.with_suffix(".new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        model.save_pretrained(new)
        tokenizer.save_pretrained(new)
        shutil.rmtree(made, ignore_errors=True)
        new.replace(made)
    except OSError as error:
        raise StorageError(
            f"{made}: cannot be written: {error.strerror or error}: make room, then the same "
            "command goes on"
        ) from error
    return made
