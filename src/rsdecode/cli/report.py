"""`rsd report`: tables, pictures and single trajectories of what `rsd eval` stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from rsdecode.cli.messages import print_note, print_warning
from rsdecode.cli.option_file import OptionFile
from rsdecode.core.errors import ConfigError


def command(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of rsd eval --out.", metavar="DIR...")
    ],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the files go; default the first DIR.")
    ] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="With the numbers of the paper's Table 2.")
    ] = False,
    trajectories: Annotated[
        int, typer.Option("--trajectories", min=0, help="In report.html, at most.")
    ] = 300,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Draw them; needs matplotlib.")
    ] = True,
    _config: OptionFile = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="All numbers as one JSON object on stdout; no files.")
    ] = False,
) -> None:
    """Report the results of rsd eval: report.md, report.html, report.json and pictures.

    report.html is one file for any browser, online or not. An incomplete or damaged run is reported
    as far as it goes, and says what is missing.
    """
    from rsdecode.evals.report.content import read_report
    from rsdecode.evals.report.write import ReportOptions, write_report

    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: there is no such folder; give the --out of rsd eval")
    report = read_report(folders)
    for warning in report.warnings:
        print_warning(warning)
    if json_output:
        print(json.dumps(report.as_record(paper=paper)))
        return
    options = ReportOptions(paper=paper, trajectories=trajectories, pictures=pictures)
    for path in write_report(report, out or folders[0], options):
        print_note(f"written: {path}")
