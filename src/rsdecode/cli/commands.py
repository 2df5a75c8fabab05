"""The commands of `rsd`: listed at once, each imported when it is chosen."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}


class CommandEntry(NamedTuple):
    """A command that is not loaded yet.

    Attributes:
        module: of `rsdecode.cli`; it holds `command`, and `CONTEXT` for settings of its own.
        help: the first line of the command's help.
    """

    module: str
    help: str


COMMANDS = {
    "solve": CommandEntry("solve", "Solve a question step by step, or every question of a file."),
    "demo": CommandEntry(
        "demo",
        "Draft alone, target alone and RSD on problems of the embedded family, side by side.",
    ),
    "doctor": CommandEntry(
        "doctor", "Load a configuration and say what it is made of and what would fail."
    ),
    "eval": CommandEntry("eval", "Run methods on data sets, grade every answer and keep it."),
    "lm-eval": CommandEntry(
        "lm_eval",
        "Run lm_eval of the lm-evaluation-harness over RSD; its options are taken as they are.",
    ),
    "calibrate": CommandEntry(
        "calibrate", "Make a reward's numbers probabilities, from steps with outcomes."
    ),
    "plan": CommandEntry(
        "plan", "Propose replicas of each model for a load, and name the bottleneck."
    ),
    "prm": CommandEntry("prm", "Make a process reward model of your own: label, train, test."),
    "serve": CommandEntry("serve", "Serve RSD to OpenAI's clients, with a page to watch it."),
    "report": CommandEntry(
        "report",
        "Report the results of rsd eval: report.md, report.html, report.json and pictures.",
    ),
    "tune": CommandEntry(
        "tune", "Find the threshold of RSD for a goal, and write a configuration with it."
    ),
}


class CommandList(TyperGroup):
    """A group whose commands are imported when one is run: `rsd --help` imports none of them."""

    def __init__(self, entries: Mapping[str, CommandEntry] | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self._entries = COMMANDS if entries is None else entries
        for name, entry in self._entries.items():
            self.add_command(TyperCommand(name, help=entry.help))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments begin with, loaded."""
        if args and args[0] in self._entries:
            self.commands[args[0]] = load_command(args[0], self._entries)
        return super().resolve_command(ctx, args)


def load_command(name: str, entries: Mapping[str, CommandEntry] = COMMANDS) -> Any:
    """Import a command, or a group of them (a module with `COMMANDS`), as typer's object."""
    module = importlib.import_module(f"rsdecode.cli.{entries[name].module}")
    own: Mapping[str, CommandEntry] | None = getattr(module, "COMMANDS", None)
    if own is not None:
        return CommandList(
            own,
            name=name,
            help=entries[name].help,
            no_args_is_help=True,
            context_settings=HELP_OPTIONS,
        )
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    settings = {**HELP_OPTIONS, **getattr(module, "CONTEXT", {})}
    app.command(name, help=_help(module.command), context_settings=settings)(module.command)
    return get_command(app)


def _help(command: Any) -> str:
    """The docstring, each paragraph in one line: it is broken to the terminal's width."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
