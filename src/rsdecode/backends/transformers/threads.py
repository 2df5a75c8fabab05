"""How many threads a forward pass on a processor takes.

The threads of a team wait for each other after every operation, and spin meanwhile. In a small
model an operation takes less time than that, and beside another busy process, for whose time slice
the whole team then waits, passes take twenty times as long. So a small model takes one thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

VARIABLE = "OMP_NUM_THREADS"
SMALL = 10_000_000
"""Parameters below which a team gains less than its waiting costs."""


def team(device: torch.device, parameters: int, wanted: int | None = None) -> int | None:
    """Threads for the passes of a model; None to leave them as they are.

    Args:
        device: where the model is.
        parameters: of the model.
        wanted: what the user has set; before it comes only that other devices need none.
    """
    if device.type != "cpu":
        return None
    if wanted is not None:
        return wanted
    if VARIABLE in os.environ:  # the user's word, which torch has heeded
        return None
    if parameters < SMALL:
        return 1
    from joblib import cpu_count

    return int(cpu_count(only_physical_cores=True))  # of those that this process may use


def set_by(count: int | None) -> Callable[[], None]:
    """A function that has the thread that calls it compute with `count` threads.

    torch's own setting holds for the threads of the whole process.
    """
    if count is None:
        return lambda: None
    from threadpoolctl import ThreadpoolController

    teams = ThreadpoolController()

    def set_threads() -> None:
        if torch.get_num_threads() != count:
            teams.limit(limits=count, user_api="openmp")

    return set_threads
