"""From messages and steps to token ids, by a GGUF file's own chat template and llama.cpp's tokens.

The template is rendered here, in Jinja's sandbox; llama.cpp tokenises. Control tokens come from the
template alone: where messages spell them, their text is tokenised apart from the rest.
"""

from __future__ import annotations

import datetime
import json
import re
import secrets
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NoReturn, Protocol, cast

from rsdecode.backends.llama_cpp.gguf_file import GgufFile
from rsdecode.backends.llama_cpp.pieces import CONTROL, SENTENCE_PIECE, USER_DEFINED, Pieces
from rsdecode.backends.openai_http.rendering import Remembered
from rsdecode.core.errors import ModelLoadError
from rsdecode.core.requests import Begun
from rsdecode.core.thoughts import Thoughts
from rsdecode.core.types import Context, Message, RawPrompt
from rsdecode.text.chat_template import ChatTemplate
from rsdecode.text.prompt import plain_text
from rsdecode.text.thought_form import HARMONY, HARMONY_PATTERNS, shown_tokens, thought_form

Ids = tuple[int, ...]
Messages = tuple[Message, ...]
ANCHOR = "\n"
"""Text before a text in the middle of a sequence, for vocabularies that put a space before each."""
_SECRET = secrets.token_hex(8)
"""So that no text can spell a stand-in; no result depends on it."""
_STAND_IN = re.compile(f"\ufdd0{_SECRET}(\\d+)\ufdd1")


class Tokenize(Protocol):
    """llama.cpp's tokenizer."""

    def __call__(self, text: str, *, control: bool, start: bool) -> Awaitable[Ids]:
        """The tokens of a text.

        Args:
            text: any.
            control: whether control tokens that it spells are meant.
            start: whether it begins a sequence, so that the token comes first that does.
        """
        ...


class FileTemplate:
    """The chat template of a GGUF file, as `text.chat_template` takes a tokenizer's."""

    def __init__(self, file: GgufFile, pieces: Pieces) -> None:
        self.name_or_path = str(file.path)
        self.chat_template: str = file.metadata.get("tokenizer.chat_template", "")
        self._marks = {
            f"{name}_token": _mark(file, pieces, key)
            for name, key in {
                "bos": "bos",
                "eos": "eos",
                "unk": "unknown",
                "pad": "padding",
            }.items()
        }

    @property
    def bos(self) -> str:
        """How the token is spelled that begins a sequence; empty for none."""
        return self._marks["bos_token"]

    def get_chat_template(self) -> str:
        """The template's text."""
        return self.chat_template

    def apply_chat_template(self, turns: Sequence[Mapping[str, str]], **given: Any) -> str:
        """The conversation as text."""
        del given["tokenize"]
        return self._compiled.render(messages=turns, **self._marks, **given)

    @cached_property
    def _compiled(self) -> Any:
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        known: dict[str, Any] = environment.globals
        known |= {"raise_exception": _refuse, "strftime_now": _now}
        source = re.sub(r"\{%-?\s*(?:end)?generation\s*-?%\}", "", self.chat_template)
        return environment.from_string(source)


