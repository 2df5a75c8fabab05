from __future__ import annotations

import inspect
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import rsdecode

ROOT = Path(__file__).parents[1]
HEAVY = {
    "torch", "transformers", "ray", "matplotlib", "fastapi", "numpy", "vllm", "datasets",
    "pydantic", "typer", "rich",
}  # fmt: skip


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import json, sys, rsdecode; print(json.dumps(list(sys.modules)))"
    source = str(Path(rsdecode.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "rsdecode" in loaded
    assert not loaded & HEAVY


def test_all_is_the_public_names() -> None:
    public = {
        name
        for name, value in vars(rsdecode).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    late = set(rsdecode._LATE)  # pyright: ignore[reportPrivateUsage]
    unexported = {"annotations", "Any", "TYPE_CHECKING"}
    assert set(rsdecode.__all__) == (public | late | {"__version__"}) - unexported
    assert len(rsdecode.__all__) == len(set(rsdecode.__all__))
    assert dir(rsdecode) == sorted(rsdecode.__all__)


@pytest.mark.parametrize("name", rsdecode.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(rsdecode, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__, name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = rsdecode.nothing


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert rsdecode.__version__ == project["version"]


def test_the_package_is_typed() -> None:
    assert (Path(rsdecode.__file__).parent / "py.typed").is_file()
