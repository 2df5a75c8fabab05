"""A request while the engine serves it: what is still to compute, and when it is done.

Axes: T new tokens of a row, W outputs.
"""

from __future__ import annotations

import random
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor

from rsdecode.backends.transformers.guesses import Guess
from rsdecode.backends.transformers.jobs import (
    Decode,
    Decoded,
    Prefill,
    Prefilled,
    WrittenToken,
)
from rsdecode.backends.transformers.sampling import distribution, log_probabilities
from rsdecode.backends.transformers.slots import Slot
from rsdecode.backends.transformers.tickets import Ticket
from rsdecode.core.cost import attended_tokens
from rsdecode.core.types import FinishReason, Usage
from rsdecode.text.step_text import StepText

Likeliest = tuple[tuple[int, float], ...]
"""Token ids and their log-probabilities, the likeliest first."""


@dataclass(slots=True, eq=False)
class EngineRow:
    """What a job that writes and a job that only reads have in common.

    Attributes:
        pending: tokens whose keys and values are still to be computed.
        reused: tokens that were in the cache.
        passed_over: forward passes over prompts since the last one that it took part in.
        keeps: positions whose state is to be kept; a pass ends there.
    """

    ticket: Ticket
    slot: Slot
    reused: int
    passed_over: int = field(default=0, init=False)
    pending: list[int] = field(init=False)
    keeps: frozenset[int] = frozenset()
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.pending = list(self.ticket.job.ids[self.reused :])

    def advance(self, count: int) -> None:
        """The first `count` pending tokens are in the cache now."""
        self.slot.ids.extend(self.pending[:count])
        del self.pending[:count]

    def to_next_stop(self) -> int:
        """Pending tokens up to the next position whose state is to be kept."""
        at = len(self.slot.ids)
        stops = [position - at for position in self.keeps if position > at]
        return min([len(self.pending), *stops])

    def usage(self, decoded: int) -> Usage:
        """What serving the job cost."""
        prefill = len(self.ticket.job.ids) - self.reused
        computed = prefill + max(decoded - 1, 0)
        return Usage(
            prefill_tokens=prefill,
            cached_tokens=self.reused,
            decoded_tokens=decoded,
            calls=1,
            seconds=time.perf_counter() - self.started,
            attended_tokens=attended_tokens(self.reused, computed),
        )


