"""Errors of requests to the engine, in words that say what to do."""

from __future__ import annotations

import torch

from rsdecode.backends.transformers.jobs import Decode, Prefill
from rsdecode.core.errors import Cancelled, OutOfMemory, PromptTooLong, RequestError, RsdError
from rsdecode.core.requests import Failed


def check_job(job: Decode | Prefill, vocabulary_size: int) -> None:
    """Refuse a job that a model cannot serve; on a GPU its ids could break all later work there.

    Raises:
        RequestError: no ids, ids or marks out of range.
    """
    if not job.ids:
        raise RequestError("a request without any token cannot be served: give it some text")
    lowest, highest = min(job.ids), max(job.ids)
    if lowest < 0 or highest >= vocabulary_size:
        raise RequestError(
            f"token id {lowest if lowest < 0 else highest} is not among the model's "
            f"{vocabulary_size}: its tokenizer is that of another model"
        )
    if isinstance(job, Prefill) and not (
        job.marks and min(job.marks) >= 0 and max(job.marks) < len(job.ids)
    ):
        raise RequestError(
            f"outputs are wanted at the positions {list(job.marks)} of {len(job.ids)} tokens: name "
            "at least one, each within them"
        )


def was_closed() -> Failed:
    """The reply to a request that the model did not live to serve."""
    return Failed(Cancelled("the model was closed"))


def not_prepared(error: Exception) -> RsdError:
    """What an exception before a request's first pass means for it."""
    if isinstance(error, RsdError):
        return error
    return RequestError(f"the request could not be prepared: {type(error).__name__}: {error}")


def model_failed(error: Exception, device: torch.device) -> RsdError:
    """What an exception of the model, or of what handles its outputs, means for a request."""
    if isinstance(error, RsdError):
        return error
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
        "or choose --dtype bfloat16 or int8"
    )


def not_a_number() -> RequestError:
    """The error of a model whose outputs are none."""
    return RequestError(
        "the model's logits are not numbers (NaN): its weights are damaged or overflow in this "
        "dtype; try --dtype float32"
    )


def too_long(tokens: int, name: str, max_context: int) -> PromptTooLong:
    """A question does not fit into a model's context."""
    return PromptTooLong(
        f"the question is {tokens} tokens long for {name}, whose context is {max_context}: "
        "shorten it, or choose a model with a longer context"
    )
