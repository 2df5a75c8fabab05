"""Reads in one forward pass what a row may turn out to write.

A guess is held against the tokens that the model draws itself, with the numbers that it would draw
them with anyway. So the reply is the same with and without, and does not depend on how the guess
came about; the usual rule of speculative decoding (accept with min(1, p/q)) would let a draft step
that was rejected for its reward come back with the probability that the target gives it.
"""

from __future__ import annotations

from collections.abc import Sequence

WINDOW = 16
"""Tokens of a guess that a pass reads at most."""
MISSES = 2
"""Passes in a row of which no guessed token was right, after which a guess is given up."""


class Guess:
    """Tokens that a row may write next.

    Where the model writes another token, the rest is taken to follow it: a step that differs in one
    number goes on alike.

    Args:
        ids: the tokens.

    Attributes:
        read: tokens that passes have read.
        right: of these, those that were written and needed no pass of their own.
    """

    def __init__(self, ids: Sequence[int] = ()) -> None:
        self._left = list(ids)
        self._misses = 0
        self.read = 0
        self.right = 0

    def window(self, room: int) -> list[int]:
        """What the next pass reads of it.

        Args:
            room: tokens that may still be written; the last of them is not read.
        """
        return self._left[: max(min(WINDOW, room - 1), 0)]

    def go_on(self, read: int, right: int, token: int) -> bool:
        """Of the `read` tokens of a pass the first `right` were written, and then `token`.

        Returns:
            Whether more is guessed, and all was right so far.
        """
        self._misses = self._misses + 1 if read and not right else 0
        holds = read == right and self._left[right : right + 1] == [token]
        self._left = [] if self._misses >= MISSES else self._left[right + 1 :]
        return holds and bool(self._left)
