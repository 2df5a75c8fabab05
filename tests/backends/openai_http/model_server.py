"""Servers over real models in this process, in the words of vLLM and of plainer servers."""

# The servers speak for what a model holds inside:
# pyright: reportPrivateUsage=false

from __future__ import annotations

from itertools import takewhile
from typing import Any

from rsdecode.backends.transformers.jobs import (
    Decode,
    Decoded,
    Prefill,
    Prefilled,
    WrittenToken,
)
from rsdecode.backends.transformers.model import LocalModel
from rsdecode.core.types import LastMessage, Message
from rsdecode.rewards.prefix_scorer import PrefixScorer
from tests.backends.openai_http.local_server import Answer, Events, Reply
from tests.backends.openai_http.scripted_server import first_stop

NAME = "served"
CHUNK = 8
"""Tokens that are decoded before the text is searched for stop strings."""


class Completions:
    """/v1/completions of a local model.

    Args:
        model: writes.
        kind: "vllm" keeps the stop string, names it, takes and gives token ids; "plain" takes text,
            leaves the stop string out and does not say why it stopped.
    """

    def __init__(self, model: LocalModel, kind: str = "vllm") -> None:
        self.model = model
        self.tokenizer: Any = model._tokenizer
        self.plain = kind == "plain"
        self.prompt_tokens = self.decoded_tokens = 0

    async def __call__(self, path: str, body: dict[str, Any]) -> Reply | Events:
        if path == "/v1/models":
            card = {"id": NAME, "owned_by": "somebody" if self.plain else "vllm"}
            return Reply(200, {"data": [card | {"max_model_len": 2048}]})
        if path == "/tokenize" and not self.plain:
            return Reply(200, {"tokens": list(self._tokenized(body))})
        if path == "/detokenize" and not self.plain:
            return Reply(200, {"prompt": self.tokenizer.decode(body["tokens"])})
        assert path == "/v1/completions", path
        prompt = body["prompt"]
        if self.plain and not isinstance(prompt, str):
            return Reply(422, {"detail": "prompt: expected a string"})
        ids = self._ids(prompt) if isinstance(prompt, str) else tuple(prompt)
        reply = await self._complete(ids, body)
        return Events(self._events(reply)) if body.get("stream") else Reply(200, reply)

    async def _complete(self, prompt: tuple[int, ...], body: dict[str, Any]) -> dict[str, Any]:
        written: list[int] = []
        logprobs: list[float] = []
        told: list[WrittenToken] = []
        cached: int | None = None
        reason, stop, text = "length", None, ""
        while len(written) < body["max_tokens"] and reason == "length":
            room = min(CHUNK, body["max_tokens"] - len(written))
            top = body.get("logprobs")
            job = Decode("", (*prompt, *written), room, logprobs=top is not None, told=top)
            [decoded] = await self.model._engine.decode([job])
            assert isinstance(decoded, Decoded)
            logprobs += decoded.logprobs or ()
            told += decoded.told or ()
            cached = decoded.usage.cached_tokens if cached is None else cached
            for id in decoded.ids:
                written.append(id)
                text = self.tokenizer.decode(written)
                stop, end = first_stop(text, body.get("stop", ()))
                if stop is not None:
                    reason, text = "stop", text[: end - (len(stop) if self.plain else 0)]
                    break
            if stop is None and decoded.finish_reason == "eos":
                written.append(self.tokenizer.eos_token_id)
                reason = "stop"
        self.prompt_tokens += len(prompt)
        self.decoded_tokens += len(written)
        choice: dict[str, Any] = {"text": text, "finish_reason": reason}
        usage: dict[str, Any] = {"prompt_tokens": len(prompt), "completion_tokens": len(written)}
        if not self.plain:
            choice |= {"stop_reason": stop, "token_ids": written}
            usage["prompt_tokens_details"] = {"cached_tokens": cached}
            if "logprobs" in body:
                choice["logprobs"] = self._logprobs(
                    logprobs[: len(written)], told, ids="return_tokens_as_token_ids" in body
                )
            if "prompt_logprobs" in body:
                choice["prompt_logprobs"] = await self._told(prompt, body["prompt_logprobs"])
        return {"choices": [choice], "usage": usage}

    def _logprobs(
        self, logprobs: list[float], told: list[WrittenToken], *, ids: bool
    ) -> dict[str, Any]:
        """In the older API's form; of the end of the answer nothing else is told."""
        spelled, tables = [token.text for token in told], [self._table(t, ids=ids) for t in told]
        end = len(logprobs) - len(told)
        return {
            "tokens": [*spelled[: len(logprobs)], *["<end>"] * end],
            "token_logprobs": logprobs,
            "top_logprobs": [*tables[: len(logprobs)], *[{}] * end],
        }

    def _table(self, token: WrittenToken, *, ids: bool) -> dict[str, float]:
        if ids:
            return {f"token_id:{id}": logprob for id, logprob in token.top}
        return {self.tokenizer.decode([id]): logprob for id, logprob in token.top}

    async def _told(self, prompt: tuple[int, ...], top: int) -> list[dict[str, Any] | None]:
        """Of each token of the prompt but the first, as vLLM tells it."""
        [read] = await self.model._engine.prefill([Prefill("", prompt, tuple(range(len(prompt))))])
        assert isinstance(read, Prefilled)
        rows = read.outputs.log_softmax(-1)
        told: list[dict[str, Any] | None] = [None]
        for row, token in zip(rows, prompt[1:], strict=False):
            entries: dict[str, Any] = {}
            likeliest: Any = row.topk(top).indices
            best: list[int] = likeliest.tolist()
            for id in [token, *best]:
                rank = int((row > row[id]).sum()) + 1
                word = self.tokenizer.decode([id])
                entries[str(id)] = {"logprob": float(row[id]), "rank": rank, "decoded": word}
            told.append(entries)
        return told

    def _events(self, reply: dict[str, Any]) -> list[dict[str, Any]]:
        """A token at a time, as vLLM sends them: usage and the reason come last."""
        [choice] = reply["choices"]
        ids, shown = choice["token_ids"], ""
        events: list[dict[str, Any]] = []
        for end in range(1, len(ids) + 1):
            text = choice["text"]
            if end < len(ids):
                decoded = self.tokenizer.decode(ids[:end])
                text = decoded if text.startswith(decoded) else shown
            told = {"text": text[len(shown) :], "token_ids": [ids[end - 1]], "finish_reason": None}
            if end == len(ids):
                told |= {key: choice[key] for key in ("finish_reason", "stop_reason")}
            events.append({"choices": [told], "usage": None})
            shown = text
        return [*events, {"choices": [], "usage": reply["usage"]}]

    def _tokenized(self, body: dict[str, Any]) -> tuple[int, ...]:
        if "prompt" in body:
            return self.model._prompts.text_ids(body["prompt"])
        *before, last = (Message(m["role"], m["content"]) for m in body["messages"])
        if not body.get("add_generation_prompt", True):
            last = LastMessage(last.role, last.content, opens=False)
        return self.model._prompts.prompt_ids((*before, last))

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(self.tokenizer.bos_token + text))


