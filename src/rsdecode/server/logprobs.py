"""How likely each token of an answer was: from its steps to what OpenAI's clients read.

A step's tokens are told by the model that wrote it: the draft's under the draft's own distribution,
the target's under the target's. So they say how sure the writer was, not how likely RSD as a whole
is to write the answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rsdecode.core.errors import ConfigError
from rsdecode.core.protocols import Models, TellsTokens
from rsdecode.core.types import Role, Step, ToldToken
from rsdecode.server.errors import ApiError, failed, unsupported
from rsdecode.server.method_choice import Chosen

LEAST = -9999.0
"""What stands for the logarithm of 0, which JSON does not have; vLLM's number."""
MOST_TOP = 20


@dataclass(frozen=True, slots=True)
class AnswerToken:
    """A token of an answer, and who wrote it."""

    told: ToldToken
    source: Role


@dataclass(slots=True)
class ContentTokens:
    """Finds the tokens of an answer's content, from which thoughts and stop strings are taken out.

    A token that reaches into the content is one of it. Places are counted in the answer's text.
    """

    _tokens: deque[tuple[int, int, AnswerToken]] = field(
        default_factory=deque[tuple[int, int, AnswerToken]]
    )
    _spans: deque[tuple[int, int]] = field(default_factory=deque[tuple[int, int]])
    _length: int = 0

    def write(self, step: Step) -> None:
        """A step has entered the answer.

        Raises:
            ApiError: its model did not tell its tokens.
        """
        if step.segment.told is None and step.text:
            raise failed(f"the {step.source} did not tell how likely its tokens were")
        at = self._length
        for told in step.segment.told or ():
            end = at + len(told.text)
            self._tokens.append((at, end, AnswerToken(told, step.source)))
            at = end
        self._length += len(step.text)

    def expect(self, start: int, length: int) -> None:
        """So many characters from a place on are content, unless a stop string ends it before."""
        self._spans.append((start, start + length))

    def give(self, length: int) -> tuple[AnswerToken, ...]:
        """The tokens of the next characters of the content."""
        found: list[AnswerToken] = []
        while length > 0 and self._spans:
            start, end = self._spans.popleft()
            if end - start > length:
                self._spans.appendleft((start + length, end))
                end = start + length
            length -= end - start
            found += self._within(start, end)
        return tuple(found)

    def _within(self, start: int, end: int) -> list[AnswerToken]:
        """Tokens that reach between two places; they and those before are not looked at again."""
        found: list[AnswerToken] = []
        while self._tokens and self._tokens[0][0] < end:
            at, until, token = self._tokens.popleft()
            if max(until, at + 1) > start:
                found.append(token)
        return found


def check_method(chosen: Chosen) -> None:
    """See that a method writes steps whose tokens can be told.

    Raises:
        ApiError: it does not.
    """
    if chosen.kind == "speculative":
        why = "speculative decoding's tokens are the draft's and the target's at once"
        raise unsupported("logprobs", f"{why}; ask for 'rsd/target', whose answers are alike")


def check_writer(models: Models, role: Role) -> None:
    """See that a model tells how likely what it writes is; may ask its server, and wait.

    Raises:
        ApiError: it does not.
    """
    model = models.language_model(role)
    if not isinstance(model, TellsTokens):
        raise unsupported("logprobs", f"the {role} does not tell how likely its tokens are")
    try:
        model.check_tokens()
    except ConfigError as error:
        raise unsupported("logprobs", f"the {role}: {error}") from None


def chat_tokens(tokens: Sequence[AnswerToken]) -> list[dict[str, Any]]:
    """As chats and responses have them; `source` says which model wrote a token."""
    return [
        {
            **_token(token.told.text, token.told.logprob),
            "top_logprobs": [_token(text, logprob) for text, logprob in token.told.top],
            "source": token.source.value,
        }
        for token in tokens
    ]


def chat_logprobs(tokens: Sequence[AnswerToken]) -> dict[str, Any]:
    """The `logprobs` of a choice."""
    return {"content": chat_tokens(tokens), "refusal": None}


def completion_logprobs(tokens: Sequence[AnswerToken], offset: int, top: int) -> dict[str, Any]:
    """The `logprobs` of a choice in the older API.

    Args:
        tokens: of the text.
        offset: characters before it.
        top: how many of the likeliest are named in each token's place, the token itself too.
    """
    offsets: list[int] = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.told.text)
    named = [
        {text: _finite(logprob) for text, logprob in (*told.top, (told.text, told.logprob))}
        for told in (token.told for token in tokens)
    ]
    return {
        "tokens": [token.told.text for token in tokens],
        "token_logprobs": [_finite(token.told.logprob) for token in tokens],
        "top_logprobs": named if top else None,
        "text_offset": offsets,
    }


def _token(text: str, logprob: float) -> dict[str, Any]:
    spelled = None if "\ufffd" in text else list(text.encode("utf-8", "replace"))
    return {"token": text, "logprob": _finite(logprob), "bytes": spelled}


def _finite(logprob: float) -> float:
    return max(logprob, LEAST)


def wanted_top(top: int | None, param: str = "top_logprobs") -> int:
    """How many of the likeliest tokens a client wants to see at each place.

    Raises:
        ApiError: more than there are to be had.
    """
    if top is not None and not 0 <= top <= MOST_TOP:
        raise ApiError(
            400, f"{param} {top} must be from 0 to {MOST_TOP}", param=param, code="invalid_value"
        )
    return top or 0
