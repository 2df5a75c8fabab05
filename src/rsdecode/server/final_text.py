"""Text of a growing answer that is sure to stay, from the events of its session."""

from __future__ import annotations

from dataclasses import dataclass

from rsdecode.core.types import Role
from rsdecode.methods import RSD, Method, Single
from rsdecode.session.events import Decided, Delta


def sure_writer(method: Method) -> Role | None:
    """Whose text enters the answer as it is written; None where all is decided afterwards.

    RSD asks the target only for steps that stay. A model alone writes nothing that is rejected;
    thoughts with a budget are decided before the answer behind them is begun.
    """
    match method:
        case RSD():
            return Role.TARGET
        case Single(role=role):
            return role
        case _:
            return None


@dataclass(slots=True)
class FinalText:
    """The text so far that no later event takes back.

    The newest piece of a step that is being written is kept back: its end may be cut off at the
    step's boundary.

    Attributes:
        writer: whose deltas are sure (see `sure_writer`).
        given: what was given out.
        pieces: pieces that the sure writer has shown of the step that is being written.
    """

    writer: Role | None
    given: str = ""
    pieces: int = 0
    _decided: str = ""
    _before: str = ""
    _written: str = ""
    _newest: str = ""
    _step: int = -1

    def add(self, event: Delta | Decided) -> str:
        """Take an event; returns the text that has become sure.

        Raises:
            ValueError: a step was decided with another text than the one that was being written,
                which happens where a server failed and wrote it anew.
        """
        if isinstance(event, Decided):
            self._decided += event.step.text
            size = min(len(self._decided), len(self.given))
            if self._decided[:size] != self.given[:size]:
                raise ValueError("a step was written anew, in other words, after a failure")
            return self._give(self._decided)
        if event.role is not self.writer or event.candidate:
            return ""
        if event.step != self._step:
            ahead = self._before + self._written + self._newest
            decided = len(self._decided) > len(self._before) or self._step < 0
            self._step, self._before = event.step, self._decided if decided else ahead
            self._written = self._newest = ""
            self.pieces = 0
        self.pieces += 1
        self._written += self._newest
        self._newest = event.text
        return self._give(self._before + self._written)

    def _give(self, sure: str) -> str:
        new = sure[len(self.given) :]
        self.given += new
        return new
