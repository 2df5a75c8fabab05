"""The report as Markdown, with its pictures in files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from rsdecode.evals.report.content import Report
from rsdecode.evals.report.excerpts import Excerpts
from rsdecode.evals.report.origin import made, origins
from rsdecode.evals.report.page import Section, excerpts_note, lead, title
from rsdecode.evals.report.tables import Table


def render(
    report: Report,
    sections: Sequence[Section],
    excerpts: Excerpts,
    files: Mapping[tuple[str, str], str],
) -> str:
    """The text.

    Args:
        report: the numbers.
        sections: what is shown of each data set.
        excerpts: what the page shows, which this text only names.
        files: where the picture of a data set and a name lies, relative to the text.
    """
    parts = [f"# {escaped(title(report))}", escaped(lead(report))]
    if report.warnings:
        parts += ["**Read with care**", _list(report.warnings)]
    for section in sections:
        parts.append(f"## {escaped(section.data)}")
        for table in section.tables:
            parts += [f"### {table.title}", _table(table), escaped(table.note)]
        parts += [escaped(note) for note in section.notes]
        for picture in section.pictures:
            file = files[section.data, picture.name]
            parts += [f"### {picture.title}", f"![{escaped(picture.text)}]({file})"]
            parts.append(escaped(picture.text))
    parts += ["## How it was made", _list(f"{name}: {value}" for name, value in made(report))]
    for origin in origins(report):
        parts += [f"### {escaped(origin.title)}", _block(origin.text)]
    if excerpts.entries:
        parts.append(f"Single trajectories are in report.html: {excerpts_note(excerpts)}")
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Text that Markdown takes as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", " ".join(text.split()))


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {escaped(item)}" for item in items)


def _table(table: Table) -> str:
    lines = [
        " | ".join(map(escaped, table.columns)),
        " | ".join(["---", *["---:"] * (len(table.columns) - 1)]),
        *(" | ".join(map(escaped, row)) for row in table.rows),
    ]
    return "\n".join(f"| {line} |" for line in lines)


def _block(text: str) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text.rstrip()}\n{fence}"
