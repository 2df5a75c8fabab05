"""What llama.cpp's replies tell of the tokens that it wrote."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any, cast

from rsdecode.backends.llama_cpp.pieces import Pieces
from rsdecode.backends.llama_cpp.words import Ids
from rsdecode.backends.openai_http.asks import Ask
from rsdecode.backends.openai_http.reading import entry, is_list, optional
from rsdecode.backends.openai_http.streams import LlamaCppStream, Part

TOLD = "completion_probabilities"


class PieceStream(LlamaCppStream):
    """Events of llama.cpp's own route, with the tokens of characters that it leaves out.

    Args:
        pieces: of the vocabulary.
    """

    def __init__(self, pieces: Pieces) -> None:
        super().__init__()
        self._pieces = pieces
        self._told: list[object] = []

    def add(self, event: object) -> Part:
        """See `Stream`."""
        told = optional(event, TOLD)
        self._told += told if is_list(told) else []
        return super().add(event)

    def reply(self) -> object:
        """See `Stream`."""
        reply: Any = super().reply()
        return {**cast("dict[str, Any]", reply), TOLD: self._told} if reply else reply

    def _whole(self, text: str, told: Ids, missing: int) -> Ids:
        if len(told) != 1:
            return ()
        return self._pieces.completed(text, told[0], missing) or ()


def asked_logprobs(ask: Ask) -> dict[str, Any]:
    """The log-probabilities under which tokens are drawn; of greedy ones the model's own.

    Where tokens are to be told, which is under the model's own law, those are what is asked for.
    """
    own = ask.told is not None or not ask.sampling.temperature
    return {"n_probs": ask.candidates or 1, "post_sampling_probs": not own}


def told_tokens(reply: object) -> Sequence[object]:
    """What is told of the tokens that were written."""
    told = optional(reply, TOLD)
    return told if is_list(told) else ()


def written_logprobs(reply: object, ids: Sequence[int]) -> tuple[float, ...] | None:
    """Those of the tokens `ids`; None where not all of them are told.

    llama.cpp tells of tokens after which no character is unfinished, and unstreamed of none that
    was taken for the start of a stop string.
    """
    told = told_tokens(reply)
    if [entry(item, "id") for item in told] != list(ids):
        return None
    return tuple(_logprob(item) for item in told)


def _logprob(item: object) -> float:
    told = optional(item, "logprob")
    if told is not None:
        return float(cast("float", told))
    return math.log(max(float(entry(item, "prob")), sys.float_info.min))
