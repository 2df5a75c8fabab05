"""Says when the embedded family is asked what it cannot read."""

from __future__ import annotations

from collections.abc import Iterable

from rsdecode.cli.messages import print_note
from rsdecode.config import RunConfig


def tell_unreadable(configs: Iterable[RunConfig], questions: Iterable[str]) -> None:
    """One line on stderr about questions outside the language of the models that answer them.

    Args:
        configs: whose drafts and targets are asked.
        questions: each once.
    """
    models = dict.fromkeys(spec for config in configs for spec in config.family_writers)
    if models:
        from rsdecode.models.abacus.language import language_note

        note = language_note(list(dict.fromkeys(questions)), list(models))
        if note is not None:
            print_note(note)
