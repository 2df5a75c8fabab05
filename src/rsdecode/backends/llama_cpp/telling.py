"""How likely llama.cpp's tokens were, and what was likeliest in their places.

It tells nothing of a token that leaves a character unfinished; how likely such a one was is read
once more, and what else might have stood there is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rsdecode.backends.llama_cpp.connection import Connection
from rsdecode.backends.llama_cpp.pieces import PieceDetokenizer, Pieces
from rsdecode.backends.llama_cpp.replies import told_tokens
from rsdecode.backends.llama_cpp.walking import walk
from rsdecode.backends.openai_http.reading import entry, optional
from rsdecode.backends.transformers.slots import Slot
from rsdecode.core.types import ToldToken, Usage


@dataclass(frozen=True, slots=True)
class Written:
    """What one request to llama.cpp wrote.

    Attributes:
        slot: in which it was served.
        before: the tokens that it follows.
        ids: its tokens.
        reply: of llama.cpp.
    """

    slot: Slot
    before: tuple[int, ...]
    ids: tuple[int, ...]
    reply: object


async def tell(
    connection: Connection, session: str, written: Written, top: int
) -> tuple[list[ToldToken], Usage]:
    """Each token that was written, without its text, and what it cost to learn that.

    Args:
        connection: to the model.
        session: whose text it is.
        written: the tokens.
        top: how many of the likeliest to name at each place.
    """
    before, ids = written.before, written.ids
    whole = PieceDetokenizer(connection.pieces, before).whole_after(ids)
    told, usage = list[ToldToken](), Usage()
    for place, item in enumerate(_placed(told_tokens(written.reply), ids, whole)):
        if item is not None:
            told.append(_told(item, connection.pieces, top))
            continue
        read, token = (*before, *ids[:place]), ids[place]
        [(logprob, _)], cost = await walk(connection, session, written.slot, read, [token])
        told.append(ToldToken("", logprob))
        usage += cost
    return told, usage


def _placed(
    told: Sequence[object], ids: Sequence[int], whole: Sequence[bool]
) -> list[object | None]:
    """What is told of each of `ids`; None of those that are left out.

    Args:
        told: of tokens after which no character is unfinished.
        ids: what was written.
        whole: whether no character is unfinished after each of them.
    """
    placed, left = list[object | None](), list(told)
    for token, ends in zip(reversed(ids), reversed(whole), strict=True):
        found = ends and bool(left) and entry(left[-1], "id") == token
        placed.append(left.pop() if found else None)
    return placed[::-1] if not left else [None] * len(ids)


def _told(item: object, pieces: Pieces, top: int) -> ToldToken:
    listed = optional(item, "top_logprobs")
    best = [(int(entry(one, "id")), float(entry(one, "logprob"))) for one in listed or ()]
    spelled = tuple((pieces.of(i).decode("utf-8", "replace"), logprob) for i, logprob in best[:top])
    return ToldToken("", float(entry(item, "logprob")), spelled)
