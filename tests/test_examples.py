"""Every example runs as it stands."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rsdecode

EXAMPLES = Path(__file__).parents[1] / "examples"
SHOWN = {
    "hello_world.py": "answer: 50 (eos)",
    "streaming.py": "answer: 93",
    "own_reward.py": "[draft, ",
    "many_problems.py": "right, ",
    "own_method.py": "answer: 50",
}


def test_each_is_known_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_a_script(name: str, tmp_path: Path) -> None:
    source = str(Path(rsdecode.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, EXAMPLES / name],
        env={**os.environ, "PYTHONPATH": source, "HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert SHOWN[name] in done.stdout


def test_the_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    """Its cells, one after the other, on a running event loop as in Jupyter."""
    cells = json.loads((EXAMPLES / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {}
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]

    async def run() -> list[Any]:
        return [await _execute(source, names) for source in sources]

    values = asyncio.run(run())
    assert values[1] == "50"
    assert values[2] == ["50", "50"]
    assert "draft" in capsys.readouterr().out


async def _execute(source: str, names: dict[str, Any]) -> Any:
    """Run a cell; the value of its last line, if that is an expression."""
    tree = ast.parse(source)
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        tree.body[-1] = ast.copy_location(
            ast.Assign([ast.Name("_value", ast.Store())], last.value), last
        )
        ast.fix_missing_locations(tree)
    names["_value"] = None
    code = compile(tree, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        await eval(code, names)
    else:
        exec(code, names)
    return names["_value"]
