"""Keeps Hugging Face's libraries from talking over us while a model is loaded."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def quiet_libraries(*, bars: bool = False) -> Generator[None]:
    """No reports and, unless `bars`, no progress bars of transformers and the hub in this block.

    What the user has set in the environment or in the libraries wins. `RSD_DEBUG` lets everything
    be heard.

    Args:
        bars: show their progress bars, where a download may take long.
    """
    if os.environ.get("RSD_DEBUG"):
        yield
        return
    if "transformers" not in sys.modules:  # it reads these when it is imported
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        if not bars:
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
            os.environ.setdefault("TQDM_DISABLE", "1")
        yield
        return
    from transformers.utils import logging as reports

    verbosity, shown = reports.get_verbosity(), reports.is_progress_bar_enabled()
    reports.set_verbosity(max(verbosity, logging.ERROR))
    if not bars:
        reports.disable_progress_bar()
    try:
        yield
    finally:
        reports.set_verbosity(verbosity)
        if shown:
            reports.enable_progress_bar()
