"""Language models that say + or - after each step, behind a vLLM server.

vLLM's `/generative_scoring` reads token ids and gives the soft-max over two tokens that may come
next: for each mark, what stands up to it is an item of the request. What a server has in its prefix
cache it does not read again, but this route does not tell how much that was: all is counted as
read. A text that is too long it cuts without a word (vLLM 0.32): what it has read is counted after.
"""

from __future__ import annotations

import time

from rsdecode.backends.openai_http.address import root_of
from rsdecode.backends.openai_http.faults import Fault, Refusal
from rsdecode.backends.openai_http.reading import count, entry, is_list
from rsdecode.backends.openai_http.transport import Exchange, Transport
from rsdecode.core.cost import attended_tokens
from rsdecode.core.errors import ContextFull, RequestError
from rsdecode.core.types import Usage
from rsdecode.rewards.format import Ids
from rsdecode.rewards.reader import Marked, Rewards
from rsdecode.rewards.served_reader import ServedReader

ROUTE = "generative_scoring"
ABSENT = (404, 405)


class SignReader(ServedReader):
    """Reads which of two tokens follows each mark: the first one's probability is the reward.

    Args:
        transport: carries the requests; closed with the reader.
        signs: the good one and the bad one.
    """

    def __init__(self, transport: Transport, signs: Ids) -> None:
        super().__init__(transport)
        self._signs = list(signs)

    async def _attempt(self, exchange: Exchange, job: Marked) -> Rewards:
        prompts = [list(job.ids[: mark + 1]) for mark in job.marks]
        body: dict[str, object] = {
            "model": self._transport.address.name,
            "query": prompts[0][:1],
            "items": [prompt[1:] for prompt in prompts],
            "label_token_ids": self._signs,
            **self._salted,
        }
        started = time.perf_counter()
        try:
            reply = await exchange.post(f"{root_of(exchange.url)}/{ROUTE}", body)
        except Refusal as refusal:
            if refusal.status not in ABSENT:
                raise
            raise RequestError(
                f"{self._transport.address} has no /{ROUTE} ({refusal}), which tells the chances "
                "of + and -: take a newer vLLM (0.32 has it), or load the model here (hf:FOLDER)"
            ) from None
        seconds = time.perf_counter() - started
        wanted, read = sum(map(len, prompts)), count(reply, "usage", "prompt_tokens")
        if read < wanted:
            raise ContextFull(
                f"{self._transport.address} has read {read} of {wanted} tokens: serve the reward "
                "model with more context"
            )
        usage = Usage(
            prefill_tokens=read,
            decoded_tokens=count(reply, "usage", "completion_tokens"),
            attended_tokens=sum(attended_tokens(0, len(prompt)) for prompt in prompts),
            calls=1,
            seconds=seconds,
        )
        return Rewards(_scores(reply, len(prompts)), usage)


def _scores(reply: object, number: int) -> tuple[float, ...]:
    rows = entry(reply, "data")
    if not is_list(rows) or len(rows) != number:
        raise Fault(f"the reply has {str(rows)[:80]} in place of {number} scores")
    scores = [entry(row, "score") for row in rows]
    if not all(isinstance(score, int | float) for score in scores):
        raise Fault(f"the reply has the scores {str(scores)[:80]}")
    return tuple(float(str(score)) for score in scores)
