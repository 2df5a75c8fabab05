"""Unions of intervals of the number line."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class End:
    """One end of an interval."""

    text: str
    value: float
    closed: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """An interval; a point has two equal, closed ends."""

    low: End
    high: End


EVERYTHING = (Piece(End("-oo", float("-inf"), False), End("oo", float("inf"), False)),)


def _key(piece: Piece) -> tuple[float, bool, float]:
    return piece.low.value, not piece.low.closed, piece.high.value


def united(pieces: list[Piece]) -> tuple[Piece, ...]:
    """Pieces in order, those that touch joined, empty ones left out."""
    out: list[Piece] = []
    for piece in sorted(filter(_holds_something, pieces), key=_key):
        last = out[-1] if out else None
        if last and (
            piece.low.value < last.high.value
            or (piece.low.value == last.high.value and (piece.low.closed or last.high.closed))
        ):
            further = (piece.high.value, piece.high.closed) > (last.high.value, last.high.closed)
            out[-1] = Piece(last.low, piece.high if further else last.high)
        else:
            out.append(piece)
    return tuple(out)


def _holds_something(piece: Piece) -> bool:
    if piece.low.value == piece.high.value:
        return piece.low.closed and piece.high.closed
    return piece.low.value < piece.high.value


def intersected(a: tuple[Piece, ...], b: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """What both unions hold."""
    found: list[Piece] = []
    for one in a:
        for other in b:
            low = max(one.low, other.low, key=lambda end: (end.value, not end.closed))
            high = min(one.high, other.high, key=lambda end: (end.value, end.closed))
            found.append(Piece(low, high))
    return united(found)


def complement(pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """What the union does not hold."""
    everything = EVERYTHING[0]
    edges = [everything.low]
    for piece in pieces:
        edges += [
            End(piece.low.text, piece.low.value, not piece.low.closed),
            End(piece.high.text, piece.high.value, not piece.high.closed),
        ]
    edges.append(everything.high)
    return united([Piece(low, high) for low, high in list(pairwise(edges))[::2]])
