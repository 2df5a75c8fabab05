"""Model specs: one short string that names a model, read the same way everywhere."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from rsdecode.config.gates import Gate, read_gate, spelled
from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Role
from rsdecode.rewards.detect import verifier_form
from rsdecode.rewards.verifier_form import form_named


class SpecKind(StrEnum):
    """Where a model comes from. The set is closed."""

    ABACUS = "abacus"
    """The family that ships with the package: `abacus:draft`, `abacus:target`, `abacus:prm`."""
    HF = "hf"
    """A Hugging Face model by id or folder."""
    GGUF = "gguf"
    """A GGUF file."""
    VLLM = "vllm"
    """A model that vLLM is to serve."""
    HTTP = "http"
    """An OpenAI-compatible server; the served model's name follows `#`."""
    SCRIPTED = "scripted"
    """Replies from a JSON file (see `rsdecode.backends.scripted`)."""
    JUDGE = "judge"
    """A language model that grades steps; the rest is that model's spec."""
    ARITHMETIC = "arithmetic"
    """Checks the equations of a step, without a model."""
    PYTHON = "python"
    """A Python callable, `module:function`."""
    LIKELIHOOD = "likelihood"
    """How likely the target finds a step (see `config.gates`, as for the next three)."""
    CONFIDENCE = "confidence"
    """How sure the draft was of its step."""
    AGREEMENT = "agreement"
    """How far the target's greedy step begins like the draft's."""
    IMPLICIT = "implicit"
    """Two language models: how much likelier the first finds a step than the second."""
    VERIFIER = "verifier"
    """A language model that writes about the solution, and says whether it is correct."""
    CASCADE = "cascade"
    """Two rewards: the first decides clear cases, the second the rest."""


MODEL_FORMS = (
    "abacus:draft",
    "abacus:target",
    "hf:ID_OR_PATH",
    "gguf:FILE",
    "vllm:ID_OR_PATH",
    "http://HOST:PORT/v1#NAME",
    "scripted:FILE",
)
REWARD_FORMS = (
    "abacus:prm",
    "hf:ID_OR_PATH",
    "gguf:FILE",
    "vllm:ID_OR_PATH",
    "http://HOST:PORT/v1#NAME",
    "scripted:FILE",
    "judge:MODEL",
    "arithmetic",
    "python:MODULE:FUNCTION",
    "likelihood:target",
    "confidence:draft",
    "agreement",
    "implicit:MODEL,REFERENCE",
    "verifier:MODEL",
    "cascade:A,B",
)
GATES = (SpecKind.LIKELIHOOD, SpecKind.CONFIDENCE, SpecKind.AGREEMENT)
"""Rewards that draft or target give themselves."""
RULES = (
    SpecKind.JUDGE,
    SpecKind.ARITHMETIC,
    SpecKind.PYTHON,
    *GATES,
    SpecKind.IMPLICIT,
    SpecKind.VERIFIER,
    SpecKind.CASCADE,
)
"""Rewards that are no checkpoint with a reward head."""

_FAMILY = Path(__file__).resolve().parents[1] / "models" / "abacus"
_OPTION = re.compile(r"(?:beta=(?P<beta>[^:]*)|step):")
_VERIFIER_OPTION = re.compile(r"(form|samples|temperature|tokens)=([^:]*):")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_URL = re.compile(r"https?://[^/\s#]+(/[^\s#]*)?#\S+")
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


class Implicit(NamedTuple):
    """An implicit reward, read.

    Attributes:
        beta: what log-ratios are multiplied with.
        whole: whether they are summed from the beginning of the answer, not of the step.
    """

    model: ModelSpec
    reference: ModelSpec
    beta: float = 0.05
    whole: bool = True

    def __str__(self) -> str:
        beta = [] if self.beta == 0.05 else [f"beta={self.beta:g}"]
        parts = [*beta, *([] if self.whole else ["step"]), f"{self.model},{self.reference}"]
        return ":".join(parts)


