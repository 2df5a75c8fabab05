"""SVG from matplotlib that looks at home on a page: its colours, its font, no id of its own twice.

Ink, muted and grid are placeholders: `inline` makes them follow the page, light or dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rsdecode.core.errors import ConfigError

INK, MUTED, GRID = "#23272f", "#747c88", "#dfe3e8"
DRAFT, TARGET, RSD = "#1f9d6b", "#9a4fc0", "#dd7a10"
RIGHT, WRONG = "#2f7fd1", "#d1495b"
OTHERS = ("#2f7fd1", "#b59b08", "#d1495b", "#3aa6b9", "#8a6d3b", "#6c6fd0", "#5f9e34")
_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)"}
_NAMESPACES = {"": "http://www.w3.org/2000/svg", "xlink": "http://www.w3.org/1999/xlink"}
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "rsdecode",
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
"""Names are never read as formulas; text stays text."""


def require_matplotlib() -> None:
    """Check that pictures can be drawn.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        import matplotlib as _  # noqa: F401
    except ImportError:
        raise ConfigError(
            "the report's pictures need matplotlib, which is not installed: "
            "pip install 'rsdecode[report]', or leave them out with --no-pictures"
        ) from None


Plot = Callable[..., None]
"""Draws into axes, one argument for each panel."""


def draw(plot: Plot, *, panels: int = 1, width: float = 6.2, height: float = 3.2) -> str:
    """A figure as SVG.

    Args:
        plot: draws it.
        panels: side by side.
        width: in inches.
        height: in inches.
    """
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        drawn = io.StringIO()
        _figure(plot, panels, width, height).savefig(
            drawn, format="svg", transparent=True, metadata={"Date": None}
        )
    return drawn.getvalue()


def save(plot: Plot, path: Path, *, width: float = 8.4, height: float = 4.8) -> None:
    """A figure of one panel as a file, whose kind follows from its suffix (.png, .svg, .pdf).

    Raises:
        OSError: the file cannot be written.
        ValueError: the suffix is of no known kind.
    """
    import matplotlib as mpl

    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_STYLE):
        _figure(plot, 1, width, height).savefig(path, dpi=150)


def _figure(plot: Plot, panels: int, width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(width, height), layout="constrained")
    plot(*figure.subplots(1, panels, squeeze=False)[0])
    return figure


def inline(svg: str, name: str) -> str:
    """The same drawing as an element of a page: its ids are prefixed, its colours the page's.

    Args:
        svg: from `draw`.
        name: unique on the page.
    """
    for prefix, uri in _NAMESPACES.items():
        ElementTree.register_namespace(prefix, uri)
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        _rename(element, name, set(re.findall(r"#([\w-]+)", svg)))
    root.attrib.pop("height", None)
    root.attrib.pop("width", None)
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")
    root.set("aria-hidden", "true")
    text = ElementTree.tostring(root, encoding="unicode")
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return re.sub(r"(font:[^;\"]*?px) [^;\"]+", r"\1 var(--font)", text)


def _rename(element: ElementTree.Element, name: str, used: set[str]) -> None:
    """Keep an id only where something refers to it, and make it the drawing's own."""
    own = element.attrib.pop("id", None)
    if own in used:
        element.set("id", f"{name}-{own}")
    for key, value in element.attrib.items():
        if key.endswith("href") and value.startswith("#"):
            element.set(key, f"#{name}-{value[1:]}")
        elif "url(#" in value:
            element.set(key, value.replace("url(#", f"url(#{name}-"))
