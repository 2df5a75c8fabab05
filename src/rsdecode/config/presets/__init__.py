"""Configurations that ship with the package, by name: `--config preset:NAME`."""

from __future__ import annotations

import difflib
from importlib.resources import files

from rsdecode.core.errors import ConfigError

PREFIX = "preset:"


def preset_names() -> list[str]:
    """The names of all presets."""
    found = (file.name for file in files(__name__).iterdir())
    return sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml"))


def read_preset(name: str) -> str:
    """The YAML text of a preset.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in preset_names():
        close = difflib.get_close_matches(name, preset_names(), n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(
            f"there is no preset {name!r}; {hint}the presets are {', '.join(preset_names())}"
        )
    return (files(__name__) / f"{name}.yaml").read_text(encoding="utf-8")
