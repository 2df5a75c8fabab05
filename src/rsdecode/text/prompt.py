"""From messages and steps to the token ids that a model reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from rsdecode.core.errors import ModelLoadError
from rsdecode.core.requests import Begun
from rsdecode.core.thoughts import THOUGHTS, Thoughts
from rsdecode.core.types import Context, Message, RawPrompt
from rsdecode.text.chat_template import DATE, NO_ARGUMENTS, SystemRole
from rsdecode.text.thought_form import ThoughtForm, thought_form
from rsdecode.text.vocabulary import Ids, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def vocabulary_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """A fingerprint that two tokenizers share only if they give the same ids to the same text."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        state: Any = sorted(tokenizer.get_vocab().items())
    else:
        state = json.loads(backend.to_str())
        state = [state["model"], state["added_tokens"], state["pre_tokenizer"], state["normalizer"]]
    return hashlib.blake2b(json.dumps(state).encode(), digest_size=8).hexdigest()


class Prompts:
    """Renders contexts for one model.

    With a chat template: the messages, then the start of the assistant's turn. Without: the system
    message, if any, then the plain prompt filled with the question. The answer follows: steps in
    this model's own vocabulary as the ids they were written in, others tokenised one by one. A
    tokenizer that puts a space before each text does so before the first at most.

    Control tokens come from the template alone: what messages and steps spell stays text.
    Text that cannot be rendered raises an `RsdError`.

    Args:
        tokenizer: of the model.
        plain_prompt: with `{question}`, for models without a chat template.
        template: arguments of the chat template, such as `enable_thinking`.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        plain_prompt: str,
        template: Mapping[str, Any] = NO_ARGUMENTS,
    ) -> None:
        self.vocabulary = vocabulary_of(tokenizer)
        self.has_template = bool(getattr(tokenizer, "chat_template", None))
        self._tokenizer: Any = tokenizer
        self._words = Vocabulary(tokenizer, template)
        self._template = dict(template)
        self._arguments = tuple(template)
        self._plain_prompt = plain_prompt
        self._rendered = lru_cache(maxsize=4096)(self._render)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickles as what it was made of: its caches stay here."""
        return type(self), (self._tokenizer, self._plain_prompt, self._template)

    def prompt_ids(self, messages: tuple[Message, ...]) -> Ids:
        """The ids of everything before the answer."""
        return self._rendered(messages, self._plain_prompt)

    def prompt_text(self, messages: tuple[Message, ...]) -> str:
        """The text of everything before the answer, without the token that begins a sequence.

        For servers that read text: they put that token there themselves.
        """
        if isinstance(messages[0], RawPrompt):
            return messages[0].content
        if self.has_template:
            return self._words.chat(messages, reply=True).removeprefix(self._words.bos)
        return plain_text(messages, self._plain_prompt)

    def bare_ids(self, messages: tuple[Message, ...]) -> Ids:
        """Like `prompt_ids`, but a model without a chat template reads the messages as they are."""
        return self._rendered(messages, "{question}")

    def context_ids(self, context: Context) -> Ids:
        """The ids of the question and the answer so far."""
        prompt = self.prompt_ids(context.messages)
        ids = list(prompt)
        for segment in context.answer:
            known = segment.ids_in(self.vocabulary)
            if known is None and ids == list(prompt) and not self._ends_in_space(prompt):
                known = self.text_ids(segment.text)
            ids += self._words.continuing_ids(segment.text) if known is None else known
        return tuple(ids)

    def text_ids(self, text: str) -> Ids:
        """The ids of a text by itself, as a reply begins with it."""
        return self._words.text_ids(text)

    def places(self, ids: Ids) -> tuple[int, ...]:
        """Where in the text of `ids` each of them ends, in characters."""
        return self._words.places(ids)

    def _ends_in_space(self, prompt: Ids) -> bool:
        """Whether the tokenizer would put no space before an answer: there is white space."""
        text: str = self._tokenizer.decode(prompt[-1:])
        return not text.strip()

    def begun(self, messages: tuple[Message, ...], marks: Thoughts) -> Begun:
        """How a reply to messages begins, by the chat template and the vocabulary."""
        form = self.thought_form(marks)
        prompt = self.prompt_text(messages)
        if form is None:
            return Begun(marks.opened_by(prompt) or "")
        takes_effort = self._words.template.takes_effort
        return replace(form.begun(prompt, marks), takes_effort=takes_effort)

    def thought_form(self, marks: Thoughts = THOUGHTS) -> ThoughtForm | None:
        """How the model's thoughts begin and end; None where nothing tells that it has any."""
        template, added = self._words.template, self._tokenizer.added_tokens_decoder
        after = template.after_thoughts if self.has_template else ""
        names = [token.content for token in added.values()]
        return thought_form(marks, template.literal_text, names, after)

    @cached_property
    def turn_end(self) -> int | None:
        """The control token that ends a reply in the chat template.

        None without a template, where a reply ends with ordinary text, and where the same token
        ends the thoughts before a reply: what is written would end with them.
        """
        if not self.has_template:
            return None
        starts = {self._tokenizer.bos_token_id, self._tokenizer.unk_token_id}
        ends_thoughts = self._words.control.within(self._words.template.after_thoughts)
        for closing in self._words.template.after_reply():
            token = self._words.control.starting(closing)
            if token is not None and token not in starts | ends_thoughts:
                return token
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """What one would not expect of these prompts; complete once they were rendered."""
        template = self._words.template
        notes: list[str] = []
        if template.moved_system:
            does = "refuses" if template.system_role is SystemRole.REFUSED else "drops"
            notes.append(
                f"the chat template {does} system messages: their text goes before the question, "
                "in the same turn"
            )
        if self.has_template and (start := template.missing_start):
            notes.append(
                f"the chat template does not begin a reply, so the model has to write {start!r} "
                "itself: let the template write it where add_generation_prompt is set"
            )
        if template.writes_date:
            today = date.today().isoformat()
            notes.append(
                f"the chat template writes today's date into the prompt ({today}), so that other "
                f"days have other prompts: set --template {DATE}={today} (prompt.template) to "
                "keep it"
            )
        unused = template.unused_arguments if self.has_template else self._arguments
        if unused:
            why = "the chat template never mentions"
            if not self.has_template:
                why = "nothing reads without a chat template"
            notes.append(
                f"prompt.template sets {', '.join(unused)}, which {why}: correct the name, or "
                "leave it out"
            )
        return tuple(notes)

    def _raw_ids(self, prompt: RawPrompt) -> Ids:
        """A prompt that nothing is put around but what the tokenizer puts before any text."""
        tokens = prompt.tokens
        if tokens is not None and tokens.vocabulary == self.vocabulary:
            return tokens.ids
        return tuple(self._tokenizer.encode(prompt.content, verbose=False))

    def _render(self, messages: tuple[Message, ...], plain_prompt: str) -> Ids:
        if isinstance(messages[0], RawPrompt):
            return self._raw_ids(messages[0])
        if self.has_template:
            return self._chat_ids(messages)

        def filled(safe: Sequence[Message]) -> str:
            return plain_text(safe, plain_prompt)

        ids = self._words.filled_ids(messages, filled)
        start = self._tokenizer.bos_token_id
        return ids if start is None else (start, *ids)

    def _chat_ids(self, messages: tuple[Message, ...]) -> Ids:
        ids = self._words.chat_ids(messages, reply=True)
        if not ids:
            raise ModelLoadError(
                f"the chat template of {self._words.name!r} makes nothing of the messages "
                f"{[m.role for m in messages]}: correct the template"
            )
        return ids


def plain_text(messages: Sequence[Message], plain_prompt: str) -> str:
    """A conversation without a chat template: what comes before the question, then the prompt."""
    parts = [m.content for m in messages[:-1]]
    parts.append(plain_prompt.replace("{question}", messages[-1].content))
    return "\n\n".join(parts)
