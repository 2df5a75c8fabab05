"""A tokenizer's chat template: renders conversations, and what can be found out about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from rsdecode.core.errors import ConfigError, ModelLoadError
from rsdecode.core.types import LastMessage, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_ARGUMENTS: Mapping[str, Any] = {}
_SYSTEM, _ASKED = "rsd-system-marker", "rsd-question-marker"
_REPLIED, _ASKED_AGAIN = "rsd-reply-marker", "rsd-next-question-marker"
_THOUGHT = "rsd-thought-marker"
_THOUGHT_MARK = re.compile(r"</?think>|\[/?THINK\]")
SWITCHES, EFFORT = ("enable_thinking", "thinking"), "reasoning_effort"
"""Arguments by which templates are told whether to think."""
_THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking", "thought")
"""What templates call the thoughts of a message."""
DATE = "strftime_now"
"""transformers' function by which templates ask for the date, and our argument that fixes it."""
_ASKS_DATE = re.compile(DATE + r"""\(\s*(['"])(.*?)\1\s*\)""")
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
    same turn, after which follows a blank line. A template that reads messages as lists of parts
    (those of models that see images) gets them so.

    Args:
        tokenizer: whose template it is.
        arguments: of the template, such as `enable_thinking`; `strftime_now` is the date that
            it is told, by default today's.

    Attributes:
        moved_system: whether a system message has been put before a question.
        writes_date: whether it has written today's date into a conversation.

    Raises:
        ConfigError: `strftime_now` is no date.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any] = NO_ARGUMENTS
    ) -> None:
        self._tokenizer: Any = tokenizer
        self._given = tuple(arguments)
        self._arguments = dict(arguments)
        stated = self._arguments.pop(DATE, None)
        self._date = None if stated is None else _fixed_date(stated)
        if self._date is not None and DATE in (self._source if self else ""):
            self._arguments |= _with_date(self._source, self._date)
        self.moved_system = False
        self.writes_date = False

    def __bool__(self) -> bool:
        """Whether there is a template at all."""
        return bool(self._tokenizer.chat_template)

    def render(self, messages: Sequence[Message], *, reply: bool) -> str:
        """The conversation as text; with `reply`, up to where a reply starts.

        A `LastMessage` says whether a reply is opened at all, and how much is to be thought.

        Raises:
            ModelLoadError: the template refuses such messages.
        """
        last, more = messages[-1], dict[str, Any]()
        if isinstance(last, LastMessage):
            reply, more = reply and last.opens, effort_arguments(last.effort)
        has_system = any(message.role == "system" for message in messages)
        if has_system and self.system_role is not SystemRole.TAKEN:
            messages = with_system_before_question(messages)
            self.moved_system = True
        try:
            text = self._render(messages, reply=reply, **more)
        except Exception as error:  # templates raise errors of their own, by Jinja
            raise ModelLoadError(
                f"the chat template of {self._name!r} refuses the messages "
                f"{[m.role for m in messages]} ({error}): change them, or the template"
            ) from error
        if self._form is None:
            raise ModelLoadError(
                f"the chat template of {self._name!r} leaves out the question: correct the "
                "template, or take the tokenizer that belongs to the model"
            )
        self.writes_date = self.writes_date or self._asks_for_date(messages, reply=reply)
        return text

    @cached_property
    def _form(self) -> Callable[[str], object] | None:
        """How it reads a message: as a text or as a list of parts; None where it leaves it out."""
        for form in (str, _in_parts):
            text = self._try([Message("user", _ASKED)], reply=True, form=form)
            if (text is None and form is str) or _ASKED in (text or "").lower():
                return form
        return None

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
        if not self._given:
            return ()
        from jinja2 import TemplateSyntaxError, meta

        try:
            mentioned = meta.find_undeclared_variables(self._parsed)
        except TemplateSyntaxError:
            return ()  # rendering says what is wrong
        known = mentioned & set(SWITCHES)  # one that it heeds is enough
        return tuple(n for n in self._given if n not in mentioned and not (known and n in SWITCHES))

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

    @property
    def takes_effort(self) -> bool:
        """Whether it has a switch for how much is to be thought."""
        return bool(self) and EFFORT in self._source

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

    @cached_property
    def missing_start(self) -> str:
        """What it writes before a reply that is there, but not where one is to come.

        Empty where it begins replies itself (`add_generation_prompt`), or where nothing but white
        space and thoughts stands before them.
        """
        asked = [Message("user", _ASKED)]
        prompt, plain = self._try(asked, reply=True), self._try(asked, reply=False)
        whole = self._try([*asked, Message("assistant", _REPLIED)], reply=False) or ""
        if prompt is None or prompt != plain or not whole.startswith(prompt):
            return ""
        start, replied, _ = whole[len(prompt) :].partition(_REPLIED)
        says_more = _THOUGHT_MARK.sub("", start).strip()
        return start if replied and says_more else ""

    @cached_property
    def after_thoughts(self) -> str:
        """What stands between the thoughts and the text of a reply; empty where it tells none."""
        reply = [Message("user", _ASKED), Message("assistant", _REPLIED)]
        text = self._try(reply, reply=False, thoughts=_THOUGHT) or ""
        if _THOUGHT not in text:
            text = self._try(reply, reply=False, form=_with_thought) or ""
        return text.rpartition(_REPLIED)[0].partition(_THOUGHT)[2]

    @property
    def _name(self) -> str:
        return self._tokenizer.name_or_path or type(self._tokenizer).__name__

    @property
    def _source(self) -> str:
        """The template's text; the default one of a tokenizer that has several.

        Raises:
            ModelLoadError: there are several, and none is the default.
        """
        several: Any = self._tokenizer.chat_template
        if isinstance(several, dict) and "default" not in several:
            names = ", ".join(cast("dict[str, str]", several))
            raise ModelLoadError(
                f"{self._name!r} has chat templates for special uses alone ({names}): save the one "
                "that is meant as chat_template.jinja beside its tokenizer"
            )
        return cast(str, self._tokenizer.get_chat_template())

    @cached_property
    def _parsed(self) -> Any:
        from jinja2 import Environment

        environment = Environment(extensions=["jinja2.ext.loopcontrols"])
        return environment.parse(_GENERATION.sub("", self._source))

    def _try(self, messages: Sequence[Message], **options: Any) -> str | None:
        """The conversation; None where the template refuses it."""
        try:
            return self._render(messages, **options)
        except Exception:  # noqa: BLE001 - templates raise errors of their own, by Jinja
            return None

    def _render(
        self,
        messages: Sequence[Message],
        *,
        reply: bool,
        form: Callable[[str], object] | None = None,
        thoughts: str = "",
        **more: Any,
    ) -> str:
        form = form or self._form or str
        turns: list[dict[str, object]] = []
        for message in messages:
            thought = thoughts if message.role == "assistant" else ""
            parts = dict.fromkeys(_THOUGHT_KEYS, thought) if thought else {}
            turns.append({"role": message.role, "content": form(message.content), **parts})
        text = self._tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=reply, **(self._arguments | more)
        )
        return cast(str, text)

    def _asks_for_date(self, messages: Sequence[Message], *, reply: bool) -> bool:
        """Whether it calls `strftime_now` for such a conversation, which it could not if a text."""
        if self._date is not None or DATE not in self._source:
            return False
        return self._try(messages, reply=reply, **{DATE: ""}) is None


