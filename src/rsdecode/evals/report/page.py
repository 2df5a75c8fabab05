"""The report as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

from rsdecode import __version__
from rsdecode.core.counted import counted
from rsdecode.core.errors import ConfigError
from rsdecode.evals.report.content import Report
from rsdecode.evals.report.drawing import inline
from rsdecode.evals.report.excerpts import Excerpts
from rsdecode.evals.report.origin import made, origins
from rsdecode.evals.report.pictures import Picture
from rsdecode.evals.report.tables import Table


class Section(NamedTuple):
    """What a report shows of one data set."""

    data: str
    tables: Sequence[Table]
    pictures: Sequence[Picture]
    notes: Sequence[str]


def require_jinja() -> None:
    """Check that the page can be written.

    Raises:
        ConfigError: Jinja2 is not installed.
    """
    try:
        import jinja2 as _  # noqa: F401
    except ImportError:
        raise ConfigError(
            "the report's page needs jinja2, which is not installed: pip install 'rsdecode[report]'"
        ) from None


def render(report: Report, sections: Sequence[Section], excerpts: Excerpts) -> str:
    """The page. Every text of the results is escaped; the script only makes text of them."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    template = environment.from_string(_asset("report.html.jinja"))
    script = _asset("report.js")
    shown = [
        section._replace(
            pictures=[
                picture._replace(svg=Markup(inline(picture.svg, f"p{place}-{picture.name}")))
                for picture in section.pictures
            ]
        )
        for place, section in enumerate(sections)
    ]
    return template.render(
        title=title(report),
        lead=lead(report),
        version=__version__,
        warnings=report.warnings,
        sections=shown,
        trajectories=excerpts,
        trajectories_note=excerpts_note(excerpts),
        made=made(report),
        origins=origins(report),
        style=Markup(_asset("report.css")),
        script=Markup(script),
        script_hash=_hash(f"\n{script}"),
        data=Markup(_embedded(excerpts.entries)),
    )


def title(report: Report) -> str:
    """The report's heading."""
    return f"RSD evaluation: {', '.join(group.data for group in report.groups)}"


def lead(report: Report) -> str:
    """What the results are of, in one sentence."""
    answers = sum(row.summary.answers for group in report.groups for row in group.rows)
    methods = {row.result_set.meta.method for group in report.groups for row in group.rows}
    return (
        f"{counted(len(methods), 'method')}, "
        f"{counted(answers, 'graded answer')}. Reward-guided speculative decoding: the draft "
        "proposes each step, a reward model judges it, and the target writes only what is rejected."
    )


def excerpts_note(excerpts: Excerpts) -> str:
    """Which trajectories are shown, and which are not."""
    shown, total = len(excerpts.entries), excerpts.total
    if shown == total:
        return f"All trajectories ({total:,})."
    return (
        f"{shown:,} of {total:,} trajectories; {total - shown:,} are left out to keep this file "
        "small (--trajectories N). Whole problems are shown, with the answers of all methods: "
        "disputed ones, which some methods have right and some wrong, and others in turn. So the "
        "share of right answers in this list is not the accuracy."
    )


def _embedded(entries: Sequence[Mapping[str, Any]]) -> str:
    """JSON that no text in it can end, whatever it is."""
    text = json.dumps(entries, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _asset(name: str) -> str:
    return (resources.files(__package__ or "") / "assets" / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """The script's name in the page's content security policy: no other script may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
