"""From a model's name and the extension `rsd` to a decoding method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from pydantic import ValidationError

from rsdecode.config import RunConfig
from rsdecode.config.method_names import MethodName, parse_method_name
from rsdecode.config.methods import build_named_method, check_models
from rsdecode.config.resolve import settled
from rsdecode.config.schema import WEIGHTINGS
from rsdecode.core.errors import ConfigError
from rsdecode.core.protocols import Models
from rsdecode.methods import Method
from rsdecode.server.effort import thinking_with
from rsdecode.server.errors import ApiError, invalid, unknown_model
from rsdecode.server.requests import RsdOptions, described

PREFIX = "rsd/"
ALONE = ("draft", "target")

OF_RSD = ("threshold", "weighting", "candidates", "budget", "lookahead")
"""Settings that other methods have no use for."""
_HEADERS = ("method", "threshold", "weighting", "candidates", "budget", "max-steps", "lookahead")


@dataclass(frozen=True, slots=True)
class Chosen:
    """How a request is decoded.

    Attributes:
        name: of the method, with what was set for this request left out.
        kind: of the method, for metrics: a closed set.
        method: built.
        threshold: of the reward, for methods that have one.
        samples: texts that it has written side by side.
        ignored: settings of the request that have no effect on this method.
    """

    name: str
    kind: str
    method: Method
    threshold: float | None
    samples: int
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """What a request changes of the configuration; None where it says nothing."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    effort: str | None = None