def effort_arguments(effort: str | None) -> dict[str, Any]:
    """Arguments of chat templates for an effort; templates ignore those that they do not know.

    As vLLM has it: the effort itself, and the switches of thoughts unless it is `none`.
    """
    if effort is None:
        return {}
    given: dict[str, Any] = dict.fromkeys(SWITCHES, effort != "none")
    return given if effort == "none" else {**given, EFFORT: effort}


def _with_thought(text: str) -> object:
    """A reply in parts, the first of which is a thought, as Magistral's template reads it."""
    if text != _REPLIED:
        return text
    return [{"type": "thinking", "thinking": _THOUGHT}, {"type": "text", "text": text}]


def _in_parts(text: str) -> list[dict[str, str]]:
    """A message as models that also see images read it."""
    return [{"type": "text", "text": text}]


def _fixed_date(stated: object) -> date:
    try:
        return date.fromisoformat(str(stated))
    except ValueError:
        raise ConfigError(
            f"prompt.template sets {DATE} to {stated!r}, which is no date such as 2026-07-31"
        ) from None


def _with_date(source: str, day: date) -> dict[str, Any]:
    """Arguments that make a template of that source take a day for today.

    The macro stands in for transformers' function: rendering takes plain data alone.
    """
    dates = {form: day.strftime(form) for _, form in _ASKS_DATE.findall(source)}
    macro = f"{{% macro {DATE}(form) %}}{{{{ rsd_dates[form] }}}}{{% endmacro %}}{{{{ '' }}}}"
    return {"chat_template": macro + source, "rsd_dates": dates}


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
