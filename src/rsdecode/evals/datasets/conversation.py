"""Questions with a conversation before them: the keys `messages` and `system` of a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args

from rsdecode.core.errors import InputError
from rsdecode.core.types import Message, MessageRole

QUESTION_KEYS = ("question", "problem", "Question")
REFUSED = ("image", "images", "tools")
"""What no model reads here: an answer without it would be to another question."""


def with_conversation(entry: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[Message, ...]]:
    """An object with its question as a text, and the messages before the question.

    `messages` may stand in place of the question, and end with it, or beside it, and end before it.
    A `system` text comes first.

    Raises:
        InputError: the messages are none, the last is not the user's, or there is more to the
            question than text.
    """
    for name in REFUSED:
        if entry.get(name):
            raise InputError(f"{name!r} beside a question: only text is read; leave the line out")
    messages = _messages(entry.get("messages"))
    system = entry.get("system")
    if system is not None and not isinstance(system, str):
        raise InputError(f'"system" must be a text, not {system!r}')
    if system:
        if messages and messages[0].role == "system":
            raise InputError('"system" and a system message in "messages": give one of them')
        messages.insert(0, Message("system", system))
    if entry.get("messages") is None:
        return entry, tuple(messages)
    name = next((name for name in QUESTION_KEYS if name in entry), None)
    last = messages[-1] if messages else None
    if name is None or (last is not None and last.role == "user" and last.content == entry[name]):
        if last is None or last.role != "user":
            raise InputError('"messages" must end with a message of the user: the question')
        return {**entry, "question": last.content}, tuple(messages[:-1])
    if last is not None and last.role == "user":
        raise InputError(f"{name!r} differs from the last message of the user: give one of them")
    return entry, tuple(messages)


def _messages(value: Any) -> list[Message]:
    if value is None:
        return []
    if not isinstance(value, list) or not value:
        raise InputError('"messages" must be a list of {"role", "content"} that is not empty')
    found = [_message(item, place) for place, item in enumerate(cast("list[Any]", value))]
    if any(message.role == "system" for message in found[1:]):
        raise InputError('"messages": a system message must be the first')
    return found


def _message(item: Any, place: int) -> Message:
    name = f"message {place + 1}"
    if not isinstance(item, dict):
        raise InputError(f'{name} must be an object with "role" and "content", not {item!r}')
    fields = cast("dict[str, Any]", item)
    role, content = fields.get("role"), fields.get("content")
    if role not in get_args(MessageRole):
        raise InputError(f"{name}: the role {role!r} must be system, user or assistant")
    if not isinstance(content, str):
        raise InputError(f"{name}: the content must be a text, not {content!r}")
    if any(fields.get(key) for key in fields.keys() - {"role", "content"}):
        extra = ", ".join(sorted(fields.keys() - {"role", "content"}))
        raise InputError(f"{name}: only role and content are read, not {extra}")
    return Message(cast("MessageRole", role), content)
