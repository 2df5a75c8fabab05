"""Reads conversations as chat servers take them: lists of `{"role", "content"}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

from rsdecode.core.errors import InputError
from rsdecode.core.types import Message, MessageRole

_ALIASES = {"developer": "system"}
"""What OpenAI calls the system role of newer models."""


def read_messages(value: object) -> list[Message]:
    """The messages of a conversation; a content is a text, or a list of parts that are all texts.

    Raises:
        InputError: it is no list of messages, a system message is not the first, or there is more
            to a message than text.
    """
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or not value:
        raise InputError('"messages" must be a list of {"role", "content"} that is not empty')
    found = [_message(item, at) for at, item in enumerate(cast("Sequence[Any]", value), start=1)]
    if any(message.role == "system" for message in found[1:]):
        raise InputError('"messages": a system message must be the first')
    return found


def check_text(text: str) -> str:
    """The text itself, if it is valid Unicode.

    Raises:
        InputError: it holds half a surrogate pair (bytes that were not UTF-8).
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{ascii(text)[:60]} is not valid Unicode text") from None
    return text


def check_question(text: str) -> str:
    """The question without surrounding white space.

    Raises:
        InputError: it is empty, or not text that can be written as UTF-8.
    """
    text = check_text(text).strip()
    if not text:
        raise InputError("the question is empty: give the text of a problem")
    return text


def _message(item: object, number: int) -> Message:
    if isinstance(item, Message):
        item = {"role": item.role, "content": item.content}
    name = f"message {number}"
    if not isinstance(item, Mapping):
        raise InputError(f'{name} must be an object with "role" and "content", not {item!r}')
    fields = cast("Mapping[str, Any]", item)
    role = _ALIASES.get(str(fields.get("role")), fields.get("role"))
    if role not in get_args(MessageRole):
        raise InputError(f"{name}: the role {role!r} must be system, user or assistant")
    if extra := sorted(k for k in fields if k not in ("role", "content") and fields[k]):
        raise InputError(f"{name}: only role and content are read, not {', '.join(extra)}")
    return Message(cast("MessageRole", role), check_text(_content(fields.get("content"), name)))


def _content(content: object, name: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise InputError(f"{name}: the content must be a text, not {content!r}")
    parts = cast("list[object]", content)
    found = (cast("dict[str, object]", p).get("text") for p in parts if isinstance(p, dict))
    texts = [text for text in found if isinstance(text, str)]
    if len(texts) < len(parts):
        raise InputError(
            f"{name}: of a content in parts only texts are read, "
            f'{{"type": "text", "text": ...}}; found {parts!s:.80}'
        )
    return "\n".join(texts)