class Verifier(NamedTuple):
    """A generative verifier, read; None for what is left to its form (see `rewards.verifier`)."""

    model: ModelSpec
    form: str | None = None
    samples: int | None = None
    temperature: float | None = None
    tokens: int | None = None

    def __str__(self) -> str:
        given = {"samples": self.samples, "temperature": self.temperature, "tokens": self.tokens}
        form = [] if self.form is None else [f"form={self.form}"]
        parts = [f"{name}={value:g}" for name, value in given.items() if value is not None]
        return ":".join([*form, *parts, str(self.model)])

    @property
    def asked(self) -> str:
        """The form in which it is asked: the one that is named, or the published model's."""
        return self.form or verifier_form(self.model.target) or "thinkprm"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A parsed spec; `str(spec)` is the spec again.

    Attributes:
        target: what the kind's prefix is followed by; the whole URL for `http`.
    """

    kind: SpecKind
    target: str = ""

    def __str__(self) -> str:
        if self.kind is SpecKind.HTTP:
            return self.target
        return f"{self.kind}:{self.target}" if self.target else str(self.kind)

    @property
    def is_abacus(self) -> bool:
        """Whether it is one of the embedded family, by name or by the folder that ships with us."""
        if self.kind in (SpecKind.HF, SpecKind.VLLM):
            return _FAMILY in Path(self.target).expanduser().resolve().parents
        return self.kind is SpecKind.ABACUS

    @property
    def judge(self) -> ModelSpec:
        """The language model behind a `judge:` spec."""
        return parse_model_spec(self.target)

    @property
    def graders(self) -> tuple[ModelSpec, ...]:
        """The language models of a reward that is made of their words or probabilities."""
        match self.kind:
            case SpecKind.JUDGE:
                return (self.judge,)
            case SpecKind.VERIFIER:
                return (self.verifier.model,)
            case SpecKind.IMPLICIT:
                return self.implicit[:2]
            case _:
                return ()

    @property
    def implicit(self) -> Implicit:
        """The two language models of an implicit reward, and its options."""
        return _implicit(self.target)

    @property
    def verifier(self) -> Verifier:
        """The language model of a generative verifier, and its options."""
        return _verifier(self.target)

    @property
    def gate(self) -> Gate:
        """What a gate reads, and its options."""
        return read_gate(self.kind.value, self.target)

    @property
    def parts(self) -> tuple[ModelSpec, ...]:
        """The two rewards of a cascade; of any other, itself."""
        return _cascade(self.target) if self.kind is SpecKind.CASCADE else (self,)

    @property
    def leaves(self) -> tuple[ModelSpec, ...]:
        """Those parts, or the language models that they are made of."""
        return tuple(leaf for part in self.parts for leaf in part.graders or (part,))

    @property
    def reads(self) -> frozenset[Role]:
        """The roles whose models give the reward."""
        return frozenset(part.gate.reads for part in self.parts if part.kind in GATES)


def parse_model_spec(value: str) -> ModelSpec:
    """Read the spec of a draft or a target.

    Raises:
        ConfigError: it has none of the known forms.
    """
    spec = _parse(value, MODEL_FORMS)
    if spec.kind in RULES:
        raise ConfigError(f"{value!r} is a reward, not a language model: use it as the reward")
    _check_abacus(spec, ("draft", "target"), "abacus:prm scores steps: use it as the reward")
    return spec


def parse_reward_spec(value: str) -> ModelSpec:
    """Read the spec of a reward model.

    Raises:
        ConfigError: it has none of the known forms.
    """
    spec = _parse(value, REWARD_FORMS)
    _check_abacus(spec, ("prm",), f"judge:{value} lets a language model grade the steps")
    if spec.kind is SpecKind.JUDGE:
        return ModelSpec(SpecKind.JUDGE, str(parse_model_spec(spec.target)))
    if spec.kind is SpecKind.PYTHON:
        check_function(value, spec.target)
    if spec.kind in GATES:
        return ModelSpec(spec.kind, spelled(spec.kind.value, spec.gate))
    if spec.kind is SpecKind.VERIFIER:
        return ModelSpec(spec.kind, str(spec.verifier))
    if spec.kind in (SpecKind.HF, SpecKind.GGUF) and verifier_form(spec.target):
        return ModelSpec(SpecKind.VERIFIER, str(_verifier(str(spec))))
    if spec.kind is SpecKind.IMPLICIT:
        return ModelSpec(spec.kind, str(spec.implicit))
    if spec.kind is SpecKind.CASCADE:
        return ModelSpec(spec.kind, ",".join(map(str, _cascade(spec.target))))
    return spec


def _implicit(target: str) -> Implicit:
    """What follows `implicit:`: options, and two language models; a path may hold commas."""
    rest, beta, whole = target, 0.05, True
    while found := _OPTION.match(rest):
        rest = rest[found.end() :]
        if found["beta"] is None:
            whole = False
            continue
        try:
            beta = float(found["beta"])
        except ValueError:
            beta = math.nan
        if not 0.0 < beta < math.inf:
            raise ConfigError(f"'implicit:{target}': beta {found['beta']!r} must be above 0")
    error: ConfigError | None = None
    for place in (place for place, letter in enumerate(rest) if letter == ","):
        try:
            pair = parse_model_spec(rest[:place]), parse_model_spec(rest[place + 1 :])
        except ConfigError as wrong:
            error = error or wrong
            continue
        if any(part.kind is SpecKind.VLLM for part in pair):
            raise ConfigError(
                f"'implicit:{target}': rsd starts no vLLM for an implicit reward: serve both "
                "models and give their URLs (http://HOST:PORT/v1#NAME)"
            )
        return Implicit(*pair, beta, whole)
    detail = f": {error}" if error is not None else ""
    raise ConfigError(
        f"'implicit:{target}' must be implicit:MODEL,REFERENCE with two language models, after "
        f"beta=NUMBER: or step: where wanted{detail}"
    )


def _verifier(target: str) -> Verifier:
    """What follows `verifier:`: options, and a language model."""
    rest, given, form = target, dict[str, float](), None
    while found := _VERIFIER_OPTION.match(rest):
        rest = rest[found.end() :]
        name, text = found[1], found[2]
        if name == "form":
            form = form_named(text).name
            continue
        try:
            value = float(text) if name == "temperature" else int(text)
        except ValueError:
            value = math.nan
        least = 0 if name == "temperature" else 1
        if not least <= value < math.inf:
            raise ConfigError(
                f"'verifier:{target}': {name} {text!r} must be a number of at least {least}"
            )
        given[name] = value
    model = parse_model_spec(rest)
    if model.kind is SpecKind.VLLM:
        raise ConfigError(
            f"'verifier:{target}': rsd starts no vLLM for a verifier: serve the model and give its "
            "URL (http://HOST:PORT/v1#NAME)"
        )
    whole: dict[str, Any] = {n: v if n == "temperature" else int(v) for n, v in given.items()}
    return Verifier(model, form, **whole)


def _cascade(target: str) -> tuple[ModelSpec, ...]:
    """The two rewards of a cascade; a path in the first may hold commas."""
    error: ConfigError | None = None
    places = [place for place, letter in enumerate(target) if letter == ","]
    for place in places:
        try:
            pair = parse_reward_spec(target[:place]), parse_reward_spec(target[place + 1 :])
        except ConfigError as wrong:
            error = error or wrong
            continue
        if any(part.kind is SpecKind.CASCADE for part in pair):
            break
        return pair
    detail = f": {error}" if error is not None else ""
    raise ConfigError(
        f"'cascade:{target}' must be cascade:A,B with two rewards that are no cascades, such as "
        f"cascade:confidence:draft,abacus:prm{detail}"
    )


def check_function(value: str, target: str) -> None:
    """Check that `target` reads module:function.

    Raises:
        ConfigError: it does not.
    """
    if not _FUNCTION.fullmatch(target):
        raise ConfigError(
            f"{value!r} must be python:MODULE:FUNCTION, for example python:mine:score"
        )


def is_hub_id(value: str) -> bool:
    """Whether `value` reads like the id of a model on the Hugging Face hub."""
    return bool(_HUB_ID.fullmatch(value))


def _parse(value: str, forms: tuple[str, ...]) -> ModelSpec:
    value = value.strip()
    if value.startswith(("http://", "https://")):
        if not _URL.fullmatch(value):
            raise ConfigError(
                f"{value!r} does not name the served model: use http://HOST:PORT/v1#NAME"
            )
        return ModelSpec(SpecKind.HTTP, value)
    prefix, colon, target = value.partition(":")
    known = prefix in set(SpecKind) - {SpecKind.HTTP}
    bare = prefix in (SpecKind.ARITHMETIC, SpecKind.AGREEMENT)
    wrong = bool(target) if prefix == SpecKind.ARITHMETIC else not (target or bare)
    if not known or wrong or (colon and not target):
        raise ConfigError(_unknown(value, forms))
    return ModelSpec(SpecKind(prefix), target)


def _check_abacus(spec: ModelSpec, members: tuple[str, ...], remedy: str) -> None:
    if spec.kind is SpecKind.ABACUS and spec.target not in members:
        names = " or ".join(f"abacus:{member}" for member in members)
        hint = f" ({remedy})" if spec.target in ("draft", "target", "prm") else ""
        raise ConfigError(f"{str(spec)!r}: expected {names} here{hint}")


def _unknown(value: str, forms: tuple[str, ...]) -> str:
    guess = _guess(value)
    hint = f"did you mean {guess}? " if guess else ""
    return f"unknown model spec {value!r}; {hint}the forms are: {', '.join(forms)}"


def _guess(value: str) -> str | None:
    """What the user most likely meant."""
    path = os.path.expanduser(value)
    if value.lower().endswith(".gguf"):
        return f"gguf:{value}"
    if os.path.isdir(path):
        return f"hf:{value}"
    if value.endswith(".json") and os.path.isfile(path):
        return f"scripted:{value}"
    if value in ("draft", "target", "prm"):
        return f"abacus:{value}"
    return f"hf:{value}" if is_hub_id(value) else None
