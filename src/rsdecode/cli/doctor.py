"""`rsd doctor`: loads a configuration and says what it is made of and what would fail."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rsdecode.cli.options import JsonOption, RunOptions, with_run_options

if TYPE_CHECKING:
    from rsdecode.cli.examination import Findings


@with_run_options
def command(options: RunOptions, json_output: JsonOption = False) -> int:
    """Load a configuration and say what it is made of and what would fail.

    Every role is loaded and tried, one after the other; a role that fails does not hide the next.
    Every warning and failure says what to set.

    Exit code: 0 nothing would fail, with or without warnings; 1 something would fail; 2 the
    configuration itself is wrong.
    """
    from rsdecode.cli.examination import examine

    findings = examine(options.load())
    if json_output:
        print(json.dumps(findings.as_record()), flush=True)
    else:
        _show(findings)
    return 1 if findings.failures else 0


def _show(findings: Findings) -> None:
    """Print a section for each part, then what would fail."""
    record = findings.as_record()
    _section("environment", record["environment"])
    for role, facts in record["roles"].items():
        _section(role, facts)
    run = {"method": record["method"], "config_hash": record["config_hash"]}
    if record["same_vocabulary"] is not None:
        run["vocabulary of draft and target"] = "same" if record["same_vocabulary"] else "different"
    _section("run", run)
    for warning in findings.warnings:
        print(f"warning: {warning}")
    for failure in findings.failures:
        print(f"would fail: {failure}")
    if not findings.failures:
        warned = "nothing would fail; what is to be set is in the warnings"
        print(warned if findings.warnings else "all is well")


def _section(title: str, facts: dict[str, Any]) -> None:
    print(title)
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        print(f"  {name:{width}}  {value}")
    print()
