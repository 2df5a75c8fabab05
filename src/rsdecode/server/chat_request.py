"""A chat request: its conversation, as models read it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rsdecode.core.types import Message, MessageRole
from rsdecode.server.effort import EffortName
from rsdecode.server.errors import invalid, unsupported
from rsdecode.server.logprobs import MOST_TOP
from rsdecode.server.requests import SamplingRequest, check_text

ROLES: dict[str, MessageRole] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
MaxTokens = Annotated[int, Field(ge=1, le=1 << 31)]


class ContentPart(BaseModel):
    """A part of a message's content."""

    model_config = ConfigDict(extra="allow")

    type: str
    text: str | None = None


class ChatMessage(BaseModel):
    """One message. Thoughts of earlier answers are taken, and not shown to the models again."""

    model_config = ConfigDict(extra="allow")

    role: str
    content: str | list[ContentPart] | None = None
    reasoning: Any = None
    reasoning_content: Any = None


class ChatRequest(SamplingRequest):
    """The body of `POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_TOP)] | None = None
    reasoning_effort: EffortName | None = None
    separate_reasoning: bool | Literal["auto"] | None = None

    @property
    def limit(self) -> int | None:
        """Tokens of the answer at most; the newer of the two names wins."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def told(self) -> int | None:
        """How many likely tokens are told beside each of the answer's; None to tell of none.

        Raises:
            ApiError: some are asked for without those of the answer.
        """
        if self.logprobs:
            return self.top_logprobs or 0
        if self.top_logprobs:
            raise invalid("top_logprobs needs logprobs set to true", "top_logprobs")
        return None

    @property
    def parts_thoughts(self) -> bool:
        """Whether thoughts have fields of their own."""
        return self.separate_reasoning is not False


def conversation(messages: list[ChatMessage]) -> tuple[Message, ...]:
    """The messages as the models read them.

    Raises:
        ApiError: a message cannot be honoured, or the last is no question.
    """
    read = tuple(_message(message, f"messages.{i}") for i, message in enumerate(messages))
    if read[-1].role != "user":
        raise invalid(
            f"the last message must be the user's, the question; it is of role {read[-1].role!r}",
            "messages",
        )
    if not read[-1].content.strip():
        raise invalid("the question is empty: give the text of a problem", "messages")
    return read


def _message(message: ChatMessage, place: str) -> Message:
    role = ROLES.get(message.role)
    if role is None:
        if message.role in ("tool", "function"):
            raise unsupported(f"{place}.role", "RSD calls no tools")
        known = ", ".join(ROLES)
        raise invalid(f"role {message.role!r} must be one of {known}", f"{place}.role")
    extra = message.model_extra or {}
    for name in ("tool_calls", "function_call", "audio"):
        if extra.get(name):
            raise unsupported(f"{place}.{name}", "RSD reads and writes text")
    text = _text(message.content, place)
    if text is None and role != "assistant":
        raise invalid("the content must be text", f"{place}.content")
    return Message(role, check_text(text or "", f"{place}.content"))


def _text(content: str | list[ContentPart] | None, place: str) -> str | None:
    if content is None or isinstance(content, str):
        return content
    texts: list[str] = []
    for number, part in enumerate(content):
        if part.type not in ("text", "input_text", "output_text") or part.text is None:
            raise unsupported(
                f"{place}.content.{number}", f"a part of type {part.type!r} is no text"
            )
        texts.append(part.text)
    return "".join(texts)
