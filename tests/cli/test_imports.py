from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import rsdecode

HEAVY = {"torch", "transformers", "ray", "matplotlib", "fastapi", "vllm", "datasets", "numpy"}
SOURCE = str(Path(rsdecode.__file__).parents[1])


def modules_after(code: str) -> set[str]:
    """Top-level modules in a fresh interpreter after `code`."""
    show = "import json, sys; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    script = f"{code}\n{show}"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": SOURCE, "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import rsdecode",
        "import rsdecode.config",
        "from rsdecode.cli.main import main; main(['--help'])",
        "from rsdecode.cli.main import main; main(['solve', '--help'])",
        "from rsdecode.cli.main import main; main(['doctor', '--help'])",
        "from rsdecode.cli.main import main; main(['eval', '--help'])",
        "from rsdecode.cli.main import main; main(['eval', '--methods', 'rds'])",
        "from rsdecode.cli.main import main; main(['solve', 'q', '--threshold', '7'])",
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code: str) -> None:
    loaded = modules_after(code)
    assert "rsdecode" in loaded
    assert not loaded & HEAVY


def test_help_is_fast() -> None:
    seconds: list[float] = []
    for _ in range(3):
        started = time.perf_counter()
        modules_after("from rsdecode.cli.main import main; main(['--help'])")
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 2.0  # about 0.4 s on an idle machine
