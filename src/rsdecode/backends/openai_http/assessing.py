"""How likely a served model finds a given text, by a server that tells it of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rsdecode.backends.openai_http.faults import Fault
from rsdecode.backends.openai_http.probe import Abilities
from rsdecode.backends.openai_http.prompt_logprobs import Told
from rsdecode.backends.openai_http.remedies import cannot_assess, shapes_no_logprobs
from rsdecode.backends.openai_http.rendering import Renderer
from rsdecode.backends.openai_http.transport import Exchange
from rsdecode.core.errors import ContextFull, RequestError
from rsdecode.core.requests import Assess, Likelihood, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


async def plan(
    request: Assess,
    renderer: Renderer,
    tokenizer: PreTrainedTokenizerBase | None,
    exchange: Exchange,
    abilities: Abilities,
) -> tuple[tuple[int, ...], list[int]]:
    """The token ids to read, and where each step begins among them; the last number is their end.

    Raises:
        RequestError: the server does not tell, or only under another sampling.
        ContextFull: they do not fit its context.
    """
    if not abilities.dialect.assesses or tokenizer is None or not abilities.takes_ids:
        raise RequestError(cannot_assess(exchange.url, abilities.dialect.name))
    if not is_plain(request.sampling):
        raise RequestError(shapes_no_logprobs(exchange.url))
    starts, ids = list[int](), tuple[int, ...]()
    for count in range(len(request.steps) + 1):
        context = request.context.followed_by(*request.steps[:count])
        rendered = await renderer.render(exchange, abilities, context)
        assert isinstance(rendered, tuple), "this server takes token ids"
        ids = rendered
        starts.append(len(ids))
    if request.ends:
        anything: Any = tokenizer
        end = renderer.turn_end
        ids = (*ids, int(anything.eos_token_id if end is None else end))
        starts[-1] = len(ids)
    if abilities.context is not None and len(ids) >= abilities.context:
        raise ContextFull(
            f"the question and its steps are {len(ids)} tokens for {exchange.url}, which reads "
            f"fewer than {abilities.context}: limit the answer's tokens, or serve the model with a "
            "longer context"
        )
    return ids, starts


def is_plain(sampling: Sampling) -> bool:
    """Whether the model's own probabilities are meant, which are all that servers tell."""
    return sampling.temperature in (0.0, 1.0) and sampling.top_k == 0 and sampling.top_p == 1.0


def likelihoods(told: Sequence[Told | None], starts: Sequence[int]) -> tuple[Likelihood, ...]:
    """The likelihood of each step.

    Raises:
        Fault: the server has not told of all tokens.
    """
    found: list[Likelihood] = []
    for start, end in pairwise(starts):
        part = [each for each in told[start:end] if each is not None]
        if len(part) != end - start:
            raise Fault(f"the reply tells of {len(part)} of a step's {end - start} tokens")
        found.append(Likelihood(tuple(p for p, _ in part), tuple(first for _, first in part)))
    return tuple(found)
