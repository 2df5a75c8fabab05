"""Errors of requests to the engine, in words that say what to do."""

from __future__ import annotations

import torch

from rsdecode.core.errors import Cancelled, OutOfMemory, RequestError
from rsdecode.core.requests import Failed


def was_closed() -> Failed:
    """The reply to a request that the model did not live to serve."""
    return Failed(Cancelled("the model was closed"))


def model_failed(error: Exception, device: torch.device) -> RequestError:
    """What an exception of the model, or of what handles its outputs, means for a request."""
    if _is_out_of_memory(error):
        return _out_of_memory(device)
    return RequestError(f"the model failed: {type(error).__name__}: {error}")


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed; the CPU allocator raises a plain RuntimeError."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or "can't allocate memory" in str(error)


def _out_of_memory(device: torch.device) -> OutOfMemory:
    return OutOfMemory(
        f"{device} is out of memory: lower --slots, --concurrency or --max-tokens, "
        "or choose --dtype bfloat16"
    )


def not_a_number() -> RequestError:
    """The error of a model whose outputs are none."""
    return RequestError(
        "the model's logits are not numbers (NaN): its weights are damaged or overflow in this "
        "dtype; try --dtype float32"
    )
