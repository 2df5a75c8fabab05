"""Questions with a conversation before them: the keys `messages` and `system` of a line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rsdecode.core.conversation import check_text, read_messages
from rsdecode.core.errors import InputError
from rsdecode.core.types import Message

QUESTION_KEYS = ("question", "problem", "Question")
REFUSED = re.compile(r"(decoded_)?(image|audio|video)s?(_(url|urls|path|paths|file|\d+))?|tools")
"""Keys of what no model reads here: an answer without it would be to another question."""


def with_conversation(entry: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[Message, ...]]:
    """An object with its question as a text, and the messages before the question.

    `messages` may stand in place of the question, and end with it, or beside it, and end before it.
    A `system` text comes first.

    Raises:
        InputError: the messages are none, the last is not the user's, or there is more to the
            question than text.
    """
    for name in entry:
        if entry[name] and REFUSED.fullmatch(name):
            raise InputError(f"{name!r} beside a question: only text is read; leave the line out")
    given = entry.get("messages")
    messages = [] if given is None else read_messages(given)
    system = entry.get("system")
    if system is not None and not isinstance(system, str):
        raise InputError(f'"system" must be a text, not {system!r}')
    if system:
        if messages and messages[0].role == "system":
            raise InputError('"system" and a system message in "messages": give one of them')
        messages.insert(0, Message("system", check_text(system)))
    if given is None:
        return entry, tuple(messages)
    name = next((name for name in QUESTION_KEYS if entry.get(name) is not None), None)
    last = messages[-1] if messages else None
    if name is None or (last is not None and last.role == "user" and last.content == entry[name]):
        if last is None or last.role != "user":
            raise InputError(
                '"messages" must end with a message of the user, the question: leave a reply that '
                "follows it out"
            )
        return {**entry, "question": last.content}, tuple(messages[:-1])
    if last is not None and last.role == "user":
        raise InputError(f"{name!r} differs from the last message of the user: give one of them")
    return entry, tuple(messages)