class MethodChooser:
    """Builds the methods that requests name.

    Args:
        config: says what requests leave open.
        models: what there is.
        most_samples: answers that one request may have written.
    """

    def __init__(self, config: RunConfig, models: Models, most_samples: int) -> None:
        self._config = config
        self._models = models
        self._most_samples = most_samples
        self._cached = lru_cache(maxsize=1024)(self._build)

    @property
    def default(self) -> str:
        """The method of the configuration."""
        return self._config.method

    @property
    def names(self) -> list[str]:
        """Models' names that are listed; any other method's name is a model's name too."""
        listed = ["rsd", "rsd/target", "rsd/draft", "majority@8", "best-of-8"]
        if self.default not in (*ALONE, *listed):
            listed.append(self.default)
        return [name for name in listed if self.serves(name)]

    @property
    def methods(self) -> list[str]:
        """The listed methods, the default one first."""
        plain = [name.removeprefix(PREFIX) for name in self.names]
        return list(dict.fromkeys([self.default, *plain]))

    def serves(self, model: str) -> bool:
        """Whether a model's name can be asked for."""
        try:
            self.choose(model, RsdOptions(), Changes())
        except ApiError:
            return False
        return True

    def choose(self, model: str, options: RsdOptions, changes: Changes) -> Chosen:
        """The method for a request.

        Raises:
            ApiError: there is no such method, or its settings contradict each other.
        """
        name = self._name(model, options)
        key = options.model_copy(update={"method": None, "trace": False})
        return self._cached(name, key.model_dump_json(), changes)

    def _name(self, model: str, options: RsdOptions) -> str:
        if options.method is not None:
            self._parse(options.method, _no_method)
            if model != "rsd":
                self._of_model(model)
            return options.method
        return self._of_model(model)

    def _of_model(self, model: str) -> str:
        """The method that a model's name stands for; `rsd` alone is the configuration's own."""
        if model == "rsd":
            return self.default
        name = model.removeprefix(PREFIX)
        if name in ALONE and not model.startswith(PREFIX):
            raise unknown_model(model, f"did you mean {PREFIX + name!r}?")
        self._parse(name, partial(unknown_model, model))
        return name

    def _parse(self, name: str, refuse: Callable[[str], ApiError]) -> MethodName:
        try:
            parsed = parse_method_name(name)
        except ConfigError as error:
            raise refuse(str(error)) from None
        missing = sorted(parsed.roles - self._config.roles)
        if missing:
            raise refuse(f"{name!r} needs a {missing[0]} model, which is not loaded here")
        return parsed

    def _build(self, name: str, options_json: str, changes: Changes) -> Chosen:
        options = RsdOptions.model_validate_json(options_json)
        parsed = parse_method_name(name)
        name = self._without_overridden(parsed, options)
        config = self._changed(options, changes)
        try:
            config = settled(config.model_copy(update={"method": name}))
            method = thinking_with(build_named_method(name, config), changes.effort)
            check_models(config, method, self._models)
        except ConfigError as error:
            raise invalid(str(error), "rsd" if options.method is None else "rsd.method") from None
        samples = self._check_work(parsed, config)
        weighting = config.weighting
        self._check_weighting(weighting.kind)
        thresholded = parsed.kind == "rsd" and weighting.kind in ("step", "logistic")
        return Chosen(
            name=name,
            kind=parsed.kind,
            method=method,
            threshold=weighting.threshold if thresholded else None,
            samples=samples,
            ignored=() if parsed.kind == "rsd" else _given(options, OF_RSD),
        )

    def _without_overridden(self, parsed: MethodName, options: RsdOptions) -> str:
        """The name without the threshold that the request sets beside it."""
        if options.threshold is None or parsed.kind != "rsd":
            return str(parsed) if parsed.kind != "rsd" else _spelled(parsed, parsed.number)
        if parsed.number is not None and parsed.number != options.threshold:
            raise invalid(
                f"the threshold {options.threshold} contradicts the name "
                f"{_spelled(parsed, parsed.number)!r}",
                "rsd.threshold",
            )
        return _spelled(parsed, None)

    def _changed(self, options: RsdOptions, changes: Changes) -> RunConfig:
        settings = self._config.model_dump(exclude_unset=True)
        limits = settings.setdefault("limits", {})
        _set(limits, "max_tokens", changes.max_tokens)
        _set(limits, "max_steps", options.max_steps)
        sampling = settings.setdefault("sampling", {})
        for role in ("draft", "target"):
            section = sampling.setdefault(role, {})
            _set(section, "temperature", changes.temperature)
            _set(section, "top_p", changes.top_p)
            _set(section, "top_k", None if changes.top_k is None else max(changes.top_k, 0))
        for name in ("candidates", "budget", "lookahead"):
            _set(settings, name, getattr(options, name))
        if options.weighting is not None and options.weighting != self._config.weighting.kind:
            self._check_weighting(options.weighting)
            settings["weighting"] = {"kind": options.weighting}
        if options.threshold is not None:
            settings.setdefault("weighting", {})["threshold"] = options.threshold
        try:
            return RunConfig.model_validate(settings)
        except ValidationError as error:
            refused = described(error.errors())
            raise invalid(str(refused).removeprefix("body: "), "rsd") from None

    def _check_weighting(self, kind: str) -> None:
        """Clients name a weighting; Python functions are for whoever starts the server."""
        if kind not in WEIGHTINGS and kind != self._config.weighting.kind:
            known = ", ".join(WEIGHTINGS)
            raise invalid(f"weighting {kind!r} must be one of {known}", "rsd.weighting")

    def _check_work(self, parsed: MethodName, config: RunConfig) -> int:
        """Answers, or candidates of a step, that are written side by side.

        Raises:
            ApiError: more than the server allows.
        """
        match parsed.kind:
            case "rsd":
                count = config.candidates
            case "majority" | "best-of" | "process-best-of" | "gsi":
                count = parsed.count
            case "beam":
                count = parsed.count * int(parsed.options["expansions"])
            case _:
                count = 1
        if count > self._most_samples:
            raise invalid(
                f"{count} texts side by side are more than this server allows "
                f"({self._most_samples}): ask for fewer",
                "rsd.method",
            )
        return count


def header_options(headers: Mapping[str, str]) -> dict[str, Any]:
    """The extension as headers: `X-RSD-Method`, `X-RSD-Threshold`, ..., `X-RSD-Trace`."""
    given: dict[str, Any] = {}
    for name in _HEADERS:
        if (value := headers.get(f"x-rsd-{name}")) is not None:
            given[name.replace("-", "_")] = value
    if (trace := headers.get("x-rsd-trace")) is not None:
        given["trace"] = trace if trace == "deltas" else trace.lower() in ("1", "true", "yes")
    return given


def _given(options: RsdOptions, names: Iterable[str]) -> tuple[str, ...]:
    """Those that a request sets, as it calls them."""
    return tuple(f"rsd.{name}" for name in names if getattr(options, name) is not None)


def _no_method(why: str) -> ApiError:
    return invalid(why, "rsd.method")


def _spelled(parsed: MethodName, number: Any) -> str:
    return str(MethodName(parsed.kind, number, parsed.options))


def _set(section: dict[str, Any], name: str, value: Any) -> None:
    if value is not None:
        section[name] = value
