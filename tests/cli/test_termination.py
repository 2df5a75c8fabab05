from __future__ import annotations

import asyncio
import os
import signal

import pytest

from rsdecode.cli.termination import Termination, ctrl_c_is_one


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_is_an_interrupt_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Termination() as termination:
        with pytest.raises(KeyboardInterrupt):
            terminate()
        assert termination.asked_for
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # a second one ends the process
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("background", [False, True])
def test_an_event_loop_ends_in_order(background: bool) -> None:
    """Also where a shell started the command in the background, so that it ignores Ctrl-C."""
    cleaned: list[str] = []

    async def work() -> None:
        asyncio.get_running_loop().call_later(0.01, terminate)
        try:
            await asyncio.sleep(20)
        finally:
            cleaned.append("up")

    before = signal.getsignal(signal.SIGINT)
    if background:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Termination() as termination, pytest.raises(KeyboardInterrupt):
            asyncio.run(work())
    finally:
        signal.signal(signal.SIGINT, before)
    assert termination.asked_for
    assert cleaned == ["up"]


def test_ctrl_c_that_a_library_turns_into_an_error_is_ctrl_c() -> None:
    """As imports of torch and transformers do that are cut off in the middle."""

    def imports() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("cannot load module more than once per process") from None

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), ctrl_c_is_one():
            imports()
        with pytest.raises(ValueError, match="a mistake"), ctrl_c_is_one():
            raise ValueError("a mistake")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