def pooling(scorer: PrefixScorer, step_tag: str | None = None, *, block: int = 0) -> Answer:
    """/pooling and /classify of a local reward model.

    With a step tag there is a row for each of its tokens, as vLLM's STEP pooler gives them, else
    for every token. With a block size there are rows only for what follows the blocks that an
    earlier prompt (with the same salt) has left in the prefix cache, as our plugin has it.
    """
    reader: Any = scorer._reader
    layout: Any = scorer.format
    seen: set[tuple[object, ...]] = set()

    def cached(body: dict[str, Any]) -> int:
        salt, ids = body.get("cache_salt"), tuple(body["input"])
        ends = range(block, len(ids), block) if block else range(0)
        blocks = [(salt, ids[:end]) for end in ends]
        held = sum(1 for _ in takewhile(seen.__contains__, blocks))
        seen.update(blocks)
        return held * block

    async def answer(path: str, body: dict[str, Any]) -> Reply:
        assert body["model"] == NAME
        ids = tuple(body["input"])
        whole = path == "/classify"
        assert whole or (path == "/pooling" and body["task"] == "token_classify")
        marks = tuple(range(cached(body), len(ids)))
        if step_tag is not None:
            tag = layout._vocabulary.last_token(step_tag)
            marks = tuple(i for i, id in enumerate(ids) if id == tag)
        if whole:
            marks = (len(ids) - 1,)
        [read] = await reader._engine.prefill([Prefill("", ids, marks, reader._columns)])
        assert isinstance(read, Prefilled)
        outputs: Any = read.outputs.float()
        rows = (outputs.sigmoid() if outputs.shape[1] == 1 else outputs.softmax(-1)).tolist()
        entry: dict[str, Any] = {"probs": rows[0]} if whole else {"data": rows}
        return Reply(200, {"data": [entry], "usage": {"prompt_tokens": len(ids)}})

    return answer


def generative_scoring(scorer: PrefixScorer, *, most: int = 10_000) -> Answer:
    """vLLM's /generative_scoring of a local language model; longer prompts are cut as vLLM's."""
    reader: Any = scorer._reader

    async def answer(path: str, body: dict[str, Any]) -> Reply:
        assert (path, body["model"]) == ("/generative_scoring", NAME)
        prompts = [tuple(body["query"] + item)[:most] for item in body["items"]]
        signs = tuple(body["label_token_ids"])
        jobs = [Prefill("", ids, (len(ids) - 1,), signs) for ids in prompts]
        data: list[dict[str, Any]] = []
        for index, read in enumerate(await reader._engine.prefill(jobs)):
            assert isinstance(read, Prefilled)
            data.append({"index": index, "score": float(read.outputs.float().softmax(-1)[0, 0])})
        tokens = sum(map(len, prompts))
        usage = {"prompt_tokens": tokens, "completion_tokens": len(prompts)}
        return Reply(200, {"data": data, "usage": usage})

    return answer
