from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import rsdecode
from rsdecode.results.code_version import DECIDES_RESULTS, code_version, strip_words

ROOT = Path(rsdecode.__file__).parent
SOURCE = '''
"""Module."""

import re  # a comment


class A:
    """Class."""

    size: int = 3
    """Attribute."""

    def f(self, text: str = "# no comment") -> str:
        """Function."""
        # a comment
        return g(
            """text""",
            text,
        )
'''


class _Shorten(ast.NodeTransformer):
    """Puts `...` in the place of a string that is a statement."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return ast.copy_location(ast.Expr(ast.Constant(...)), node)
        return self.generic_visit(node)


@pytest.mark.parametrize(
    "path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_nothing_but_words_is_lost(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    wanted = ast.dump(_Shorten().visit(ast.parse(source)))
    assert ast.dump(ast.parse(strip_words(source, "..."))) == wanted
    left = strip_words(source)
    assert "\n\n" not in "".join(left.split('"""')[::2])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Module.", "Another."),
        ("Function.", "Function.\n\n        With more lines.\n        "),
        ("Attribute.", "x"),
        ("# a comment", "# another"),
        ("        # a comment\n", ""),
        ("\n\n\nclass", "\n\nclass"),
        ('    """Attribute."""\n', ""),
    ],
)
def test_words_do_not_count(old: str, new: str) -> None:
    assert old in SOURCE
    assert strip_words(SOURCE.replace(old, new)) == strip_words(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"), [("= 3", "= 4"), ("# no comment", "# none"), ('"""text"""', '"""other"""')]
)
def test_code_does(old: str, new: str) -> None:
    assert old in SOURCE
    assert strip_words(SOURCE.replace(old, new)) != strip_words(SOURCE)


def version_of(site: Path) -> str:
    """As a fresh process sees the package that lies in a folder."""
    code = "from rsdecode.results.code_version import code_version; print(code_version())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_it_is_the_same_wherever_the_package_lies_and_changes_with_the_code(tmp_path: Path) -> None:
    skip = shutil.ignore_patterns("*.safetensors", "__pycache__")
    shutil.copytree(ROOT, tmp_path / "rsdecode", ignore=skip)
    assert version_of(tmp_path) == code_version()
    for name, counts in [("core/votes.py", True), ("cli/report.py", False)]:
        path = tmp_path / "rsdecode" / name
        path.write_text(path.read_text(encoding="utf-8") + "\nCHANGED = 1\n", encoding="utf-8")
        assert (version_of(tmp_path) != code_version()) == counts
        path.unlink()
        shutil.copy(ROOT / name, path)
    assert version_of(tmp_path) == code_version()


def test_every_part_is_there() -> None:
    assert all((ROOT / part).exists() for part in DECIDES_RESULTS)


def test_it_takes_a_moment_and_only_once() -> None:
    code_version.cache_clear()
    started = time.process_time()
    first = code_version()
    assert time.process_time() - started < 0.15
    started = time.process_time()
    assert code_version() is first
    assert time.process_time() - started < 0.001
