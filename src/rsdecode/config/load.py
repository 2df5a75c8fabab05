"""From a YAML file and the options given on the command line to a `RunConfig`."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rsdecode.config.method_names import MethodName, parse_method_name
from rsdecode.config.presets import PREFIX, read_preset
from rsdecode.config.resolve import spell_out
from rsdecode.config.schema import WEIGHTING_PARAMETERS, RunConfig
from rsdecode.core.errors import ConfigError


def load_config(
    path: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    names: Mapping[str, str] | None = None,
) -> RunConfig:
    """Read a configuration.

    Args:
        path: a YAML file, or `preset:NAME`; None for the defaults.
        overrides: values by key path ("weighting.threshold"); they win over the file.
        names: how to call a key path of `overrides` in an error ("--threshold").

    Raises:
        ConfigError: the file cannot be read, or a key or value is wrong; names the key path, the
            value and the remedy.
    """
    overrides = overrides or {}
    settings = read_yaml(Path(path)) if path is not None else {}
    if path is not None:
        _find_calibration(settings, Path(path).parent)
    if overrides:
        _spell_out_method(settings, overrides, names or {})
    if "weighting.kind" in overrides:
        _forget_parameters(settings, str(overrides["weighting.kind"]))
    for key, value in overrides.items():
        _put(settings, key, value)
    called = {key: name for key, name in (names or {}).items() if key in overrides}
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        where = f"{path}: " if path is not None else ""
        raise ConfigError(_describe(error, where, called)) from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                mark = f"line {key.start_mark.line + 1}"
                raise yaml.YAMLError(f"the key {key.value!r} is given twice ({mark})")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file, or of a preset.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    try:
        if str(path).startswith(PREFIX):
            text = read_preset(str(path).removeprefix(PREFIX))
        else:
            text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"--config {path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"--config {path}: cannot be read: {reason}") from None
    try:
        loaded: Any = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise ConfigError(f"--config {path}: not valid YAML: {problem}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"--config {path}: expected keys and values, such as `method: rsd`")
    return cast("dict[str, Any]", loaded)


def _spell_out_method(
    settings: dict[str, Any], overrides: Mapping[str, Any], names: Mapping[str, str]
) -> None:
    """What the name of the file's method says (`rsd@0.5`) gives way to options, as its keys do.

    Raises:
        ConfigError: an option contradicts the name that was given beside it.
    """
    given = overrides.get("method")
    name = _rsd_name(settings.get("method") if given is None else given)
    if name is None or not isinstance(settings.get("weighting", {}), dict):
        return  # whatever is wrong is told by the validation
    said: dict[str, Any] = {}
    spell_out(said, name)
    keys = {f"weighting.{key}" for key in said.pop("weighting")} | (said.keys() - {"method"})
    for key in keys & overrides.keys():
        if given is None:
            spell_out(settings, name)
            return
        option = f"{names.get(key, key)} {overrides[key]}"
        raise ConfigError(f"{option} and --method {given}: give one of them")


def _rsd_name(method: object) -> MethodName | None:
    try:
        name = parse_method_name(str(method))
    except ConfigError:
        return None
    return name if name.kind == "rsd" else None


def _find_calibration(settings: dict[str, Any], folder: Path) -> None:
    """A file that is named beside the configuration is meant, wherever the command is run."""
    reward = settings.get("reward")
    named = cast("dict[str, Any]", reward).get("calibration") if isinstance(reward, dict) else None
    if isinstance(named, str) and (folder / named).is_file():
        cast("dict[str, Any]", reward)["calibration"] = str(folder / named)


def _forget_parameters(settings: dict[str, Any], kind: str) -> None:
    """Drop the file's weighting parameters that the weighting chosen instead does not have."""
    section = settings.get("weighting")
    if isinstance(section, dict):
        kept = cast("dict[str, Any]", section)
        settings["weighting"] = {
            name: value
            for name, value in kept.items()
            if name not in WEIGHTING_PARAMETERS or kind in WEIGHTING_PARAMETERS[name]
        }


def _put(settings: dict[str, Any], key: str, value: Any) -> None:
    """Set a value by its key path. What is no section is left for the validation to name."""
    *sections, last = key.split(".")
    for section in sections:
        inner = settings.setdefault(section, {})
        if inner is None:
            inner = settings[section] = {}
        if not isinstance(inner, dict):
            return
        settings = cast("dict[str, Any]", inner)
    settings[last] = value


def _describe(error: ValidationError, where: str, called: Mapping[str, str]) -> str:
    """All that is wrong, one clause per key, in one line."""
    clauses = [_clause(detail, where, called) for detail in error.errors()]
    return "; ".join(dict.fromkeys(clauses))


def _clause(detail: ErrorDetails, where: str, called: Mapping[str, str]) -> str:
    path = [str(part) for part in detail["loc"]]
    key = ".".join(path)
    if detail["type"] == "extra_forbidden":
        return f"{where}unknown key {key!r}{_suggest(path)}"
    reason = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "model_type" and (section := _section(path)):
        reason = f"must be a section with the keys {', '.join(section.model_fields)}"
    if key not in called and (inside := _options_inside(key, called)):
        key, where = " ".join(inside), ""  # a rule between keys, broken by these options
    elif key in called:
        key, where = called[key], ""
    value: object = detail["input"]
    whole = isinstance(value, (dict, BaseModel))
    if whole and detail["type"] == "value_error":
        return f"{where}{key}: {reason}" if key else f"{where}{reason}"
    if detail["type"] == "value_error" and repr(cast(object, value)) in reason:
        return f"{where}{key}: {reason}"
    remedy = _expected(path)
    return f"{where}{key} {value!r}: " + (f"must be {remedy}" if remedy else reason)


def _options_inside(key: str, called: Mapping[str, str]) -> list[str]:
    """Options that set something below `key`."""
    prefix = f"{key}." if key else ""
    if not prefix:
        return []
    return list(dict.fromkeys(name for path, name in called.items() if path.startswith(prefix)))


def _suggest(path: list[str]) -> str:
    """Close key names at that place, or all of them."""
    section = _section(path[:-1])
    if section is None:
        return ""
    names = list(section.model_fields)
    close = [name for name in names if name.startswith(path[-1])]
    close = close or difflib.get_close_matches(path[-1], names, n=2, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(repr(name) for name in close)}?"
    elsewhere = [key for key in _all_keys(RunConfig) if key.rpartition(".")[2] == path[-1]]
    if elsewhere:
        return f"; did you mean {' or '.join(repr(key) for key in elsewhere)}?"
    return f"; known keys are {', '.join(names)}"


def _section(path: list[str]) -> type[BaseModel] | None:
    """The model of a section of the configuration."""
    section: type[BaseModel] = RunConfig
    for name in path:
        field = section.model_fields.get(name)
        kind = field.annotation if field is not None else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return None
        section = kind
    return section


def _all_keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys += _all_keys(kind, f"{prefix}{name}.")
        else:
            keys.append(f"{prefix}{name}")
    return keys


def _expected(path: list[str]) -> str | None:
    """The description of a field: what its value must be."""
    section = _section(path[:-1])
    field = section.model_fields.get(path[-1]) if section is not None and path else None
    if field is None:
        return None
    if field.description:
        return field.description
    for part in typing.get_args(field.annotation):
        for note in getattr(part, "__metadata__", ()):
            if getattr(note, "description", None):
                return str(note.description)
    return _choices(field.annotation)


def _choices(annotation: Any) -> str | None:
    if typing.get_origin(annotation) is not typing.Literal:
        return None
    *others, last = (str(value) for value in typing.get_args(annotation))
    return f"{', '.join(others)} or {last}"
