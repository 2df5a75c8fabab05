"""Names of decoding methods: one short string that says how to decode, read the same everywhere.

    draft  target  rsd  rsd@0.5  majority@8  best-of-8:min  process-best-of-4  beam@4  gsi@4
    speculative@5

Options follow after colons, `rsd:candidates=4:budget=0.2`; an aggregation needs no key.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from rsdecode.core.aggregate import AGGREGATIONS
from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Role

Value = int | float | str
"""What a number or an option of a name may be."""


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < 1:
        raise ValueError("must be a whole number of at least 1")
    return int(text)


def _share(text: str) -> float:
    if not 0.0 <= (value := _number(text)) <= 1.0:
        raise ValueError("must be a number in [0, 1]")
    return value


def _positive(text: str) -> float:
    if not 0.0 < (value := _number(text)) < math.inf:
        raise ValueError("must be a number above 0")
    return value


def _finite(text: str) -> float:
    if not math.isfinite(value := _number(text)):
        raise ValueError("must be a number")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _aggregation(text: str) -> str:
    if text not in AGGREGATIONS:
        raise ValueError(f"must be one of {', '.join(AGGREGATIONS)}")
    return text


def _weighting(text: str) -> str:
    return text  # the section `weighting` knows them


class _Form(NamedTuple):
    """What the names of one kind of method look like.

    Attributes:
        roles: the models that the method needs.
        joint: stands between kind and number.
        number: reads the number; None where there is none.
        meaning: of the number, for messages; in capitals.
        default: of the number; None where it must be given, or where the configuration decides.
        optional: whether the number may be left out.
        options: reads each option.
        defaults: of the options.
    """

    roles: frozenset[Role]
    joint: str = "@"
    number: Callable[[str], Value] | None = None
    meaning: str = ""
    default: Value | None = None
    optional: bool = False
    options: Mapping[str, Callable[[str], Value]] = MappingProxyType({})
    defaults: Mapping[str, Value] = MappingProxyType({})


_DRAFT = frozenset({Role.DRAFT})
_SCORED = frozenset({Role.DRAFT, Role.REWARD})
_FORMS: Mapping[str, _Form] = MappingProxyType(
    {
        "draft": _Form(_DRAFT),
        "target": _Form(frozenset({Role.TARGET})),
        "rsd": _Form(
            frozenset(Role),
            number=_share,
            meaning="THRESHOLD",
            optional=True,
            options={
                "candidates": _count,
                "budget": _share,
                "weighting": _weighting,
                "threshold": _share,
                "p": _share,
                "alpha": _positive,
            },
        ),
        "majority": _Form(_DRAFT, number=_count, meaning="N"),
        "best-of": _Form(
            _SCORED,
            joint="-",
            number=_count,
            meaning="N",
            options={"aggregation": _aggregation},
            defaults={"aggregation": "last"},
        ),
        "process-best-of": _Form(_SCORED, joint="-", number=_count, meaning="N"),
        "beam": _Form(
            _SCORED,
            number=_count,
            meaning="WIDTH",
            options={"aggregation": _aggregation, "expansions": _count},
            defaults={"aggregation": "last", "expansions": 4},
        ),
        "gsi": _Form(
            frozenset(Role),
            number=_count,
            meaning="N",
            options={"beta": _positive, "threshold": _finite},
            defaults={"beta": 20.0, "threshold": 0.5},
        ),
        "speculative": _Form(
            frozenset({Role.DRAFT, Role.TARGET}),
            number=_count,
            meaning="GAMMA",
            default=5,
            optional=True,
        ),
    }
)
METHOD_FORMS = (
    "draft",
    "target",
    "rsd[@THRESHOLD]",
    "majority@N",
    "best-of-N[:AGGREGATION]",
    "process-best-of-N",
    "beam@WIDTH[:AGGREGATION][:expansions=N]",
    "gsi@N[:beta=B][:threshold=U]",
    "speculative[@GAMMA]",
)


@dataclass(frozen=True, slots=True)
class MethodName:
    """A parsed name; `str(name)` is its one spelling, with every default written out.

    Attributes:
        kind: what stands before the number.
        number: threshold, samples, width or gamma, by kind; None where the name leaves it open.
        options: by name, defaults included.
    """

    kind: str
    number: Value | None = None
    options: Mapping[str, Value] = field(default_factory=dict[str, Value])

    def __str__(self) -> str:
        number = "" if self.number is None else f"{_FORMS[self.kind].joint}{self.number}"
        parts = [
            str(value) if key == "aggregation" else f"{key}={value}"
            for key, value in sorted(self.options.items())
        ]
        return ":".join([f"{self.kind}{number}", *parts])

    @property
    def roles(self) -> frozenset[Role]:
        """The models that the method needs."""
        return _FORMS[self.kind].roles

    @property
    def count(self) -> int:
        """The number, of the kinds where it is a whole one that is always known."""
        assert isinstance(self.number, int)
        return self.number

    @property
    def samples(self) -> bool:
        """Whether the draft writes several continuations of one context, which must differ."""
        match self.kind:
            case "majority" | "best-of" | "process-best-of":
                return self.count > 1
            case "gsi":
                return True
            case "beam":
                return self.count > 1 or self.options["expansions"] != 1
            case _:
                return self.options.get("candidates", 1) != 1


@lru_cache(maxsize=256)
def parse_method_name(name: str) -> MethodName:
    """Read the name of a method.

    Raises:
        ConfigError: it has none of the known forms.
    """
    head, *parts = name.strip().split(":")
    kind, number = _split(head)
    form = _FORMS.get(kind)
    if form is None or (number is not None and form.number is None):
        raise ConfigError(_unknown(name, head))
    if number is None and form.number is not None and not form.optional:
        raise ConfigError(
            f"method {name!r} needs its number: {kind}{form.joint}{form.meaning}, "
            f"for example {kind}{form.joint}4"
        )
    value = form.default
    if number is not None and form.number is not None:
        value = _read(name, form.meaning, number, form.number)
    options = dict(form.defaults)
    for key, text in _given_options(name, parts).items():
        if key not in form.options:
            raise ConfigError(f"method {name!r}: {_unknown_option(key, kind, form)}")
        options[key] = _read(name, key, text, form.options[key])
    if kind == "rsd" and value is not None and "threshold" in options:
        raise ConfigError(f"method {name!r} gives the threshold twice: leave one of them out")
    return MethodName(kind, value, options)


def _split(head: str) -> tuple[str, str | None]:
    """Kind and number of a name without its options."""
    if head in _FORMS:
        return head, None
    for kind, form in _FORMS.items():
        if head.startswith(kind + form.joint):
            return kind, head[len(kind) + 1 :]
    return head, None


def _given_options(name: str, parts: list[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals:
            key, value = "aggregation", part
        if key in given:
            raise ConfigError(f"method {name!r} gives {key} twice: leave one of them out")
        given[key] = value
    return given


def _read(name: str, what: str, text: str, reader: Callable[[str], Value]) -> Value:
    try:
        return reader(text)
    except ValueError as error:
        raise ConfigError(f"method {name!r}: {what} {text!r} {error}") from None


def _unknown(name: str, head: str) -> str:
    word = re.split(r"@|-?\d", head)[0].rstrip("-").lower()
    known = {kind.replace("-", ""): kind for kind in _FORMS}
    plain = re.sub(r"[-_ ]", "", word)
    close = [known[match] for match in difflib.get_close_matches(plain, known, n=2, cutoff=0.6)]
    hint = f"did you mean {' or '.join(map(_example, close))}? " if close else ""
    return f"unknown method {name!r}; {hint}the forms are: {', '.join(METHOD_FORMS)}"


def _example(kind: str) -> str:
    form = _FORMS[kind]
    return kind if form.number is None or form.optional else f"{kind}{form.joint}4"


def _unknown_option(key: str, kind: str, form: _Form) -> str:
    if not form.options:
        return f"{kind} has no options"
    close = difflib.get_close_matches(key, form.options, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(form.options)}"
    return f"{kind} has no option {key!r}; {hint}"
