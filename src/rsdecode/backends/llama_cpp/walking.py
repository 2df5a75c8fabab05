"""How likely a model finds a given text: llama.cpp is led along it, token by token.

Its server tells log-probabilities of what it writes and none of a prompt. So each token of the text
is written by it, pushed by a bias that its log-probabilities are told without. That takes one
forward pass for each token, as long as writing them; what was read stays in the slot.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from rsdecode.backends.llama_cpp.connection import Connection
from rsdecode.backends.openai_http.asks import Ask
from rsdecode.backends.openai_http.assessing import is_plain
from rsdecode.backends.openai_http.dialects import LLAMA_CPP
from rsdecode.backends.openai_http.faults import Fault
from rsdecode.backends.openai_http.prompt_logprobs import Told
from rsdecode.backends.openai_http.reading import entry
from rsdecode.backends.openai_http.transport import Exchange
from rsdecode.backends.transformers.slots import Slot
from rsdecode.core.errors import ContextFull, RequestError
from rsdecode.core.requests import Assess, Assessed, Likelihood
from rsdecode.core.types import Usage

PUSH = 1e4
"""Puts a token above all others, whatever their logits are."""


async def assess(connection: Connection, request: Assess) -> Assessed:
    """Serve a request.

    Raises:
        RequestError: the probabilities are wanted under another law than the model's own.
        ContextFull: the steps do not fit the context.
    """
    if not is_plain(request.sampling):
        raise RequestError(
            f"{connection.file.path}: llama.cpp tells how likely a text is at temperature 1 alone, "
            "without top_k and top_p: leave :temperature out, or run the file in the engine "
            "(--dequantise)"
        )
    before = await connection.rendered(
        request.session, lambda tokens: connection.words.context_ids(tokens, request.context)
    )
    steps = await _steps(connection, request)
    after = [token for step in steps for token in step]
    if len(before) + len(after) > connection.context:
        raise ContextFull(
            f"the question and its steps are {len(before) + len(after)} tokens for "
            f"{connection.file.path}, whose context is {connection.context}: limit the answer's "
            "tokens, or set a longer one (engine.max_context)"
        )
    async with connection.places.take(request.session, before) as slot:
        told, usage = await walk(connection, request.session, slot, before, after)
    ends = accumulate(map(len, steps), initial=0)
    parts = [told[start:end] for start, end in pairwise(ends)]
    return Assessed(
        tuple(Likelihood(tuple(p for p, _ in part), tuple(f for _, f in part)) for part in parts),
        usage,
    )


async def walk(
    connection: Connection,
    session: str,
    slot: Slot,
    before: Sequence[int],
    after: Sequence[int],
) -> tuple[list[Told], Usage]:
    """The log-probability of each token of `after`, and whether it is the model's first choice.

    Args:
        connection: to the model.
        session: whose text it is.
        slot: that is taken for it.
        before: the tokens that the text follows.
        after: its tokens.

    Returns:
        Both for each token, and what it cost: the tokens that were computed count as read.
    """
    told, usage = list[Told](), Usage()
    for place, token in enumerate(after):
        prompt = (*before, *after[:place])

        async def attempt(
            exchange: Exchange, prompt: tuple[int, ...] = prompt, token: int = token
        ) -> tuple[Told, Usage]:
            return await _one(exchange, connection, slot, prompt, token)

        one, cost = await connection.run(session, attempt)
        slot.ids = list(prompt)
        told.append(one)
        usage += cost if not place else replace(cost, cached_tokens=0)
    return told, usage.judging(len(told))


async def _one(
    exchange: Exchange, connection: Connection, slot: Slot, prompt: tuple[int, ...], token: int
) -> tuple[Told, Usage]:
    """What the model says of one token.

    llama.cpp tells nothing of a token that ends within a character. Another is written in its
    place then, and its log-probability is looked up in the list of all tokens.
    """
    started = time.perf_counter()
    pieces, cut = connection.pieces, connection.pieces.ends_within_character(token)
    ask = Ask(prompt, max_tokens=1)
    url, body = LLAMA_CPP.request(exchange.url, "", ask)
    body |= connection.in_slot(slot) | {
        "samplers": ["top_k"],
        "top_k": 1,
        "n_probs": len(pieces) if cut else 1,
        "logit_bias": [[pieces.plain_token if cut else token, PUSH]],
    }
    reply = await exchange.post(url, body)
    written = entry(reply, "completion_probabilities", 0)
    listed = entry(written, "top_logprobs")
    of = [item for item in (written, *listed) if entry(item, "id") == token]
    if not of:
        raise Fault(f"llama.cpp tells nothing of token {token}: {str(written)[:200]}")
    first = entry(listed, 0, "id") == token
    usage = LLAMA_CPP.read(ask, reply).usage(time.perf_counter() - started)
    return (float(entry(of[0], "logprob")), first), replace(usage, decoded_tokens=0)


async def _steps(connection: Connection, request: Assess) -> list[tuple[int, ...]]:
    """The tokens of each step, those of this vocabulary as they were written."""
    steps: list[tuple[int, ...]] = []
    for segment in request.steps:
        known = segment.ids_in(connection.words.vocabulary)
        if known is None:
            known = await connection.rendered(
                request.session,
                lambda tokens, text=segment.text: connection.words.text_ids(tokens, text),
            )
        steps.append(known)
    if request.ends and steps:
        end = connection.file.metadata.get("tokenizer.ggml.eos_token_id")
        if not isinstance(end, int):
            raise RequestError(
                f"{connection.file.path} does not tell which token ends an answer: run it in the "
                "engine (--dequantise)"
            )
        steps[-1] = (*steps[-1], end)
    return steps
