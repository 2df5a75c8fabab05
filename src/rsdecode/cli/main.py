"""The entry point of `rsd`: every error becomes one line and an exit code.

Exit codes: 0 done · 1 some problems or lines failed · 2 wrong options, configuration or models ·
130 interrupted (Ctrl-C) · 141 the reader of our output went away · 143 terminated (SIGTERM).
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from rsdecode import __version__
from rsdecode.cli.commands import HELP_OPTIONS, CommandList
from rsdecode.cli.messages import InterruptedRun, ReaderGone, print_error, print_note
from rsdecode.cli.termination import Termination
from rsdecode.core.errors import RsdError

DONE, SOME_FAILED, USAGE, INTERRUPTED, BROKEN_PIPE, TERMINATED = 0, 1, 2, 130, 141, 143

app = typer.Typer(
    name="rsd",
    cls=CommandList,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=HELP_OPTIONS,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rsd {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    """Reward-Guided Speculative Decoding: a small model drafts, a large one writes the rest."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns its exit code. A traceback only shows with RSD_DEBUG=1."""
    if not os.environ.get("RSD_DEBUG"):
        logging.getLogger("rsdecode").addHandler(logging.NullHandler())  # errors are shown anyway
        logging.getLogger("rsdecode").propagate = False
    try:
        with Termination() as termination:
            code = _run(arguments)
        sys.stdout.flush()
    except (ReaderGone, BrokenPipeError):
        _drop_output()
        return BROKEN_PIPE
    except OSError as error:  # what was printed last does not fit on a disk
        _drop_output()
        return _failed(_os_message(error), USAGE)
    return TERMINATED if code == INTERRUPTED and termination.asked_for else code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = app(arguments, prog_name="rsd", standalone_mode=False)
    except InterruptedRun as stopped:
        print_note(str(stopped))
        return INTERRUPTED
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except (ReaderGone, BrokenPipeError):
        raise
    except RsdError as error:
        return _failed(str(error), USAGE)
    except Exception as error:  # noqa: BLE001 - whatever it is, a user is shown one line
        if (usage := _usage_message(error)) is not None:
            return _failed(usage, USAGE) if usage else USAGE
        if isinstance(error, OSError):
            return _failed(_os_message(error), USAGE)
        return _failed(f"{type(error).__name__}: {error} (a bug? RSD_DEBUG=1 shows where)", USAGE)
    if code == INTERRUPTED:
        print_note("interrupted")
    return code if isinstance(code, int) else DONE


def _drop_output() -> None:
    """What is still to be printed goes nowhere, or Python would complain of it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _os_message(error: OSError) -> str:
    """Of an error of the system; where it names no file, it came from printing."""
    if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"standard output cannot be written: {error.strerror}: make room on its disk, or send "
            "it elsewhere, and run the command again"
        )
    return str(error)


def _failed(message: str, code: int) -> int:
    if os.environ.get("RSD_DEBUG"):
        traceback.print_exc()
    print_error(message)
    return code


def _usage_message(error: Exception) -> str | None:
    """The text of a wrong command line, whichever click typer was built with."""
    message = getattr(error, "format_message", None)
    if message is None:
        return None
    text = str(message()).strip().rstrip(".")
    path = getattr(getattr(error, "ctx", None), "command_path", "rsd")
    return f"{text} (see '{path} --help')" if text else ""  # empty: the help has been shown
