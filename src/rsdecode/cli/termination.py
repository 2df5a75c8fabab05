"""SIGTERM ends a run as Ctrl-C does: finished answers are kept, and the user is told so."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self


class Termination:
    """Treats SIGTERM as an interrupt while it is entered (a context manager).

    A second SIGTERM ends the process at once.

    Attributes:
        asked_for: whether SIGTERM came.
    """

    def __init__(self) -> None:
        self.asked_for = False
        self._before: Any = signal.SIG_DFL

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)

    def _interrupt(self, _: int, frame: FrameType | None) -> None:
        self.asked_for = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ctrl_c = signal.getsignal(signal.SIGINT)  # asyncio's, while an event loop runs
        if callable(ctrl_c):
            ctrl_c(signal.SIGINT, frame)
        else:  # a shell that starts a command in the background has it ignore Ctrl-C
            raise KeyboardInterrupt


@contextmanager
def ctrl_c_is_one() -> Generator[None]:
    """Has Ctrl-C end what is done here as Ctrl-C, whatever a library makes of it.

    torch and transformers turn an interrupt in the middle of an import into an ImportError. For
    work before an event loop runs, which has a handler of its own.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or (
        threading.current_thread() is not threading.main_thread()
    ):
        yield
        return
    came = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception as error:
        if came:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
