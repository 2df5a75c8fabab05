"""Errors in the form that OpenAI's clients read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

RETRY_AFTER_S = 1
"""What a client that came at a bad time is told to wait."""


@dataclass(eq=False)
class ApiError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: of HTTP.
        message: what is wrong, and the remedy.
        type: OpenAI's word for the kind of error.
        param: the field of the request that it is about.
        code: OpenAI's word for this very error.
        headers: of the response.
    """

    status: int
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def __str__(self) -> str:
        return self.message

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body, which is also what a stream holds where it fails midway."""
        error = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A value that is wrong."""
    return ApiError(400, message, param=param, code=code)


def unsupported(name: str, why: str) -> ApiError:
    """A parameter that RSD cannot honour; it is refused, not ignored."""
    return invalid(f"{name!r} is not supported: {why}", name, "unsupported_parameter")


def prompt_too_long(context: int, tokens: int, param: str = "messages") -> ApiError:
    """A prompt that leaves no room for an answer, in vLLM's words, which clients look for."""
    return invalid(
        f"This model's maximum context length is {context} tokens. However, your request has "
        f"{tokens} input tokens. Please reduce the length of the input messages.",
        param,
        "context_length_exceeded",
    )


def unknown_model(name: str, why: str) -> ApiError:
    """A model's name that names none of ours."""
    message = f"The model {name!r} does not exist: {why}"
    return ApiError(404, message, param="model", code="model_not_found")


def overloaded(message: str) -> ApiError:
    """Too much at once; the client may try again soon."""
    return ApiError(
        429,
        message,
        "rate_limit_error",
        code="rate_limit_exceeded",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


def unavailable(message: str, retry_after_s: int = 5) -> ApiError:
    """Nothing can be answered at the moment."""
    return ApiError(
        503,
        message,
        "service_unavailable_error",
        code="service_unavailable",
        headers={"Retry-After": str(retry_after_s)},
    )


def failed(message: str) -> ApiError:
    """A model that failed while it answered."""
    return ApiError(502, message, "api_error", code="model_failed")


def timed_out(message: str) -> ApiError:
    """An answer that was not there by its deadline."""
    return ApiError(504, message, "timeout_error", code="deadline_exceeded")
