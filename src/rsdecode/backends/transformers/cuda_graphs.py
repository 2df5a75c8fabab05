"""Decode passes that are recorded once and played back: CUDA graphs.

A token of a large model costs the host several hundred launches of kernels, which take longer than
a fast GPU needs for the work itself. A graph is launched at once. It computes on fixed tensors, so
there is one for each number of rows and each span of the cache, both rounded up; rows that are
missing compute something of no use, and write to the spare column of the cache.

A graph counts only if it gives what the plain pass gives, which is compared when it is recorded.
Where it does not, or cannot be recorded, passes go on without, and a note says so.

Axes: B rows, W outputs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from rsdecode.backends.transformers.cache import Batch, SlotCache
from rsdecode.backends.transformers.network import Network
from rsdecode.backends.transformers.probe import relative_distance
from rsdecode.core.errors import ModelLoadError

logger = logging.getLogger(__name__)

SPAN = 256
"""Columns by which the spans of graphs differ."""
SEEN = 2
"""Plain passes of a size before it is recorded: recording takes as long as some tens of passes."""
CLOSE = 0.05
"""Relative distance of outputs that is put down to the order of additions in short types."""


class Recorder(Protocol):
    """Records what computes on fixed tensors."""

    def record(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Record `run`; what it returns does the same again, and gives the same tensor anew."""
        ...


class CudaRecorder:
    """Records CUDA graphs, which share their memory: one is played at a time.

    Args:
        device: of all tensors.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Record `run` (see `Recorder`)."""
        with torch.cuda.device(self._device):
            side, current = torch.cuda.Stream(), torch.cuda.current_stream()
            side.wait_stream(current)
            with torch.cuda.stream(side):
                run()  # libraries allocate what they need in the first pass on a stream
            current.wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                output = run()

        def play() -> Tensor:
            graph.replay()
            return output

        return play


def recorder_for(device: torch.device) -> Recorder:
    """What records passes on a device.

    Raises:
        ModelLoadError: nothing does.
    """
    if device.type != "cuda":
        raise ModelLoadError(f"--cuda-graphs need a CUDA device, not {device}: leave them out")
    return CudaRecorder(device)


class _Size(NamedTuple):
    """What a graph is recorded for."""

    rows: int
    span: int


class DecodeGraphs:
    """Decode passes of a network as recordings.

    Attributes:
        why_not: they are not used any more; None while they are.

    Args:
        network: the model; its layers have no states.
        cache: of its keys and values.
        slots: sequences in the cache.
        recorder: records.
    """

    def __init__(self, network: Network, cache: SlotCache, slots: int, recorder: Recorder) -> None:
        self._network = network
        self._cache = cache
        self._slots = slots
        self._recorder = recorder
        self._length = 0
        self._seen: dict[_Size, int] = {}
        self._recorded: dict[_Size, tuple[Tensor, Callable[[], Tensor]]] = {}
        self.why_not: str | None = None

    @torch.inference_mode()
    def run(
        self, slots: Sequence[int], tokens: Sequence[int], starts: Sequence[int]
    ) -> Tensor | None:
        """Outputs [B, 1, W] after one more token of each row; None where a plain pass is due.

        Args:
            slots: of each row.
            tokens: the new one of each row.
            starts: how many tokens each row's slot holds.
        """
        if self.why_not is not None:
            return None
        size = self._size(len(slots), max(starts) + 1)
        if size is None:
            return None
        if size not in self._recorded:
            self._seen[size] = self._seen.get(size, 0) + 1
            return None if self._seen[size] <= SEEN else self._record(size, slots, tokens, starts)
        known, play = self._recorded[size]
        known.copy_(self._known(size, slots, tokens, starts), non_blocking=True)
        return play()[: len(slots)].clone()

    def _size(self, rows: int, span: int) -> _Size | None:
        """The size of the graph for a pass; None where the cache has to grow first."""
        length = self._cache.length
        if span >= length:
            return None
        if length != self._length:  # the cache has grown, and has other tensors
            self._recorded.clear()
            self._length = length
        rounded = min(-(-span // SPAN) * SPAN, length)
        return _Size(min(1 << (rows - 1).bit_length(), self._slots), rounded)

    def _known(
        self, size: _Size, slots: Sequence[int], tokens: Sequence[int], starts: Sequence[int]
    ) -> Tensor:
        """Slot, position, column and token of each row [rows, 4], on the host."""
        given = list(zip(slots, starts, starts, tokens, strict=True))
        missing = [(slots[0], 0, self._length - 1, 0)] * (size.rows - len(given))
        return torch.tensor([*given, *missing])

    def _record(
        self, size: _Size, slots: Sequence[int], tokens: Sequence[int], starts: Sequence[int]
    ) -> Tensor | None:
        """Record a pass, and compare it with a plain one, which writes the same into the cache.

        Returns:
            What the plain one gives; None where one of them failed.
        """
        network, cache = self._network, self._cache
        known = self._known(size, slots, tokens, starts).to(network.device)

        def run() -> Tensor:
            rows, position = known[:, 0], known[:, 1:2]
            column, ids = known[:, 2:3], known[:, 3:4]
            batch = Batch(ids, rows, rows, position, column, size.span, begins=False)
            return network.forward(ids, batch, cache, last_only=True)

        try:
            play = self._recorder.record(run)
            ours = play()[: len(slots)]
            pieces = [[token] for token in tokens]
            plain = cache.batch(slots, pieces, starts, network.device)
            theirs = network.forward(plain.ids, plain, cache, last_only=True)
            distance = relative_distance(ours.float(), theirs.float())
        except Exception as error:  # noqa: BLE001  passes go on without
            self._give_up(f"{type(error).__name__}: {str(error)[:200]}")
            return None
        if distance <= CLOSE:
            self._recorded[size] = known, play
        else:
            self._give_up(f"outputs are {distance:.2g} away from those of a plain pass")
        return theirs

    def _give_up(self, reason: str) -> None:
        self.why_not = reason
        self._recorded.clear()
        logger.warning("CUDA graphs are not used: %s", reason)
