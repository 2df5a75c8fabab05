"""What vLLM tells of a prompt's tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from rsdecode.backends.openai_http.asks import Ask
from rsdecode.backends.openai_http.faults import Fault
from rsdecode.backends.openai_http.reading import is_list

Told = tuple[float, bool]
"""The log-probability of a token of the prompt, and whether it was the model's first choice."""


def read_prompt(ask: Ask, listed: object) -> tuple[Told | None, ...]:
    """VLLM's `prompt_logprobs`: of each token of the prompt but the first.

    Raises:
        Fault: it is not of the right form.
    """
    ids = ask.prompt
    if not is_list(listed) or not isinstance(ids, tuple) or len(listed) != len(ids):
        raise Fault(f"the reply has no prompt_logprobs for the prompt: {str(listed)[:200]}")
    return tuple(
        None if entry is None else _told(token, entry)
        for token, entry in zip(ids, listed, strict=True)
    )


def _told(token: int, entry: object) -> Told:
    known = cast("Mapping[str, Any]", entry)
    try:
        of = known[str(token)]
        return float(of["logprob"]), of["rank"] == 1
    except (KeyError, TypeError, ValueError):
        raise Fault(
            f"the reply does not tell of the prompt's token {token}: {str(entry)[:200]}"
        ) from None
