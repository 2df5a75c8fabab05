"""Take JSON apart that may be anything; what is not as it should be is a `Fault`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard, cast

from rsdecode.backends.openai_http.faults import Fault


def entry(value: object, *path: str | int) -> Any:
    """The value at a path of keys and places.

    Raises:
        Fault: there is none.
    """
    found = value
    for key in path:
        if isinstance(key, str) and isinstance(found, Mapping):
            found = cast("Mapping[str, object]", found).get(key)
        elif isinstance(key, int) and is_list(found) and -len(found) <= key < len(found):
            found = found[key]
        else:
            found = None
        if found is None:
            where = ".".join(map(str, path))
            raise Fault(f"the reply has no {where!r}: {str(value)[:200]}")
    return found


def optional(value: object, *path: str | int) -> Any:
    """Like `entry`, but None where there is nothing."""
    try:
        return entry(value, *path)
    except Fault:
        return None


def count(value: object, *path: str | int) -> int:
    """A whole number that is not negative.

    Raises:
        Fault: it is something else.
    """
    found = entry(value, *path)
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise Fault(f"the reply's {'.'.join(map(str, path))!r} is {found!r}, not a count")
    return found


def numbers(value: object) -> list[float]:
    """A list of numbers.

    Raises:
        Fault: it is something else.
    """
    if not is_list(value) or not all(isinstance(v, int | float) for v in value):
        raise Fault(f"the reply has {str(value)[:80]} in place of numbers")
    return [float(cast(float, v)) for v in value]


def token_ids(value: object) -> tuple[int, ...] | None:
    """Token ids, or None where the server gave none."""
    if not is_list(value) or not all(isinstance(v, int) for v in value):
        return None
    return tuple(cast("Sequence[int]", value))


def is_list(value: object) -> TypeGuard[list[object]]:
    """Whether JSON held a list here."""
    return isinstance(value, list)
