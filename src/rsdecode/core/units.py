"""Units of measure by their meaning: what they measure, and how large they are.

A table of our own rather than a library of units: values are exact fractions, and only words that
answers to school problems use are units (for a library `min`, `pears` and `c` are units as well).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction

_TABLE = """
length 1 m metre metres meter meters
length 1/1000 mm millimetre millimetres millimeter millimeters
length 1/100 cm centimetre centimetres centimeter centimeters
length 1/10 dm decimetre decimetres decimeter decimeters
length 1000 km kilometre kilometres kilometer kilometers kms
length 1/1000000 μm um micrometre micrometres micrometer micrometers micron microns
length 1/1000000000 nm nanometre nanometres nanometer nanometers
length 0.0254 in inch inches
length 0.3048 ft foot feet
length 0.9144 yd yds yard yards
length 1609.344 mi mile miles
mass 1 g gram grams gramme grammes
mass 1/1000 mg milligram milligrams
mass 1000 kg kgs kilogram kilograms kilo kilos
mass 1000000 t tonne tonnes
mass 28.349523125 oz ounce ounces
mass 453.59237 lb lbs pound pounds
time 1 s sec secs second seconds
time 1/1000 ms millisecond milliseconds
time 60 min mins minute minutes
time 3600 h hr hrs hour hours
time 86400 day days
time 604800 week weeks
month 1 month months
month 12 yr yrs year years
month 120 decade decades
month 1200 century centuries
money 1 dollar dollars usd
money 1/100 cent cents penny pennies
money 1/20 nickel nickels
money 1/10 dime dimes
euro 1 euro euros eur €
sterling 1 gbp £
rupee 1 rupee rupees inr ₹
yen 1 yen jpy ¥
volume 1/1000 l litre litres liter liters
volume 1/1000000 ml millilitre millilitres milliliter milliliters
volume 0.003785411784 gal gallon gallons
volume 0.000946352946 qt quart quarts
volume 0.000473176473 pt pint pints
area 10000 ha hectare hectares
area 4046.8564224 acre acres
speed 0.44704 mph
speed 1000/3600 kph kmh kmph
angle 1 degree degrees deg
radian 1 rad rads radian radians
count 1 unit units
celsius 1 celsius centigrade
fahrenheit 1 fahrenheit
kelvin 1 kelvin kelvins
volume 0.0002365882365 cup cups
volume 0.00001478676478125 tbsp tablespoon tablespoons
volume 0.00000492892159375 tsp teaspoon teaspoons
force 1000 newton newtons
force 1000000 kN kilonewton kilonewtons
energy 1000 J joule joules
energy 1000000 kJ kilojoule kilojoules
power 1000 W watt watts
power 1000000 kW kilowatt kilowatts
pressure 1000 Pa pascal pascals
pressure 1000000 kPa kilopascal kilopascals
frequency 1 Hz hertz
people 1 people person persons
children 1 child children kid kids
"""
_BASES: dict[str, dict[str, int]] = {
    "volume": {"length": 3},
    "area": {"length": 2},
    "speed": {"length": 1, "time": -1},
    "force": {"mass": 1, "length": 1, "time": -2},
    "energy": {"mass": 1, "length": 2, "time": -2},
    "power": {"mass": 1, "length": 2, "time": -3},
    "pressure": {"mass": 1, "length": -1, "time": -2},
    "frequency": {"time": -1},
}
_ALIASES = {"N": "newton", "K": "kelvin", "°": "degree"}
_CASED = {"J", "kJ", "W", "kW", "Hz", "N", "kN", "Pa", "kPa", "K"}
_WORD = re.compile(r"[A-Za-zμ°]+")
_TOKEN = re.compile(
    r"\s*(?:(?P<word>[A-Za-zμ°]+)\.?|(?P<power>(?:\^\s*)\{?\s*(?P<sign>-?)(?P<digit>\d)\s*\}?)"
    r"|(?P<over>/)|(?P<times>\*|·|\\cdot(?![A-Za-z])|-))\s*"
)
_TEMPERATURES = {
    "celsius": (Fraction(1), Fraction(27315, 100)),
    "fahrenheit": (Fraction(5, 9), Fraction(45967, 100) * Fraction(5, 9)),
    "kelvin": (Fraction(1), Fraction(0)),
}
_TIGHT = {"a", "an", "the", "of"}
_SAID_ASIDE = {
    "old", "long", "tall", "wide", "high", "deep", "away", "apart", "each", "total", "altogether",
    "left", "more", "ago", "later", "all", "about", "in",
}  # fmt: skip
_LONGEST = 80


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit.

    Attributes:
        kind: what it measures: powers of basic kinds, sorted; empty for a thing that is counted.
        factor: how many basic units it is.
        words: those that no table knows, in the singular: names of things.
        offset: in basic units, what zero of it is: of temperatures.
    """

    kind: tuple[tuple[str, int], ...]
    factor: Fraction = Fraction(1)
    words: frozenset[str] = frozenset()
    offset: Fraction = Fraction(0)


