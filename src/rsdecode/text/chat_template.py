"""A tokenizer's chat template: renders conversations, and what can be found out about it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from rsdecode.core.errors import ModelLoadError
from rsdecode.core.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_ARGUMENTS: Mapping[str, Any] = {}
_SYSTEM, _ASKED = "rsd-system-marker", "rsd-question-marker"
_REPLIED, _ASKED_AGAIN = "rsd-reply-marker", "rsd-next-question-marker"
_GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")
"""transformers' own tag, which marks assistants' replies for training."""


class SystemRole(StrEnum):
    """What a chat template does with a system message. The set is closed."""

    TAKEN = "taken"
    """It renders it."""
    REFUSED = "refused"
    """It raises an error (Gemma 1 and 2, older Mistral)."""
    DROPPED = "dropped"
    """It renders the conversation without it."""


class ChatTemplate:
    """Renders conversations in the form that a model was trained on.

    A system message that the template refuses or drops goes before the first user message, in the
    same turn, after which follows a blank line.

    Args:
        tokenizer: whose template it is.
        arguments: of the template, such as `enable_thinking`.

    Attributes:
        moved_system: whether a system message has been put before a question.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any] = NO_ARGUMENTS
    ) -> None:
        self._tokenizer: Any = tokenizer
        self._arguments = dict(arguments)
        self.moved_system = False

    def __bool__(self) -> bool:
        """Whether there is a template at all."""
        return bool(self._tokenizer.chat_template)

    def render(self, messages: Sequence[Message], *, reply: bool) -> str:
        """The conversation as text; with `reply`, up to where a reply starts.

        Raises:
            ModelLoadError: the template refuses such messages.
        """
        has_system = any(message.role == "system" for message in messages)
        if has_system and self.system_role is not SystemRole.TAKEN:
            messages = with_system_before_question(messages)
            self.moved_system = True
        try:
            return self._render(messages, reply=reply)
        except Exception as error:  # templates raise errors of their own, by Jinja
            name = self._tokenizer.name_or_path or type(self._tokenizer).__name__
            raise ModelLoadError(
                f"the chat template of {name!r} refuses the messages "
                f"{[m.role for m in messages]} ({error}): change them, or the template"
            ) from error

    @cached_property
    def system_role(self) -> SystemRole:
        """What it does with a system message, found out by rendering one."""
        question = Message("user", _ASKED)
        text = self._try([Message("system", _SYSTEM), question], reply=True)
        if text is not None:
            return SystemRole.TAKEN if _SYSTEM in text else SystemRole.DROPPED
        alone = self._try([question], reply=True)
        return SystemRole.TAKEN if alone is None else SystemRole.REFUSED

    @cached_property
    def unused_arguments(self) -> tuple[str, ...]:
        """Those of its arguments that it never mentions."""
        if not self._arguments:
            return ()
        from jinja2 import TemplateSyntaxError, meta

        try:
            mentioned = meta.find_undeclared_variables(self._parsed)
        except TemplateSyntaxError:
            return ()  # rendering says what is wrong
        return tuple(name for name in self._arguments if name not in mentioned)

    @cached_property
    def literal_text(self) -> str:
        """All text that it may write itself, in pieces that null characters separate."""
        from jinja2 import TemplateSyntaxError, nodes

        if not self:
            return ""
        try:
            parsed = self._parsed
        except TemplateSyntaxError:
            return self._source
        pieces = [node.data for node in parsed.find_all(nodes.TemplateData)]
        pieces += [n.value for n in parsed.find_all(nodes.Const) if isinstance(n.value, str)]
        return "\0".join(pieces)

    def after_reply(self) -> list[str]:
        """What follows an assistant's reply at the end of a conversation, and before a question.

        Only what stands right behind it, up to the next message's text. Nothing where the template
        does not render such conversations.
        """
        reply = [Message("user", _ASKED), Message("assistant", _REPLIED)]
        found: list[str] = []
        for more in ([], [Message("user", _ASKED_AGAIN)]):
            text = self._try([*reply, *more], reply=False)
            if text is not None and _REPLIED in text:
                found.append(text.rpartition(_REPLIED)[2].partition(_ASKED_AGAIN)[0])
        return found

    @property
    def _source(self) -> str:
        """The template's text; the default one of a tokenizer that has several."""
        return cast(str, self._tokenizer.get_chat_template())

    @cached_property
    def _parsed(self) -> Any:
        from jinja2 import Environment

        environment = Environment(extensions=["jinja2.ext.loopcontrols"])
        return environment.parse(_GENERATION.sub("", self._source))

    def _try(self, messages: Sequence[Message], *, reply: bool) -> str | None:
        """The conversation; None where the template refuses it."""
        try:
            return self._render(messages, reply=reply)
        except Exception:  # noqa: BLE001 - templates raise errors of their own, by Jinja
            return None

    def _render(self, messages: Sequence[Message], *, reply: bool) -> str:
        turns = [{"role": m.role, "content": m.content} for m in messages]
        text = self._tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=reply, **self._arguments
        )
        return cast(str, text)


def with_system_before_question(messages: Sequence[Message]) -> list[Message]:
    """System messages as the beginning of the first user message, after which comes a blank line.

    A conversation without a user message is left as it is.
    """
    rest = [message for message in messages if message.role != "system"]
    first = next((i for i, message in enumerate(rest) if message.role == "user"), None)
    if first is None:
        return list(messages)
    texts = [message.content for message in messages if message.role == "system"]
    rest[first] = Message("user", "\n\n".join([*texts, rest[first].content]))
    return rest
