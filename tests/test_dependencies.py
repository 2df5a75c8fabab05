"""Every package that the code imports is declared where pip finds it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from rsdecode.config.build import EXTRAS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OWN = {"rsdecode", "recipes", "benchmarks", "examples", "tests"}
DISTRIBUTIONS = {"yaml": "pyyaml", "sklearn": "scikit-learn", "opentelemetry": "opentelemetry-sdk"}
"""Modules that are not named like the package that brings them."""
INSIDE_VLLM = {"vllm"}
"""What the plug-in imports: it only runs in a vLLM that is there."""
CLIENTS = {"langchain_openai", "litellm", "inspect_ai"}
"""Clients of the server, which are tested in an environment of their own."""


def declared(*extras: str) -> set[str]:
    """The packages of an installation with these extras, by name."""
    listed = list(PROJECT["dependencies"])
    for extra in extras:
        listed += PROJECT["optional-dependencies"][extra]
    names: set[str] = set()
    for requirement in listed:
        if inner := re.match(r"rsdecode\[(.*)\]", requirement):
            names |= declared(*inner[1].split(","))
        elif name := re.match(r"[\w.-]+", requirement):
            names.add(_normal(name[0]))
    return names


def imported(path: Path) -> set[str]:
    """The packages of others that a file imports, by name, also with `import_module("...")`."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names):
                modules |= {name.name for name in names}
            case ast.ImportFrom(module=str(module), level=0):
                modules.add(module)
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module"),
                args=[ast.Constant(value=str(module))],
            ):
                modules.add(module)
            case _:
                pass
    tops = {module.partition(".")[0] for module in modules}
    others = tops - sys.stdlib_module_names - OWN - INSIDE_VLLM - CLIENTS
    return {_normal(DISTRIBUTIONS.get(top, top)) for top in others}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("folder", ["src", "recipes", "benchmarks", "examples", "tests", "docs"])
def test_what_is_imported_is_declared(folder: str) -> None:
    every = set(PROJECT["optional-dependencies"])
    ours = every - {"dev", "docs", "llamacpp"} if folder == "src" else every
    allowed = declared(*ours)
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    missing = {
        f"{path.relative_to(ROOT)}: {name}" for path in files for name in imported(path) - allowed
    }
    assert not missing


def test_reports_need_no_data_sets_and_data_sets_no_reports() -> None:
    assert not declared("report") & {"datasets", "math-verify", "torch", "transformers"}
    assert not declared("data") & {"jinja2", "matplotlib", "math-verify", "torch"}
    assert not declared("eval") & {"datasets", "jinja2", "matplotlib", "torch"}


def test_an_extra_that_is_recommended_brings_the_library() -> None:
    for library, extra in EXTRAS.items():
        assert _normal(library) in declared(extra)


@pytest.mark.parametrize("path", [ROOT / "src" / "rsdecode"], ids=["src"])
def test_messages_name_extras_that_exist(path: Path) -> None:
    told = {
        (str(file.relative_to(ROOT)), extra)
        for file in path.rglob("*.py")
        for names in re.findall(r"rsdecode\[([a-z,-]+)\]", file.read_text(encoding="utf-8"))
        for extra in names.split(",")
    }
    assert told
    unknown = {
        (file, extra) for file, extra in told if extra not in PROJECT["optional-dependencies"]
    }
    assert not unknown


def test_the_lock_holds_one_version_of_each_direct_dependency_and_no_address() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pins = [re.fullmatch(r"([\w.-]+)==([\w.]+)", line) for line in lines]
    assert all(pins), [line for line, pin in zip(lines, pins, strict=True) if not pin]
    names = [_normal(pin[1]) for pin in pins if pin]
    assert len(names) == len(set(names))
    assert declared("dev") <= set(names)
    assert "torch==2.13.0" in lines
