"""The engine: continuous batching over one model with a KV cache that outlives requests.

    admit     waiting jobs take slots; what their slot already holds is not computed again
    select    rows with a similar amount left to compute, within a token budget
    forward   one padded pass over the selected rows
    collect   sample tokens, gather outputs, answer what is done

A decode step is the case in which every row has one token left to compute.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from rsdecode.backends.transformers.cache import SlotCache
from rsdecode.backends.transformers.jobs import Decode, Decoded, Prefill, Prefilled
from rsdecode.backends.transformers.network import Network
from rsdecode.backends.transformers.sampling import INVALID, sample
from rsdecode.backends.transformers.serving import DecodeRow, PrefillRow, Ticket
from rsdecode.backends.transformers.slots import SlotTable
from rsdecode.backends.transformers.worker import worker_for
from rsdecode.core.errors import Cancelled, OutOfMemory, RequestError, RsdError
from rsdecode.core.requests import Failed
from rsdecode.text.step_text import Detokenizer, StepText

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

Row = DecodeRow | PrefillRow
Job = TypeVar("Job", Decode, Prefill)
PREFILL_TOKENS = 2048
"""Tokens of one padded forward pass at most, padding included."""
CHUNK_TOKENS = 512
"""Tokens of one row in one forward pass at most; longer prompts take several."""


class Engine:
    """Serves token-id jobs on one model.

    Args:
        network: the model.
        tokenizer: turns new tokens into text; needed for `decode`.
        eos: ids that end a sequence.
        slots: sequences in the cache, and rows of a batch at most.
        max_context: tokens of a sequence at most.
    """

    def __init__(
        self,
        network: Network,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        eos: frozenset[int] = frozenset(),
        slots: int = 32,
        max_context: int,
    ) -> None:
        self.max_context = max_context
        self._network = network
        self._tokenizer = tokenizer
        self._eos = eos
        self._table = SlotTable(slots)
        self._cache = SlotCache(slots, max_context)
        self._waiting: deque[Ticket] = deque()
        self._rows: list[Row] = []
        self._arrived = 0
        self._admitted = 0
        self._closed = False
        self._worker = worker_for(str(network.device))
        self._worker.add(self)

    @property
    def cache_bytes(self) -> int:
        """Memory of the keys and values."""
        return self._cache.nbytes

    async def decode(self, jobs: Sequence[Decode]) -> list[Decoded | Failed]:
        """Serve jobs that write; replies in their order."""
        return await self._serve(jobs)

    async def prefill(self, jobs: Sequence[Prefill]) -> list[Prefilled | Failed]:
        """Serve jobs that read; replies in their order."""
        return await self._serve(jobs)

    async def _serve(self, jobs: Sequence[Job]) -> list[Any]:
        if self._closed:
            return [Failed(Cancelled("the model was closed"))] * len(jobs)
        loop = asyncio.get_running_loop()
        tickets = [
            Ticket(job, loop.create_future(), loop, place=self._arrived + i)
            for i, job in enumerate(jobs)
        ]
        self._arrived += len(jobs)
        self._waiting.extend(tickets)
        self._worker.notify()
        try:
            return list(await asyncio.gather(*(ticket.future for ticket in tickets)))
        finally:
            for ticket in tickets:
                ticket.cancelled = not ticket.future.done() or ticket.future.cancelled()

    def end(self, session: str) -> None:
        """A session is over; may be called from any thread."""
        self._table.end(session)

    def clear(self) -> None:
        """Forget what idle slots hold; call it while no request is under way."""
        self._table.clear()

    def close(self) -> None:
        """Answer what is under way with `Failed` and free the cache."""
        if self._closed:
            return
        self._closed = True
        self._worker.remove(self)
        self._fail(list(self._rows), Cancelled("the model was closed"))
        while self._waiting:
            self._waiting.popleft().reply(Failed(Cancelled("the model was closed")))
        self._cache = SlotCache(1, 1)

    @property
    def load(self) -> int:
        """Rows under way and jobs that wait, up to a full batch."""
        return min(len(self._rows) + len(self._waiting), len(self._table.slots))

    @torch.inference_mode()
    def step(self) -> None:
        """Advance some jobs. Called by the device's worker thread alone."""
        rows: list[Row] = []
        try:
            self._drop_cancelled()
            self._admit()
            rows = self._select()
            if rows:
                self._advance(rows)
        except Exception as error:
            logger.exception("a forward pass failed")
            message = f"the model failed: {type(error).__name__}: {error}"
            self._fail(rows or list(self._rows), RequestError(message))

    def _drop_cancelled(self) -> None:
        for row in [row for row in self._rows if row.ticket.cancelled]:
            self._leave(row)

    def _admit(self) -> None:
        """Give waiting jobs their slots.

        Those that may run longest go first, so that the last to end do not run almost alone; but
        no job is admitted more than a batch later than in the order of arrival.
        """
        while self._waiting:
            oldest = self._waiting[0]
            overdue = self._admitted >= oldest.place + len(self._table.slots)
            ticket = oldest if overdue else max(self._waiting, key=_longest)
            if not ticket.cancelled:
                row = self._place(ticket)
                if row is None:
                    return
                self._rows.append(row)
            self._admitted += 1
            self._waiting.remove(ticket)

    def _place(self, ticket: Ticket) -> Row | None:
        """The row of a job, with what its slot holds of it; None while all slots are busy."""
        job = ticket.job
        first_output = min(job.marks) if isinstance(job, Prefill) else len(job.ids) - 1
        placement = self._table.place(job.session, job.ids, first_output)
        if placement is None:
            return None
        slot, reused, copy_from = placement
        if copy_from is not None:
            self._cache.copy(copy_from.index, slot.index, reused)
        if isinstance(job, Prefill):
            return PrefillRow(ticket, slot, reused, job=job)
        assert self._tokenizer is not None, "an engine that writes has a tokenizer"
        step = StepText(job.boundary, Detokenizer(self._tokenizer, job.ids))
        return DecodeRow(ticket, slot, reused, job=job, step=step, max_context=self.max_context)

    def _select(self) -> list[Row]:
        """Rows for one forward pass: prompts first, those of similar length together."""
        reading = [row for row in self._rows if len(row.pending) > 1]
        rows = sorted(reading or self._rows, key=lambda row: (row.last_only, -len(row.pending)))
        selected: list[Row] = []
        for row in rows:
            width = min(len(rows[0].pending), CHUNK_TOKENS)
            too_many = (len(selected) + 1) * width > PREFILL_TOKENS and selected
            if too_many or row.last_only != rows[0].last_only or 2 * len(row.pending) < width:
                break
            selected.append(row)
        return sorted(selected, key=lambda row: row.slot.index)

    def _advance(self, rows: list[Row]) -> None:
        """Run rows forward; where the memory does not suffice, in halves."""
        try:
            outputs, counts = self._forward(rows)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if len(rows) == 1:
                self._fail(rows, _out_of_memory(self._network.device))
                return
            middle = len(rows) // 2
            self._advance(rows[:middle])
            self._advance(rows[middle:])
            return
        self._collect(rows, outputs, counts)

    def _forward(self, rows: list[Row]) -> tuple[Tensor, list[int]]:
        """Outputs [B, T or 1, W] for up to a chunk of each row's pending tokens."""
        counts = [min(len(row.pending), CHUNK_TOKENS) for row in rows]
        width = max(counts)
        slots = [row.slot.index for row in rows]
        starts = [len(row.slot.ids) for row in rows]
        batch = self._cache.batch(slots, counts, starts, width)
        ids = [
            [0] * (width - count) + row.pending[:count]
            for row, count in zip(rows, counts, strict=True)
        ]
        outputs = self._network.forward(
            torch.tensor(ids), batch, self._cache, last_only=rows[0].last_only
        )
        return outputs, counts

    def _collect(self, rows: list[Row], outputs: Tensor, counts: list[int]) -> None:
        """Hand each row its outputs and answer what is done."""
        writing: list[tuple[int, DecodeRow]] = []
        for place, (row, count) in enumerate(zip(rows, counts, strict=True)):
            row.advance(count)
            if isinstance(row, PrefillRow):
                if (read := row.add(outputs[place], count)) is not None:
                    self._finish(row, read)
            elif not row.pending:
                writing.append((place, row))
        if not writing:
            return
        logits = outputs[[place for place, _ in writing], -1]
        options = [row.job.sampling for _, row in writing]
        tokens = sample(logits, options, [row.uniform() for _, row in writing])
        for place, ((_, row), token) in enumerate(zip(writing, tokens, strict=True)):
            if token == INVALID:
                self._fail([row], not_a_number())
                continue
            row.explain(logits[place])
            if (written := row.add(token, self._eos)) is not None:
                self._finish(row, written)

    def _finish(self, row: Row, reply: Decoded | Prefilled) -> None:
        self._leave(row)
        row.ticket.reply(reply)

    def _leave(self, row: Row) -> None:
        self._rows.remove(row)
        self._table.release(row.slot)

    def _fail(self, rows: Sequence[Row], error: RsdError) -> None:
        for row in rows:
            if row in self._rows:
                self._rows.remove(row)
                self._table.forget(row.slot)
                row.ticket.reply(Failed(error))


def _longest(ticket: Ticket) -> int:
    """Tokens that a job may write."""
    return ticket.job.max_tokens if isinstance(ticket.job, Decode) else 0


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed; the CPU allocator raises a plain RuntimeError."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or "can't allocate memory" in str(error)


def _out_of_memory(device: torch.device) -> OutOfMemory:
    return OutOfMemory(
        f"{device} is out of memory: lower --slots, --concurrency or --max-tokens, "
        "or choose --dtype bfloat16"
    )


def not_a_number() -> RequestError:
    """The error of a model whose outputs are none."""
    return RequestError(
        "the model's logits are not numbers (NaN): its weights are damaged or overflow in this "
        "dtype; try --dtype float32"
    )
