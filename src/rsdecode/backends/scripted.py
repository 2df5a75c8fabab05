r"""Models that reply from a function or a file: for tests, ours and yours.

A script is a JSON file. `generate` and `score` map a question, or "*" for any, to the replies for
the first step, the second step, and so on:

    {"generate": {"*": ["2 + 2 = 4.\n\n", "The answer is \\boxed{4}."]},
     "score":    {"*": [0.9, 0.8]}}

A text without the step separator ends the answer. A question asked beyond its script is answered
with an empty end of sequence, or with the last score. Tokens are counted as words.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from rsdecode.core.cost import ModelShape, attended_tokens
from rsdecode.core.errors import ConfigError, RequestError, RsdError
from rsdecode.core.requests import Failed, Generate, Generated, Score, Scored
from rsdecode.core.types import Context, FinishReason, Segment, Usage

Writer = Callable[[Generate], str | Generated]
"""Gives the text that continues the request's context, or a whole reply."""
Judge = Callable[[Score], float | Sequence[float]]
"""Gives the reward of the request's step, or of each of its steps."""


_WORD = re.compile(r"\S+\s*")


class ScriptedModel:
    """A language model that is a function.

    Args:
        write: called with each request. Text is cut at the request's boundary and token limit; text
            that reaches neither ends the answer. An `RsdError` that it raises fails the request.
        latency_s: time that every request takes.
        shape: for FLOPs.
    """

    def __init__(
        self, write: Writer, *, latency_s: float = 0.0, shape: ModelShape | None = None
    ) -> None:
        self._write = write
        self._latency_s = latency_s
        self.shape = shape

    async def generate(self, requests: Sequence[Generate]) -> list[Generated | Failed]:
        """Call the function for each request."""
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        return [self._reply(request) for request in requests]

    def _reply(self, request: Generate) -> Generated | Failed:
        try:
            written = self._write(request)
        except RsdError as error:
            return Failed(error)
        return written if isinstance(written, Generated) else _cut(request, written)


class ScriptedReward:
    """A reward model that is a function of a `Score` request. An `RsdError` fails the request."""

    def __init__(
        self, judge: Judge, *, latency_s: float = 0.0, shape: ModelShape | None = None
    ) -> None:
        self._judge = judge
        self._latency_s = latency_s
        self.shape = shape

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        """Call the function for each request."""
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        return [self._reply(request) for request in requests]

    def _reply(self, request: Score) -> Scored | Failed:
        try:
            rewards = self._judge(request)
        except RsdError as error:
            return Failed(error)
        listed = tuple(rewards) if isinstance(rewards, Sequence) else (rewards,)
        read = _words(request.context) + sum(len(step.text.split()) for step in request.steps)
        usage = Usage(prefill_tokens=read, calls=1, attended_tokens=attended_tokens(0, read))
        return Scored(listed, usage)


def load_script(path: str | Path) -> tuple[ScriptedModel, ScriptedReward]:
    """Read a script file: its language model and its reward model.

    Raises:
        ConfigError: the file is missing, not JSON, or of another form.
    """
    try:
        script: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"scripted:{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"scripted:{path} is not a readable JSON file: {error}") from None
    texts = _table(path, script, "generate", str)
    scores = _table(path, script, "score", (int, float))

    def write(request: Generate) -> str:
        replies = _entry(path, texts, request.context, "generate")
        rest = replies[len(request.context.answer) :]
        return "".join(
            rest if not (request.boundary.stops or request.boundary.tokens) else rest[:1]
        )

    def judge(request: Score) -> list[float]:
        replies = _entry(path, scores, request.context, "score")
        first = len(request.context.answer)
        return [float(replies[min(first + i, len(replies) - 1)]) for i in range(len(request.steps))]

    return ScriptedModel(write), ScriptedReward(judge)


def _cut(request: Generate, text: str) -> Generated:
    """Apply the request's boundary and limit to a text, counting words as tokens."""
    finish = FinishReason.EOS
    if (end := request.boundary.end(text)) is not None:
        text, finish = text[:end], FinishReason.STOP
    words = list(_WORD.finditer(text))
    limit = request.max_tokens
    if 0 < request.boundary.tokens <= limit:
        limit = request.boundary.tokens
    if len(words) > limit:
        text = text[: words[limit - 1].end()]
        chunked = limit == request.boundary.tokens
        finish = FinishReason.STOP if chunked else FinishReason.STEP_LIMIT
    read, wrote = _words(request.context), len(text.split()) + (finish is FinishReason.EOS)
    return Generated(
        Segment(text),
        finish,
        Usage(read, 0, wrote, 1, 0.0, attended_tokens(0, read + max(wrote - 1, 0))),
    )


def _words(context: Context) -> int:
    texts = [message.content for message in context.messages]
    texts += [segment.text for segment in context.answer]
    return sum(len(text.split()) for text in texts)


def _table(
    path: str | Path, script: object, key: str, kind: type | tuple[type, ...]
) -> dict[str, Any]:
    table = cast("object", script.get(key, {})) if isinstance(script, dict) else None
    entries = cast("dict[str, Any]", table) if isinstance(table, dict) else {"": None}
    if not all(_is_list_of(kind, entry) for entry in entries.values()):
        raise ConfigError(
            f'scripted:{path}: "{key}" must map questions (or "*") to lists; '
            "see rsdecode.backends.scripted for the form"
        )
    return entries


def _is_list_of(kind: type | tuple[type, ...], value: object) -> bool:
    items = cast("list[object]", value) if isinstance(value, list) else []
    return bool(items) and all(isinstance(item, kind) for item in items)


def _entry(path: str | Path, table: dict[str, Any], context: Context, key: str) -> list[Any]:
    entry = table.get(context.question, table.get("*"))
    if entry is None:
        raise RequestError(f'scripted:{path} has no "{key}" entry for {context.question!r} or "*"')
    return entry