class Words:
    """Renders contexts for one GGUF file.

    Args:
        file: whose template and vocabulary they are.
        pieces: of its vocabulary.
        plain_prompt: with `{question}`, for files without a chat template.
        arguments: of the chat template.
    """

    def __init__(
        self, file: GgufFile, pieces: Pieces, plain_prompt: str, arguments: Mapping[str, Any]
    ) -> None:
        self.vocabulary = file.vocabulary
        self._pieces = pieces
        self._plain_prompt = plain_prompt
        self._arguments = tuple(arguments)
        self._file_template = FileTemplate(file, pieces)
        self._template = ChatTemplate(cast(Any, self._file_template), arguments)
        self._puts_space = file.metadata.get("tokenizer.ggml.model") == SENTENCE_PIECE and bool(
            file.metadata.get("tokenizer.ggml.add_space_prefix", True)
        )
        self._rendered = Remembered[tuple[Messages, str], Ids]()
        self._answers = Remembered[str, Ids]()

    @property
    def has_template(self) -> bool:
        """Whether the file has a chat template."""
        return bool(self._template)

    @property
    def notes(self) -> tuple[str, ...]:
        """What one would not expect of these prompts; complete once they were rendered."""
        notes: list[str] = []
        if self._template.moved_system:
            notes.append(
                "the chat template takes no system messages: their text goes before the question, "
                "in the same turn"
            )
        unused = self._template.unused_arguments if self.has_template else self._arguments
        if unused:
            notes.append(
                f"prompt.template sets {', '.join(unused)}, which the file's chat template never "
                "mentions: correct the name, or leave it out"
            )
        return tuple(notes)

    def begun(self, messages: Messages, marks: Thoughts) -> Begun:
        """How a reply to messages begins, by the file's chat template and vocabulary."""
        if isinstance(messages[0], RawPrompt):
            prompt = messages[0].content
        elif self.has_template:
            prompt = self._template.render(messages, reply=True)
        else:
            prompt = plain_text(messages, self._plain_prompt)
        names = [text for _, text, _ in self._pieces.special()]
        after = self._template.after_thoughts if self.has_template else ""
        form = thought_form(marks, self._template.literal_text, names, after)
        if form is None:
            return Begun(marks.opened_by(prompt) or "")
        begun = form.begun(prompt, marks)
        return replace(begun, takes_effort=self._template.takes_effort)

    async def prompt_ids(self, tokenize: Tokenize, messages: Messages) -> Ids:
        """The ids of everything before the answer."""
        return await self._of(tokenize, messages, self._plain_prompt)

    async def bare_ids(self, tokenize: Tokenize, messages: Messages) -> Ids:
        """Like `prompt_ids`, but without a chat template the messages are read as they are."""
        return await self._of(tokenize, messages, "{question}")

    async def context_ids(self, tokenize: Tokenize, context: Context) -> Ids:
        """The ids of the question and the answer so far."""
        ids = list(await self.prompt_ids(tokenize, context.messages))
        for segment in context.answer:
            known = segment.ids_in(self.vocabulary)
            ids += await self.text_ids(tokenize, segment.text) if known is None else known
        return tuple(ids)

    async def text_ids(self, tokenize: Tokenize, text: str) -> Ids:
        """The ids of a text in the middle of a sequence; what it spells stays text."""
        text = _valid(text)

        async def found() -> Ids:
            if self._marks is not None and self._marks.search(text):
                return await self._with_marks(tokenize, text)
            if not self._puts_space:
                return await tokenize(text, control=False, start=False)
            anchor = await tokenize(ANCHOR, control=False, start=False)
            both = await tokenize(ANCHOR + text, control=False, start=False)
            if both[: len(anchor)] == anchor:
                return both[len(anchor) :]
            return await tokenize(text, control=False, start=False)

        return await self._answers.get(text, found)

    async def _with_marks(self, tokenize: Tokenize, text: str) -> Ids:
        """A text that holds marks of thoughts which are control tokens: these are meant."""
        assert self._marks is not None
        ids: list[int] = []
        for place, piece in enumerate(self._marks.split(text)):
            if place % 2:
                ids += await tokenize(piece, control=True, start=False)
            elif piece:
                ids += await self.text_ids(tokenize, piece)
        return tuple(ids)

    @cached_property
    def _marks(self) -> re.Pattern[str] | None:
        """Finds marks of thoughts that are control tokens, or the structure of such."""
        names = {text for _, text, kind in self._pieces.special() if kind == CONTROL}
        alone = sorted(map(re.escape, shown_tokens(names) - set(HARMONY)))
        parts = [*alone, *(HARMONY_PATTERNS if HARMONY[0] in names else ())]
        return re.compile(f"({'|'.join(parts)})") if parts else None

    async def _of(self, tokenize: Tokenize, messages: Messages, plain_prompt: str) -> Ids:
        key = (messages, plain_prompt)
        return await self._rendered.get(key, lambda: self._render(tokenize, messages, plain_prompt))

    async def _raw(self, tokenize: Tokenize, prompt: RawPrompt) -> Ids:
        """A prompt around which no template is put; control tokens that it spells are meant."""
        if prompt.tokens is not None and prompt.tokens.vocabulary == self.vocabulary:
            return prompt.tokens.ids
        return await tokenize(_valid(prompt.content), control=True, start=True)

    async def _render(self, tokenize: Tokenize, messages: Messages, plain_prompt: str) -> Ids:
        if isinstance(messages[0], RawPrompt):
            return await self._raw(tokenize, messages[0])
        safe = [replace(m, content=self._shielded(_valid(m.content))) for m in messages]
        if self.has_template:
            text = self._template.render(safe, reply=True).removeprefix(self._file_template.bos)
        else:
            text = plain_text(safe, plain_prompt)
        if not text:
            raise ModelLoadError(
                f"the chat template of {self._file_template.name_or_path!r} makes nothing of the "
                f"messages {[m.role for m in messages]}: correct the template"
            )
        parts = _STAND_IN.split(text)  # every second is the number of a token
        ids = list(await tokenize(parts[0], control=True, start=True))
        for number, following in zip(parts[1::2], parts[2::2], strict=True):
            ids += await self._spelled_out(tokenize, int(number))
            if following:
                ids += await tokenize(following, control=True, start=False)
        return tuple(ids)

    async def _spelled_out(self, tokenize: Tokenize, token: int) -> list[int]:
        """The text of a control token as ordinary tokens; half by half, none of which it is."""
        spelling = self._pieces.spelling(token)
        halves = spelling[: len(spelling) // 2], spelling[len(spelling) // 2 :]
        return [i for half in halves for i in await tokenize(half, control=False, start=False)]

    def _shielded(self, text: str) -> str:
        """A message with stand-ins for the control tokens that it spells."""
        pattern, numbers = self._control
        if pattern is None:
            return text
        return pattern.sub(lambda found: f"\ufdd0{_SECRET}{numbers[found[0]]}\ufdd1", text)

    @cached_property
    def _control(self) -> tuple[re.Pattern[str] | None, dict[str, int]]:
        """Finds what structures a conversation: control tokens, and those of the template."""
        written = self._template.literal_text
        numbers = {
            text: token
            for token, text, kind in self._pieces.special()
            if kind == CONTROL or (kind == USER_DEFINED and text in written)
        }
        texts = sorted((t for t in numbers if t.strip()), key=len, reverse=True)
        return (re.compile("|".join(map(re.escape, texts))) if texts else None), numbers


def _mark(file: GgufFile, pieces: Pieces, name: str) -> str:
    token: Any = file.metadata.get(f"tokenizer.ggml.{name}_token_id")
    known = isinstance(token, int) and 0 <= token < len(pieces)
    return pieces.spelling(token) if known else ""


def _valid(text: str) -> str:
    """Lone surrogates, which cannot be sent, become question marks."""
    return text.encode(errors="replace").decode()


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.datetime.now().astimezone().strftime(form)
