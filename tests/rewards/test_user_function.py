from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rsdecode.core.errors import ConfigError
from rsdecode.rewards.user_function import find_function

NAMES = ("my_local_rewards", "my_broken_rewards", "my_needy_rewards", "colorsys")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_local_rewards.py").write_text("def grade(question, steps): return 1.0\n")
    (tmp_path / "my_broken_rewards.py").write_text("1 / 0\n")
    (tmp_path / "my_needy_rewards.py").write_text("import no_such_module\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_the_working_directory_is_searched_last(tmp_path: Path) -> None:
    assert find_function("my_local_rewards:grade", "reward")("q", []) == 1.0
    assert sys.path[-1] == str(tmp_path)


def test_an_installed_module_needs_no_working_directory(tmp_path: Path) -> None:
    (tmp_path / "colorsys.py").write_text("def rgb_to_hsv(*_): return 'ours'\n")
    assert find_function("colorsys:rgb_to_hsv", "reward")(0, 0, 0) == (0.0, 0.0, 0)
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("mine", "reward must be written module:function"),
        ("my_local_rewards:nothing", "module 'my_local_rewards' has no function 'nothing'.*grade"),
        ("my_local_rewards:__name__", "reward is str, not a function"),
        ("no_such_module:f", "reward: there is no module 'no_such_module'"),
        ("no_such_module.deeper:f", "there is no module 'no_such_module.deeper'"),
        ("my_broken_rewards:f", "importing 'my_broken_rewards' failed: ZeroDivisionError"),
        ("my_needy_rewards:f", "'my_needy_rewards' needs another module"),
    ],
)
def test_what_cannot_be_used_is_named(target: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        find_function(target, "reward")
