"""Writes a report's files: report.md, report.html, report.json and the pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rsdecode.core.errors import ConfigError
from rsdecode.evals.report import markdown, page
from rsdecode.evals.report.content import DataSetTable, Report
from rsdecode.evals.report.drawing import require_matplotlib
from rsdecode.evals.report.excerpts import ExcerptSource, choose
from rsdecode.evals.report.page import Section
from rsdecode.evals.report.paper import REFERENCE
from rsdecode.evals.report.pictures import Picture, pictures
from rsdecode.evals.report.tables import cost_table, paper_table, results_table, thoughts_table

PICTURES = "report-pictures"


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What a report holds.

    Attributes:
        paper: with the paper's numbers beside ours.
        trajectories: in the page, at most.
        pictures: whether to draw any.
    """

    paper: bool = False
    trajectories: int = 300
    pictures: bool = True


def write_report(report: Report, folder: Path, options: ReportOptions) -> list[Path]:
    """Write the files; returns those that are not pictures.

    Raises:
        ConfigError: a library is missing, or the folder cannot be written.
    """
    page.require_jinja()
    if options.pictures:
        require_matplotlib()
    sections = [_section(group, options) for group in report.groups]
    sources = [
        ExcerptSource(group.data, row.label, row.result_set.records)
        for group in report.groups
        for row in group.rows
    ]
    excerpts = choose(sources, options.trajectories)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = _write_pictures(folder, sections)
        text = markdown.render(report, sections, excerpts, files)
        numbers = json.dumps(report.as_record(paper=options.paper), indent=1)
        written = {
            "report.md": text,
            "report.html": page.render(report, sections, excerpts),
            "report.json": f"{numbers}\n",
        }
        for name, content in written.items():
            (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the report cannot be written to {folder}: {error}") from error
    return [folder / name for name in written]


def _section(group: DataSetTable, options: ReportOptions) -> Section:
    tables, notes = [results_table(group), cost_table(group)], list[str]()
    if (thoughts := thoughts_table(group)) is not None:
        tables.append(thoughts)
    if options.paper:
        beside = paper_table(group)
        if beside is not None:
            tables.append(beside._replace(note=f"{REFERENCE}. {beside.note}"))
        else:
            notes.append(f"The paper's Table 2 has nothing on {group.data}.")
    drawn: Sequence[Picture] = pictures(group) if options.pictures else []
    if options.pictures and all(picture.name != "frontier" for picture in drawn):
        notes.append("No picture of accuracy over FLOPs: a model's shape is not known.")
    return Section(group.data, tables, drawn, notes)


def _write_pictures(folder: Path, sections: Sequence[Section]) -> dict[tuple[str, str], str]:
    files: dict[tuple[str, str], str] = {}
    for place, section in enumerate(sections, start=1):
        for picture in section.pictures:
            safe = re.sub(r"[^\w.-]+", "-", section.data).strip("-.")[-40:]
            file = Path(PICTURES) / f"{place}-{safe}-{picture.name}.svg"
            (folder / PICTURES).mkdir(exist_ok=True)
            (folder / file).write_text(_on_white(picture.svg), encoding="utf-8")
            files[section.data, picture.name] = file.as_posix()
    return files


def _on_white(svg: str) -> str:
    """The drawing for places whose background is not known."""
    return svg.replace("<svg ", '<svg style="background: #ffffff" ', 1)
