"""The entry point of `rsd`: every error becomes one line and an exit code.

Exit codes: 0 done · 1 some problems or lines failed · 2 wrong options, configuration or models ·
130 interrupted · 141 the reader of our output went away.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from rsdecode import __version__
from rsdecode.cli import demo, doctor, lm_eval, report, solve, tune
from rsdecode.cli import eval as evaluate
from rsdecode.cli.messages import InterruptedRun, ReaderGone, print_error, print_note
from rsdecode.core.errors import RsdError

DONE, SOME_FAILED, USAGE, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141

app = typer.Typer(
    name="rsd",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("solve")(solve.command)
app.command("demo")(demo.command)
app.command("doctor")(doctor.command)
app.command("eval")(evaluate.command)
app.command("lm-eval", context_settings=lm_eval.CONTEXT)(lm_eval.command)
app.command("report")(report.command)
app.command("tune")(tune.command)


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
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # so that python:MODULE:FUNCTION finds the user's own module
    if not os.environ.get("RSD_DEBUG"):
        logging.getLogger("rsdecode").addHandler(logging.NullHandler())  # errors are shown anyway
        logging.getLogger("rsdecode").propagate = False
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except (ReaderGone, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return code


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
            return _failed(str(error), USAGE)
        return _failed(f"{type(error).__name__}: {error} (a bug? RSD_DEBUG=1 shows where)", USAGE)
    if code == INTERRUPTED:
        print_note("interrupted")
    return code if isinstance(code, int) else DONE


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
