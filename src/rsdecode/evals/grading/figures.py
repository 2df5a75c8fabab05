r"""Names of figures: \angle ABC, \triangle ABC, \overline{AB}, \overrightarrow{AB}."""

from __future__ import annotations

import re

_FIGURE = re.compile(
    r"\s*(?P<kind>\\angle|\\triangle|\\overline|\\overrightarrow|\\vec|\\widehat|\\overset\{\\frown\}|\\odot)"
    r"\s*(?P<points>\{?\s*(?:[A-Z](?:_\{?\w\}?|')*\s*){1,6}\}?)\s*"
)
_POINT = re.compile(r"[A-Z](?:_\{?\w\}?|')*")


def same_figure(answer: str, reference: str) -> bool | None:
    """Whether two names are of one figure; None where one of them names none."""
    a, b = _FIGURE.fullmatch(answer), _FIGURE.fullmatch(reference)
    if a is None or b is None:
        return None
    return a["kind"] == b["kind"] and _key(a) == _key(b)


def _key(figure: re.Match[str]) -> tuple[str, ...]:
    """Its points in an order of their own: what may be read from the other end is turned."""
    points = [re.sub(r"[{}]", "", point) for point in _POINT.findall(figure["points"])]
    if figure["kind"] == r"\triangle":
        return tuple(sorted(points))
    if figure["kind"] in (r"\overrightarrow", r"\vec"):
        return tuple(points)
    return tuple(min(points, points[::-1]))
