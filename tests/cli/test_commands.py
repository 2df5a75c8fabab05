from __future__ import annotations

import importlib

import pytest

from rsdecode.cli.commands import COMMANDS

from .conftest import Rsd


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_the_command_says_of_itself(name: str, rsd: Rsd) -> None:
    entry = COMMANDS[name]
    module = importlib.import_module(f"rsdecode.cli.{entry.module}")
    for own in getattr(module, "COMMANDS", {}).values():  # a group
        of = importlib.import_module(f"rsdecode.cli.{own.module}")
        assert of.command.__doc__.splitlines()[0] == own.help
        assert own.help.split()[0] in rsd(name, "--help").out
    if not hasattr(module, "COMMANDS"):
        assert module.command.__doc__.splitlines()[0] == entry.help
    assert entry.help.split()[0] in rsd("--help").out


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "lm-eval"])
def test_every_command_has_a_help_of_its_own(name: str, rsd: Rsd) -> None:
    for option in ("-h", "--help"):
        result = rsd(name, option)
        assert result.code == 0
        assert f"rsd {name}" in result.out


def test_paragraphs_of_a_help_are_broken_to_the_width_alone(rsd: Rsd) -> None:
    """Not also where the docstring is, which leaves single words on lines of their own."""
    words = rsd("prm", "label", "--help").out.split("rollouts: ")[1].splitlines()
    assert len(words[0].strip()) > 50
    assert words[1].strip() == "the step is right if enough of them reach the reference answer."
