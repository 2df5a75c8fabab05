"""`--config` of commands that run no method: a YAML file of the command's own options.

The keys are the names of the options (`max-length: 1024`, also `max_length`); an option that may be
given several times takes a list. What is given on the command line wins.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any

import typer

from rsdecode.core.errors import ConfigError

_NO_KEYS = frozenset({"config", "help"})


def read_option_file(context: typer.Context, path: Path | None) -> Path | None:
    """Take the options of a file as the command's defaults.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    if path is None:
        return None
    from rsdecode.config.load import read_yaml

    names = _names(context)
    defaults: dict[str, Any] = {}
    for key, value in read_yaml(path).items():
        name = names.get(str(key).replace("_", "-"))
        if name is None:
            close = difflib.get_close_matches(str(key), names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it takes {', '.join(names)}"
            raise ConfigError(f"--config {path}: {context.command_path} has no {key!r}: {hint}")
        defaults[name] = value
    context.default_map = defaults
    return path


def _names(context: typer.Context) -> dict[str, str]:
    """What the command's parameters are called in a file, and in the program."""
    names: dict[str, str] = {}
    for parameter in context.command.params:
        assert parameter.name is not None
        long = [option for option in parameter.opts if option.startswith("--")]
        names[(long[0][2:] if long else parameter.name).replace("_", "-")] = parameter.name
    return {key: name for key, name in names.items() if key not in _NO_KEYS}


OptionFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.yaml",
        callback=read_option_file,
        is_eager=True,
        help="A file of these options; those of the command line win.",
    ),
]
