"""Options that set keys of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rsdecode.cli.options import RunOptions
from rsdecode.core.errors import ConfigError


def template(*given: str, file: Path | None = None) -> dict[str, Any]:
    return RunOptions(file, {"template": list(given)}).load().prompt.template


def test_template_arguments(tmp_path: Path) -> None:
    assert template("enable_thinking=false", "effort=low", "n=3") == {
        "enable_thinking": False,
        "effort": "low",
        "n": 3,
    }
    assert template('{"a": [1], "b": null}', "b=x=y") == {"a": [1], "b": "x=y"}
    assert template("a=True", "b=False", "c=None") == {"a": True, "b": False, "c": None}
    assert template("reasoning_effort=none") == {"reasoning_effort": "none"}
    file = tmp_path / "run.yaml"
    file.write_text("prompt: {template: {enable_thinking: true, kept: 1}}\n")
    assert template("enable_thinking=false", file=file) == {"enable_thinking": False, "kept": 1}


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ("3", "--template 3: must be KEY=VALUE"),
        ("=3", "--template =3: must be KEY=VALUE"),
        ('{"a": ', '--template {"a": : not a JSON object'),
        ("tools=1", "tools is not for you to set"),
        ("add_generation_prompt=false", "add_generation_prompt is not for you to set"),
        ("a b=1", "'a b' is no name"),
        ("a=FALSE", "a is the text 'FALSE', which templates take for true: write false without"),
        ('a="true"', "a is the text 'true', which"),
    ],
)
def test_template_arguments_that_are_none(given: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        template(given)
    assert part in str(caught.value)


def test_a_template_that_is_no_mapping(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("prompt: {template: 3}\n")
    with pytest.raises(ConfigError, match=r"prompt.template 3: must be names and JSON values"):
        RunOptions(file, {}).load()
