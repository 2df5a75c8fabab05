"""Writes what reward models are worth: prm.md, prm.html, prm.json and the pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rsdecode import __version__
from rsdecode.core.counted import counted
from rsdecode.core.errors import ConfigError
from rsdecode.training.prm_report import Measured, TableOf, pictures, tables


def write_report(folder: Path, data: Sequence[str], measured: Sequence[Measured]) -> list[Path]:
    """Write prm.md, prm.html, prm.json and the pictures; returns the first three.

    Raises:
        ConfigError: the folder cannot be written.
    """
    shown, drawn = tables(measured), pictures(measured)
    failed = [
        f"{one.scores.name}: {counted(one.scores.failed, 'solution')} could not be scored: "
        f"{one.scores.reason}"
        for one in measured
        if one.scores.failed
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, svg in drawn.items():
            (folder / f"prm-{name}.svg").write_text(svg, encoding="utf-8")
        (folder / "prm.md").write_text(_markdown(data, shown, drawn, failed), encoding="utf-8")
        (folder / "prm.html").write_text(_page(data, shown, drawn, failed), encoding="utf-8")
        numbers = {"data": list(data), "version": __version__,
                   "rewards": [one.as_record() for one in measured]}  # fmt: skip
        (folder / "prm.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the report cannot be written to {folder}: {error}") from error
    return [folder / name for name in ("prm.md", "prm.html", "prm.json")]


CAPTIONS = {
    "reliability": "Reliability: a calibrated score lies on the dotted line.",
    "by-place": "Area under ROC by the step's place in its solution.",
}


def _markdown(
    data: Sequence[str], shown: Sequence[TableOf], drawn: dict[str, str], failed: Sequence[str]
) -> str:
    from rsdecode.evals.report.markdown import escaped

    parts = [f"# Reward models on {escaped(', '.join(data))}", *map(escaped, failed)]
    for table in shown:
        head, *rows = ([escaped(cell) for cell in row] for row in table.rows)
        lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts += [f"## {table.title}", body, *([escaped(table.note)] if table.note else [])]
    parts += [f"![{CAPTIONS[name]}](prm-{name}.svg)" for name in drawn]
    return "\n\n".join([*parts, f"rsdecode {__version__}"]) + "\n"


def _page(
    data: Sequence[str], shown: Sequence[TableOf], drawn: dict[str, str], failed: Sequence[str]
) -> str:
    from html import escape
    from importlib import resources

    from rsdecode.evals.report.drawing import inline

    style = resources.files("rsdecode.evals.report") / "assets" / "report.css"
    title = f"Reward models on {escape(', '.join(data))}"
    parts = [f"<header><h1>{title}</h1></header><main>"]
    parts += [f'<p class="note">{escape(text)}</p>' for text in failed]
    for table in shown:
        head, *rows = table.rows
        cells = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
        body = "".join(
            f'<tr><th scope="row">{escape(row[0])}</th>'
            + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in rows
        )
        parts.append(
            f'<section><div class="card"><h3>{escape(table.title)}</h3><div class="scroll">'
            f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
            f'<p class="note">{escape(table.note)}</p></div></section>'
        )
    parts.append('<div class="pictures">')
    for name, svg in drawn.items():
        parts.append(
            f'<figure class="card" role="group"><h3>{escape(CAPTIONS[name])}</h3>'
            f"{inline(svg, name)}</figure>"
        )
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{title}</title>'
        f"<style>{style.read_text(encoding='utf-8')}</style></head><body>{''.join(parts)}</div></main>"
        f"<footer>rsdecode {__version__}. This file needs no network.</footer></body></html>\n"
    )
