"""Specs of gates: rewards that need no reward model, and cascades of two rewards.

likelihood:target[:min][:temperature=T][:length=A]
confidence:draft[:min][:length=A]
agreement[:tokens=K]
cascade:A,B
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Role

Value = int | float | str


class Gate(NamedTuple):
    """A gate, read.

    Attributes:
        reads: the role whose model is asked.
        options: by name, defaults left out.
    """

    reads: Role
    options: Mapping[str, Value]


def _share(text: str) -> float:
    if not 0.0 <= (value := _number(text)) <= 1.0:
        raise ValueError("must be a number in [0, 1]")
    return value


def _positive(text: str) -> float:
    if not 0.0 < (value := _number(text)) < math.inf:
        raise ValueError("must be a number above 0")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("must be a whole number of at least 1")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


class _Form(NamedTuple):
    reads: Role
    named: bool
    pooled: bool
    options: Mapping[str, Callable[[str], Value]]


_FORMS: Mapping[str, _Form] = {
    "likelihood": _Form(Role.TARGET, True, True, {"temperature": _positive, "length": _share}),
    "confidence": _Form(Role.DRAFT, True, True, {"length": _share}),
    "agreement": _Form(Role.TARGET, False, False, {"tokens": _count}),
}
_DEFAULTS: Mapping[str, Value] = {"how": "mean", "temperature": 1.0, "length": 1.0}


def read_gate(kind: str, target: str) -> Gate:
    """Read what follows the kind of a gate.

    Raises:
        ConfigError: it has not the gate's form.
    """
    form, spec = _FORMS[kind], f"{kind}:{target}" if target else kind
    parts = target.split(":") if target else []
    if form.named:
        if not parts or parts[0] != form.reads:
            raise ConfigError(f"{spec!r}: expected {kind}:{form.reads}, perhaps with options")
        parts = parts[1:]
    options: dict[str, Value] = {}
    for part in parts:
        key, equals, text = part.partition("=")
        if not equals and form.pooled and part in ("mean", "min"):
            key, value = "how", part
        elif key not in form.options or not equals:
            known = [*(["min"] if form.pooled else []), *(f"{name}=..." for name in form.options)]
            raise ConfigError(f"{spec!r} has no option {part!r}; it has {', '.join(known)}")
        else:
            try:
                value = form.options[key](text)
            except ValueError as error:
                raise ConfigError(f"{spec!r}: {key} {text!r} {error}") from None
        if key in options:
            raise ConfigError(f"{spec!r} gives {key} twice: leave one of them out")
        options[key] = value
    if options.get("how") == "min" and "length" in options:
        raise ConfigError(f"{spec!r}: length has no effect on the least likely token: leave it out")
    kept = {key: value for key, value in options.items() if _DEFAULTS.get(key) != value}
    return Gate(form.reads, kept)


def spelled(kind: str, gate: Gate) -> str:
    """What follows the kind, in its one spelling."""
    how = [str(gate.options["how"])] if "how" in gate.options else []
    rest = [f"{key}={value:g}" for key, value in sorted(gate.options.items()) if key != "how"]
    return ":".join([*([gate.reads.value] if _FORMS[kind].named else []), *how, *rest])
