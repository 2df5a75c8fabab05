from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import rsdecode

HEAVY = {"torch", "transformers", "ray", "matplotlib", "fastapi", "vllm", "datasets", "numpy"}
HEAVY |= {"uvicorn", "starlette", "prometheus_client"}
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
        "from rsdecode.cli.main import main; main(['serve', '--help'])",
        "from rsdecode.cli.main import main; main(['eval', '--help'])",
        "from rsdecode.cli.main import main; main(['eval', '--methods', 'rds'])",
        "from rsdecode.cli.main import main; main(['solve', 'q', '--threshold', '7'])",
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code: str) -> None:
    loaded = modules_after(code)
    assert "rsdecode" in loaded
    assert not loaded & HEAVY


def test_the_list_of_commands_needs_no_configuration_and_no_method() -> None:
    code = "from rsdecode.cli.main import main; main(['--help'])"
    assert not modules_after(code) & {"pydantic", "yaml", "asyncio"}
    code += "\nimport sys; print([m for m in sys.modules if m.startswith('rsdecode.')])"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()[-1]
    assert "rsdecode.cli.main" in loaded
    for part in ("rsdecode.config", "rsdecode.methods", "rsdecode.session", "rsdecode.cli.solve"):
        assert part not in loaded


def test_help_costs_little_more_than_python_itself() -> None:
    """About 0.15 s of a core; the limit leaves room for slower machines."""

    def cpu_s(code: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        modules_after(code)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    help_code = "from rsdecode.cli.main import main; main(['--help'])"
    python = min(cpu_s("pass") for _ in range(3))
    assert min(cpu_s(help_code) for _ in range(3)) - python < 0.3
