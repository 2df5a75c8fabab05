"""Ends an answer at a stop string that its client named."""

from __future__ import annotations

from dataclasses import dataclass

from rsdecode.server.thoughts import partial


@dataclass(slots=True)
class StopStrings:
    """Looks for stop strings in a text that grows; neither they nor what follows is given out.

    Args:
        stops: none of them empty.

    Attributes:
        found: the stop string that was found.
    """

    stops: tuple[str, ...]
    found: str | None = None
    _held: str = ""

    def add(self, text: str, *, last: bool = False) -> str:
        """Read more; returns the text that no stop string can begin in any more.

        Args:
            text: what is new.
            last: nothing follows.
        """
        if self.found is not None or not (text or last):
            return ""
        self._held += text
        places = [(at, stop) for stop in self.stops if (at := self._held.find(stop)) >= 0]
        if places:
            at, self.found = min(places, key=lambda place: (place[0], -len(place[1])))
            given, self._held = self._held[:at], ""
            return given
        size = len(self._held) if last else len(self._held) - partial(self._held, [*self.stops])
        given, self._held = self._held[:size], self._held[size:]
        return given