def _load() -> dict[str, tuple[str, Fraction]]:
    units: dict[str, tuple[str, Fraction]] = {}
    for line in _TABLE.strip().splitlines():
        kind, factor, *names = line.split()
        top, _, bottom = factor.partition("/")
        for name in names:
            units[name] = (kind, Fraction(top) / Fraction(bottom or 1))
    return units


_UNITS = _load()


def unit_named(word: str) -> tuple[str, Fraction] | None:
    """The kind and the size of a single unit, whatever its case; None if it is not known."""
    if word in _ALIASES:
        return _UNITS[_ALIASES[word]]
    if word in _UNITS:
        return _UNITS[word]
    return None if word in _CASED else _UNITS.get(word.lower())


def read_unit(text: str) -> Unit | None:
    """The unit that a phrase is: `km/h`, `miles per hour`, `square feet`, `m^2`, `apples`.

    None if it is empty or holds anything but words, powers and slashes.
    """
    if len(text) > _LONGEST or not text.strip():
        return None
    reader = _Reader()
    words = text.split()
    if len(words) > 1:
        kept = [word for word in words if word.lower().strip(".") not in _SAID_ASIDE]
        text = " ".join(kept)
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None or not reader.take(token):
            return None
        at = token.end()
    return reader.unit()


@dataclass(slots=True)
class _Reader:
    """Multiplies the words of a unit."""

    powers: dict[str, int] = field(default_factory=dict[str, int])
    factor: Fraction = Fraction(1)
    words: set[str] = field(default_factory=set[str])
    sign: int = 1
    prefix: int = 1
    last: tuple[str, Fraction] | None = None

    def take(self, token: re.Match[str]) -> bool:
        """Read a token; False where no unit goes on like this."""
        word = (token["word"] or "").lower()
        if token["over"] or word == "per":
            self.sign, self.last = -1, None
        elif token["power"] or word in {"squared", "cubed"}:
            if self.last is None:
                return False
            power = {"squared": 2, "cubed": 3}.get(word) or int(token["digit"])
            self._multiply(*self.last, -power - 1 if token["sign"] else power - 1)
            self.last = None
        elif word in {"square", "sq", "cubic", "cu"}:
            self.prefix = 2 if word.startswith("s") else 3
        elif word and word not in _TIGHT:
            self._name(token["word"])
        return True

    def unit(self) -> Unit | None:
        """What was read."""
        kind = tuple(sorted((name, power) for name, power in self.powers.items() if power))
        if temperature := next((name for name, _ in kind if name in _TEMPERATURES), None):
            factor, offset = _TEMPERATURES[temperature]
            return Unit((("temperature", 1),), factor, offset=offset)
        if not kind and not self.words:
            return None
        return Unit(kind, self.factor, frozenset(self.words))

    def _name(self, word: str) -> None:
        unit = unit_named(word)
        if unit is None:
            self.words.add(_singular(word.lower()))
        else:
            self._multiply(*unit, self.prefix)
        self.last, self.prefix = unit, 1

    def _multiply(self, kind: str, size: Fraction, power: int) -> None:
        power *= self.sign
        self.factor *= size**power
        for base, times in _BASES.get(kind, {kind: 1}).items():
            self.powers[base] = self.powers.get(base, 0) + power * times


def same_kind(a: Unit, b: Unit) -> bool:
    """Whether two units measure the same; `units` alone measure anything.

    Two things that are counted are the same if they share a word: 18 eggs and 18 duck eggs.
    """
    if a.kind or b.kind:
        bare = {a.kind, b.kind} == {(("angle", 1),), (("temperature", 1),)}
        return a.kind == b.kind or bare or _anything(a) or _anything(b)
    return bool(a.words & b.words)


def convert(value: Fraction, unit: Unit, wanted: Unit) -> Fraction:
    """The value in another unit of the same kind."""
    if unit.kind != wanted.kind:
        return value
    return (value * unit.factor + unit.offset - wanted.offset) / wanted.factor


def leading_unit(text: str) -> str:
    """The unit of the table that a text begins with, up to three words; "" if there is none."""
    words = list(_WORD.finditer(text[:_LONGEST]))[:4]
    if not words or words[0].group().lower() in _TIGHT:
        return ""
    for count in range(len(words), 0, -1):
        phrase = text[: words[count - 1].end()]
        power = re.match(r"\s*\^\s*\{?\d\}?", text[len(phrase) :])
        if power:
            phrase += power.group()
        unit = read_unit(phrase)
        last = words[count - 1].group().lower()
        aside = _TIGHT | _SAID_ASIDE | {"per"}
        if unit and unit.kind and not unit.words and last not in aside:
            return phrase.strip()
    return ""


def _anything(unit: Unit) -> bool:
    return bool(unit.kind) and all(kind == "count" for kind, _ in unit.kind)


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word
