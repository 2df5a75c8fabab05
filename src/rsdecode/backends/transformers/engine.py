"""The engine: continuous batching over one model with a KV cache that outlives requests.

    admit     waiting jobs take slots; what their slot already holds is not computed again
    select    rows with a similar amount left to compute, within a token budget
    forward   one padded pass over the selected rows
    collect   sample tokens, gather outputs, answer what is done

A decode step is the case in which every row has one token left to compute.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from rsdecode.backends.transformers.batching import Row, Turns, by_slot
from rsdecode.backends.transformers.cuda_graphs import Recorder
from rsdecode.backends.transformers.even_batching import EvenTurns
from rsdecode.backends.transformers.failures import (
    check_job,
    model_failed,
    not_a_number,
    not_prepared,
    was_closed,
)
from rsdecode.backends.transformers.families import Reading
from rsdecode.backends.transformers.footprint import footprint
from rsdecode.backends.transformers.guesses import Guess
from rsdecode.backends.transformers.jobs import Decode, Decoded, Prefill, Prefilled
from rsdecode.backends.transformers.kept_states import KeptStates
from rsdecode.backends.transformers.network import Network
from rsdecode.backends.transformers.passes import Computed, Fault, ForwardPasses
from rsdecode.backends.transformers.sampling import INVALID, sample, sample_apart
from rsdecode.backends.transformers.serving import DecodeRow, PrefillRow
from rsdecode.backends.transformers.slots import Slot, SlotTable
from rsdecode.backends.transformers.snapshots import SnapshotTable
from rsdecode.backends.transformers.threads import set_by, team
from rsdecode.backends.transformers.tickets import Outbox, Ticket, replies_to, tickets_for
from rsdecode.backends.transformers.waiting_jobs import WaitingJobs
from rsdecode.backends.transformers.worker import run_in_temporary_thread, worker_for
from rsdecode.core.errors import RsdError
from rsdecode.core.protocols import Show
from rsdecode.core.requests import Failed
from rsdecode.text.step_text import Detokenizer, StepText

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
FEW = 64
"""Outputs a token up to which those of a whole pass are fetched at once: rewards, no vocabulary."""


class Engine:
    """Serves token-id jobs on one model.

    Coroutines of any event loop, in any thread, hand jobs over in an inbox. Everything else belongs
    to the device's worker thread, which calls `step`: slots, rows and cache have one owner.

    Args:
        network: the model.
        tokenizer: turns new tokens into text; needed for `decode`.
        eos: ids that end a sequence.
        slots: sequences in the cache, and rows of a batch at most.
        max_context: tokens of a sequence at most.
        threads: of a forward pass on a processor; by default as many as help (see `threads`).
        recorder: of decode passes (see `cuda_graphs`); None to compute each anew.
    """

    def __init__(
        self,
        network: Network,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        eos: frozenset[int] = frozenset(),
        slots: int = 32,
        max_context: int,
        threads: int | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.max_context = max_context
        self._network = network
        self._tokenizer = tokenizer
        self._eos = eos
        self._slots = slots
        snapshots = _snapshots(network, slots)
        self._table = snapshots or SlotTable(slots)
        self._passes = ForwardPasses(network, slots, max_context, snapshots, recorder)
        self._states: KeptStates | None = None
        if snapshots is not None:
            self._states = KeptStates(snapshots, self._passes, network.reading)
        self._inbox: SimpleQueue[Ticket | Callable[[], None]] = SimpleQueue()
        self._outbox = Outbox()
        self._waiting = WaitingJobs(slots)
        self._rows: list[Row] = []
        self._turns = Turns() if self._states is None else EvenTurns(network.reading)
        self._closing = threading.Lock()
        self._closed = False
        self.threads = team(network.device, network.parameters, threads)
        self._set_threads = set_by(self.threads)
        self._worker = worker_for(str(network.device))
        self._worker.add(self)

    @property
    def cache_bytes(self) -> int:
        """Memory of the keys, values and states."""
        return self._passes.cache.nbytes

    @property
    def has_states(self) -> bool:
        """Whether the model has layers with a recurrent or convolution state."""
        return self._states is not None

    @property
    def why_no_graphs(self) -> str | None:
        """Why decode passes are not recorded although they were to be; None if there is no why."""
        return self._passes.why_no_graphs

    def describe_cache(self) -> str:
        """How much memory the cache may take, for people; computes one token."""
        size = run_in_temporary_thread(partial(footprint, self._network))
        return size.described(self._slots, self.max_context)

    async def decode(
        self, jobs: Sequence[Decode], show: Show | None = None
    ) -> list[Decoded | Failed]:
        """Serve jobs that write; replies in their order.

        Args:
            jobs: what is to be written.
            show: takes new text of the job at a place, as each token comes. Joined, the texts of a
                job are the text of its reply.
        """
        return await self._serve(jobs, show=show)

    async def prefill(self, jobs: Sequence[Prefill]) -> list[Prefilled | Failed]:
        """Serve jobs that read; replies in their order."""
        return await self._serve(jobs)

    async def conclude(
        self, jobs: Sequence[Prefill], conclude: Callable[[int, Prefilled], Result]
    ) -> list[Result | Failed]:
        """Serve jobs that read, and give what `conclude` makes of each, in their order.

        Args:
            jobs: what is to be read.
            conclude: called in the engine's thread, where computing keeps no event loop waiting,
                with a job's place and what was read. What it raises fails its job alone.
        """
        return await self._serve(jobs, conclude=conclude)

    async def _serve(
        self,
        jobs: Sequence[Decode | Prefill],
        show: Show | None = None,
        conclude: Callable[[int, Prefilled], object] | None = None,
    ) -> list[Any]:
        tickets = tickets_for(jobs, show, conclude)
        with self._closing:
            if self._closed:
                return [was_closed()] * len(jobs)
            for ticket in tickets:
                self._inbox.put(ticket)
        self._worker.notify()
        return await replies_to(tickets)

    def end(self, session: str) -> None:
        """A session is over; may be called from any thread."""
        self._inbox.put(partial(self._table.end, session))
        self._worker.notify()  # or notes would pile up in an engine that is asked nothing more

    def clear(self) -> None:
        """Forget what idle slots hold; call it while no request is under way."""
        self._inbox.put(self._table.clear)

    def close(self) -> None:
        """Answer what is under way with `Failed` and free the cache."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._worker.remove(self)  # from here on nobody steps
        self._receive()
        self._fail(list(self._rows), was_closed().error)
        while (ticket := self._waiting.take()) is not None:
            self._outbox.put(ticket, was_closed())
        self._outbox.flush()
        self._passes.free()

    @property
    def load(self) -> int:
        """Rows under way and jobs that wait, up to a full batch."""
        return min(len(self._rows) + len(self._waiting) + self._inbox.qsize(), self._slots)

    @torch.inference_mode()
    def step(self) -> None:
        """Advance some jobs. Called by the device's worker thread alone."""
        try:
            self._set_threads()
            self._receive()
            self._drop_cancelled()
            self._admit()
            self._write_kept()
            rows = self._turns.select(self._rows)
            self._passes.bring_together(rows, self._table)
            for result in self._passes.run(by_slot(rows)):
                if isinstance(result, Fault):
                    logger.error("a forward pass failed", exc_info=result.error)
                    self._fail([result.row], model_failed(result.error, self._network.device))
                else:
                    self._collect(result)
        except Exception as error:
            logger.exception("a step of the engine failed")
            self._fail(list(self._rows), model_failed(error, self._network.device))
        finally:
            self._outbox.flush()

    def _receive(self) -> None:
        """Take what has come: jobs, and notes such as the end of a session, in their order."""
        while not self._inbox.empty():
            item = self._inbox.get()
            if isinstance(item, Ticket):
                try:
                    self._waiting.add(item)
                except Exception as error:  # noqa: BLE001  logged where it is answered
                    self._refuse(item, error)
            else:
                item()

    def _drop_cancelled(self) -> None:
        for row in [row for row in self._rows if row.ticket.cancelled]:
            self._leave(row)

    def _admit(self) -> None:
        """Give waiting jobs the free slots; one that cannot be prepared fails alone."""
        while self._table.has_room and (ticket := self._waiting.take()) is not None:
            if ticket.cancelled:
                continue
            try:
                self._rows.append(self._place(ticket))
            except Exception as error:  # noqa: BLE001  logged where it is answered
                self._refuse(ticket, error)

    def _refuse(self, ticket: Ticket, error: Exception) -> None:
        """Answer a job that never had a slot."""
        if not isinstance(error, RsdError):
            logger.error("a request could not be prepared", exc_info=error)
        self._outbox.put(ticket, Failed(not_prepared(error)))

    def _place(self, ticket: Ticket) -> Row:
        """The row of a job, with what its slot holds of it."""
        job = ticket.job
        check_job(job, self._network.vocabulary_size)
        first_output = min(job.marks) if isinstance(job, Prefill) else len(job.ids) - 1
        nothing_left = isinstance(job, Prefill) and first_output + 1 == len(job.ids)
        answered = None if nothing_left else first_output + 1
        placed = self._table.place(job.session, job.ids, first_output, answered)
        slot, reused = placed.slot, placed.reused
        try:
            if placed.copy_from is not None:
                self._passes.cache.copy(placed.copy_from.index, slot.index, reused)
            row = self._row(ticket, slot, reused)
            if self._states is not None:
                self._states.begin(row, placed)
            return row
        except Exception:
            self._table.forget(slot)
            raise

    def _row(self, ticket: Ticket, slot: Slot, reused: int) -> Row:
        job = ticket.job
        if isinstance(job, Prefill):
            return PrefillRow(ticket, slot, reused, job=job)
        assert self._tokenizer is not None, "an engine that writes has a tokenizer"
        step = StepText(job.boundary, Detokenizer(self._tokenizer, job.prompt))
        # going back within a step takes a snapshot for each token, of a model with states
        guess = Guess(job.guess if self._states is None else ())
        return DecodeRow(
            ticket, slot, reused, job=job, step=step, max_context=self.max_context, guess=guess
        )

    def _write_kept(self) -> None:
        """The first tokens of rows whose states and the outputs after them were there already."""
        rows = [r for r in self._rows if isinstance(r, DecodeRow) and not r.pending]
        if rows and self._states is not None:
            self._sample(rows, self._states.outputs(rows))

    def _collect(self, computed: Computed) -> None:
        """Hand each row its outputs and answer what is done; a row's fault is its own."""
        outputs = computed.outputs
        if self._states is None and outputs.shape[-1] <= FEW:
            outputs = outputs.cpu()  # the host waits once, not for each row
        writing: list[tuple[int, DecodeRow]] = []
        for row, count in zip(computed.rows, computed.counts, strict=True):
            row.advance(count)
        if self._states is not None:
            self._states.keep(computed.rows, outputs[:, -1])
        for place, (row, count) in enumerate(zip(computed.rows, computed.counts, strict=True)):
            if isinstance(row, PrefillRow):
                with self._failing_alone(row):
                    if (read := row.add(outputs[place], count)) is not None:
                        if self._states is not None:
                            self._states.leave_read(row.slot, outputs[place, -1])
                        self._finish(row, read)
            elif not row.pending:
                writing.append((place, row))
        if any(row.guessed for _, row in writing):
            for place, row in writing:
                with self._failing_alone(row):
                    self._write_guessed(row, outputs[place, -1 - row.guessed :])
        elif writing:
            everyone = len(writing) == len(computed.rows)  # the usual case, which needs no copy
            last = outputs[:, -1] if everyone else outputs[[place for place, _ in writing], -1]
            self._sample([row for _, row in writing], last)

    def _sample(self, rows: Sequence[DecodeRow], logits: Tensor) -> None:
        """Give rows their next tokens, drawn from `logits` [B, V]."""
        sampling = [row.job.sampling for row in rows]
        tokens = sample_apart(logits, sampling, [row.uniforms(1)[0] for row in rows])
        for place, (row, token) in enumerate(zip(rows, tokens, strict=True)):
            with self._failing_alone(row):
                if isinstance(token, Exception):
                    raise token
                if not self._write(row, token, logits[place]):
                    self._guess_again(row, 0, 0, token)

    def _write_guessed(self, row: DecodeRow, logits: Tensor) -> None:
        """Give a row the guessed tokens that it draws itself, and the one after them.

        Args:
            row: whose guessed tokens were read.
            logits: [guessed + 1, V], before each of them and after the last.
        """
        guessed = row.take_guessed()
        tokens = sample(logits, [row.job.sampling] * len(logits), row.uniforms(len(logits)))
        for right, token in enumerate(tokens):
            if self._write(row, token, logits[right]):
                return
            if right == len(guessed) or token != guessed[right]:
                self._guess_again(row, len(guessed), right, token)
                return
            row.confirm(token)

    def _guess_again(self, row: DecodeRow, read: int, right: int, token: int) -> None:
        if (paused := row.guess_again(read, right, token)) is not None:
            self._finish(row, paused)

    def _write(self, row: DecodeRow, token: int, logits: Tensor) -> bool:
        """Give a row its new token, drawn from `logits` [V]; whether that ended it."""
        if token == INVALID:
            self._fail([row], not_a_number())
            return True
        row.explain(logits, token, self._eos)
        written = row.add(token, self._eos)
        if row.ticket.on_text is not None and (text := row.new_text()):
            self._outbox.put(row.ticket, text)
        if written is not None:
            if self._states is not None:
                self._states.leave_written(row.slot, logits)
            self._finish(row, written)
        return written is not None

    @contextmanager
    def _failing_alone(self, row: Row) -> Generator[None]:
        try:
            yield
        except Exception as error:
            logger.exception("a row failed")
            self._fail([row], model_failed(error, self._network.device))

    def _finish(self, row: Row, reply: Decoded | Prefilled) -> None:
        conclude = row.ticket.conclude
        concluded = reply if conclude is None or isinstance(reply, Decoded) else conclude(reply)
        self._leave(row)
        self._outbox.put(row.ticket, concluded)

    def _leave(self, row: Row) -> None:
        self._rows.remove(row)
        self._table.release(row.slot)

    def _fail(self, rows: Sequence[Row], error: RsdError) -> None:
        for row in rows:
            if row in self._rows:
                self._rows.remove(row)
                self._table.forget(row.slot)
                self._outbox.put(row.ticket, Failed(error))


def _snapshots(network: Network, slots: int) -> SnapshotTable | None:
    """The table for a model with states; None for one without."""
    if network.reading is Reading.PADDED:
        return None
    return SnapshotTable(slots, least=2 if network.reading is Reading.WHOLE else 1)