@dataclass(slots=True, eq=False)
class DecodeRow(EngineRow):
    """A `Decode` job.

    Attributes:
        guess: what it may write.
        guessed: how many of the pending tokens, the last ones, are guessed.
    """

    job: Decode = field(kw_only=True)
    step: StepText = field(kw_only=True)
    max_context: int = field(kw_only=True)
    guess: Guess = field(kw_only=True)
    guessed: int = 0
    decoded: int = 0
    shown: int = field(default=0, init=False)
    _drawn_ahead: deque[float] = field(default_factory=deque[float])
    _wrong_attended: int = 0
    _distributions: list[Tensor] = field(default_factory=list[Tensor])
    _logprobs: list[float] = field(default_factory=list[float])
    _chances: list[tuple[float, Likeliest]] = field(default_factory=list[tuple[float, Likeliest]])
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        super(DecodeRow, self).__post_init__()
        self._random = random.Random(self.job.seed)
        for token in self.job.ids[len(self.job.prompt) :]:
            self._random.random()  # it was drawn with this number
            self.step.add(token)
        self.shown = len(self.step.text)
        if len(self.pending) == 1:
            self._read_ahead()

    @property
    def last_only(self) -> bool:
        """Whether only the output after the last token is wanted."""
        return not self.guessed

    def uniforms(self, count: int) -> list[float]:
        """The numbers that decide the next tokens, the first `count` of them."""
        if self.job.sampling.temperature == 0:
            return [0.0] * count
        while len(self._drawn_ahead) < count:
            self._drawn_ahead.append(self._random.random())
        return [self._drawn_ahead[place] for place in range(count)]

    def take_guessed(self) -> list[int]:
        """The guessed tokens of the last pass; what the slot holds ends before them now."""
        count, self.guessed = self.guessed, 0
        before = len(self.slot.ids) - count
        ids = self.slot.ids[before:]
        del self.slot.ids[before:]
        self.guess.read += count
        self._wrong_attended += attended_tokens(before, count)
        return ids

    def confirm(self, token: int) -> None:
        """A token that was just written had been guessed, and is in the cache."""
        self.guess.right += 1
        self.slot.ids.append(token)
        self.pending.clear()
        self._wrong_attended -= len(self.slot.ids)

    def guess_again(self, read: int, right: int, token: int) -> Decoded | None:
        """Of `read` guessed tokens the first `right` were written, and then `token`.

        Returns:
            The reply of a job that pauses here; None if a next pass reads what is still guessed.
        """
        if not self.guess.go_on(read, right, token) and self.job.pauses:
            return self._reply(FinishReason.STEP_LIMIT)
        self._read_ahead()
        return None

    def _read_ahead(self) -> None:
        """Let the next pass read guessed tokens behind the one that is to be computed."""
        limit = self.job.max_tokens - self.written
        window = self.guess.window(min(limit, self.max_context - len(self.slot.ids) - 1))
        self.guessed = len(window)
        self.pending += window

    @property
    def written(self) -> int:
        """Tokens of the step, those of earlier jobs included."""
        return self.job.begun + self.decoded

    def explain(self, logits: Tensor, token: int, eos: frozenset[int]) -> None:
        """Keep what the job wants to know of `token`, drawn from the logits [V]."""
        if self.job.explained:
            self._distributions.append(distribution(logits, self.job.sampling).cpu())
        if self.job.logprobs:
            of = log_probabilities(logits, self.job.sampling)
            alike = sorted(eos) if token in eos else [token]
            self._logprobs.append(float(of[alike].logsumexp(-1)))
        if (count := self.job.told) is not None:
            own = logits.float().log_softmax(-1)
            values, ids = own.topk(min(count, len(own)))
            listed = cast("tuple[list[int], list[float]]", (ids.tolist(), values.tolist()))
            self._chances.append((float(own[token]), tuple(zip(*listed, strict=True))))

    def add(self, token: int, eos: frozenset[int]) -> Decoded | None:
        """Take the sampled token; the reply if it ends the job."""
        self.decoded += 1
        if self._drawn_ahead:
            self._drawn_ahead.popleft()
        if token in eos:
            return self._reply(FinishReason.EOS, token)
        if self.step.add(token):
            return self._reply(FinishReason.STOP)
        if self.written >= self.job.max_tokens:
            return self._reply(FinishReason.STEP_LIMIT)
        if len(self.slot.ids) + 1 >= self.max_context:
            return self._reply(FinishReason.LENGTH)
        self.pending.append(token)
        return None

    def new_text(self) -> str:
        """What has been written since the last call; what a step's end cuts off never is."""
        new, self.shown = self.step.text[self.shown :], len(self.step.text)
        return new

    def _reply(self, finish: FinishReason, end: int | None = None) -> Decoded:
        ids, text = tuple(self.step.ids), self.step.text
        explained = torch.stack(self._distributions) if self._distributions else None
        known: tuple[float, ...] | None = None
        if self.job.logprobs:
            known = tuple(self._logprobs[: max(len(ids) - self.job.begun, 0) + (end is not None)])
        told = self._told()
        return Decoded(ids, text, finish, self._usage(), end, explained, known, told)

    def _usage(self) -> Usage:
        """What it cost; a guessed token that is right was read like the prompt, and not written.

        The last one of all is written, as no token follows from having read it: so as many tokens
        are written as there were passes that wrote.
        """
        usage, guess = self.usage(self.decoded), self.guess
        return replace(
            usage,
            prefill_tokens=usage.prefill_tokens + guess.read,
            decoded_tokens=usage.decoded_tokens - guess.right,
            attended_tokens=usage.attended_tokens + self._wrong_attended,
            verified_tokens=guess.read,
            accepted_tokens=guess.right,
        )

    def _told(self) -> tuple[WrittenToken, ...] | None:
        if self.job.told is None:
            return None
        new = self.step.pieces[self.job.begun :]
        return tuple(
            WrittenToken(text, logprob, top)
            for text, (logprob, top) in zip(new, self._chances, strict=False)
        )


@dataclass(slots=True, eq=False)
class PrefillRow(EngineRow):
    """A `Prefill` job."""

    job: Prefill = field(kw_only=True)
    _outputs: list[Tensor] = field(default_factory=list[Tensor])
    _read: int = 0
    _end: int = field(init=False)

    def __post_init__(self) -> None:
        super(PrefillRow, self).__post_init__()
        self._end = self.reused

    @property
    def last_only(self) -> bool:
        """Whether only the output after the last token is wanted."""
        return self.job.marks == (len(self.job.ids) - 1,)

    def add(self, outputs: Tensor, count: int) -> Prefilled | None:
        """Take the outputs [T, W] of the last `count` tokens computed; the reply when all are."""
        end = len(self.slot.ids)
        if self.last_only:
            wanted = [-1] if not self.pending else []
        else:
            first = max(end - count, self._end)  # what is computed again was taken before
            wanted = [mark - end for mark in self.job.marks if first <= mark < end]
        self._end = max(self._end, end)
        if wanted:
            self.take(outputs[wanted])
        if self.pending:
            return None
        return Prefilled(torch.cat(self._outputs), self.usage(decoded=0))

    def take(self, rows: Tensor) -> None:
        """Take the outputs [n, W] at the next n marks."""
        if self.job.digest is not None:
            rows = self.job.digest(rows, range(self._read, self._read + len(rows)))
        self._read += len(rows)
        columns = list(self.job.columns)
        self._outputs.append((rows[:, columns] if columns else rows).float().cpu())
