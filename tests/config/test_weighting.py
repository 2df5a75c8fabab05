from __future__ import annotations

from pathlib import Path

import pytest

from rsdecode.config.weighting import load_weighting
from rsdecode.core.errors import ConfigError, RequestError
from rsdecode.core.weighting import weight_of

MODULE = """
class Curves:
    @staticmethod
    def square(r): return r * r
def broken(r): return 1 / 0
def text(r): return "x"
def wide(r): return 1.5
def nan(r): return float("nan")
number = 3
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_weightings.py").write_text(MODULE)
    (tmp_path / "own_broken_module.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)


def test_a_function_of_ones_own() -> None:
    assert load_weighting("python:own_weightings:Curves.square")(0.5) == 0.25


@pytest.mark.parametrize("name", ["broken", "text", "wide", "nan"])
def test_its_mistakes_are_request_errors(name: str) -> None:
    weighting = load_weighting(f"python:own_weightings:{name}")
    with pytest.raises(RequestError, match=f"python:own_weightings:{name}.*0.5"):
        weight_of(weighting, 0.5)


@pytest.mark.parametrize(
    "spec",
    [
        "python:own_weightings:nothing",
        "python:no_such_module_at_all:f",
        "python:own_broken_module:f",
        "python:own_weightings:number",
    ],
)
def test_what_cannot_be_used(spec: str) -> None:
    with pytest.raises(ConfigError, match=spec):
        load_weighting(spec)
