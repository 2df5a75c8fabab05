"""Shows the text of a step while a server writes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rsdecode.backends.openai_http.streams import Part

if TYPE_CHECKING:
    from rsdecode.text.step_text import Detokenizes


Watch = Callable[[Part], None]
"""Takes each part of a reply when it comes."""


class Shown:
    """The text of one step that was shown; it only grows.

    Args:
        show: takes what is new.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._text = ""

    def all(self, text: str) -> None:
        """Show what `text` has beyond what was shown; nothing if it is another text."""
        if len(text) > len(self._text) and text.startswith(self._text):
            new, self._text = text[len(self._text) :], text
            self._show(new)

    def watch(self, preview: Preview) -> Watch:
        """Shows the text of a reply as its parts come."""

        def take(part: Part) -> None:
            preview.add(part)
            self.all(preview.text)

        return take


class Preview:
    """The text of a step while the server writes it, in the words that the whole step will have.

    Args:
        written: of the step, by earlier replies.
        detokenizer: makes text of token ids; None where the server's own text is taken.
    """

    def __init__(self, written: str, detokenizer: Detokenizes | None) -> None:
        self.text = written
        self._detokenizer = detokenizer

    def add(self, part: Part) -> None:
        """Take what an event of the stream brought."""
        if self._detokenizer is None:
            self.text += part.text
        else:
            self.text += "".join(map(self._detokenizer.add, part.ids or ()))
