"""Any decoder-only Hugging Face model in this process: continuous batching, KV reuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rsdecode.backends.transformers.model import LocalModel, load_model

__all__ = ["LocalModel", "load_model"]


def __getattr__(name: str) -> object:
    """Import torch and transformers only when a model is wanted."""
    if name in __all__:
        from rsdecode.backends.transformers import model

        return getattr(model, name)
    raise AttributeError(name)
