"""Names everything that changes a result, so that results are only ever continued by their like."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, cast

from rsdecode.config import RunConfig
from rsdecode.config.specs import ModelSpec, SpecKind, parse_model_spec, parse_reward_spec
from rsdecode.core.errors import ModelLoadError
from rsdecode.core.types import Role
from rsdecode.methods import Method
from rsdecode.models.abacus import ModelName, model_path
from rsdecode.results.code_version import code_version
from rsdecode.rewards.user_function import make_findable
from rsdecode.text.adapter import find_adapter

_DIGITS = 16
_WHOLE = 1 << 20
"""Files up to this size are read whole; of larger ones, pieces."""
_PIECE, _PIECES = 1 << 16, 32
_REWARD_SETTINGS = ("mark", "separator", "good", "bad", "bounds", "at")
_READ_BY_LOADERS = {
    ".bin", ".gguf", ".jinja", ".json", ".model", ".pt", ".pth", ".py", ".safetensors", ".txt",
}  # fmt: skip


def result_key(
    config: RunConfig,
    method: Method,
    *,
    name: str,
    data: str,
    kind: str,
    content: str,
) -> str:
    """Sixteen hex digits for all that decides the answers of a method to a data set.

    In it: the code (`code_version`), the method as it is built, the models that it needs, prompts,
    what of the engine changes numbers, the seed, the whole data set and how its answers are graded.
    Not in it: how many of the problems or samples are asked for and in which order, shards, and the
    settings of the engine, of servers and of the run that decide no answer.

    Args:
        config: of the run.
        method: as it is built.
        name: that it is built by.
        data: the data set's name.
        kind: of its answers.
        content: a digest of all of its problems (`dataset_digest`).
    """
    roles = method.roles
    engine = config.engine.model_dump(mode="json", exclude={"slots", "threads"})
    return digest(
        {
            "code": code_version(),
            "data": data,
            "content": content,
            "graded_as": kind,
            "method": name,
            "options": describe(method),
            "models": {role: _model(config, role) for role in Role if role in roles},
            "prompt": {"system": config.system_prompt, "plain": config.prompt.plain},
            **({"template": template} if (template := config.template_arguments) else {}),
            **({} if config.answer.thoughts is None else {"thoughts": config.answer.thoughts}),
            "engine": engine,
            "seed": config.run.seed,
        }
    )


def describe(value: Any) -> Any:
    """A configured object as plain JSON: its type, and its fields, all the way down.

    Raises:
        TypeError: a part of it says nothing of what it is.
    """
    if value is None or isinstance(value, (str, int, float)):
        return value.value if isinstance(value, Enum) else value
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: describe(getattr(value, field.name)) for field in fields(value)}
        return {"type": type(value).__qualname__, **parts}
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (tuple, list)):
        return [describe(part) for part in cast("Sequence[Any]", value)]
    if isinstance(value, (set, frozenset)):
        return sorted((describe(part) for part in cast("set[Any]", value)), key=json.dumps)
    if callable(value):
        name = getattr(value, "__qualname__", type(value).__qualname__)
        return {"function": f"{value.__module__}.{name}", "source": _source(value)}
    raise TypeError(f"{value!r} in a method is no dataclass, function or plain value")


def model_digest(spec: ModelSpec) -> str:
    """What a spec stands for: of files on this machine their content, else the spec itself.

    Of large files only the size and pieces are read, so that it is cheap. A model of the Hugging
    Face hub, or behind a server, is taken by its name.
    """
    match spec.kind:
        case SpecKind.ABACUS:
            return _abacus(spec)
        case SpecKind.HF | SpecKind.GGUF | SpecKind.SCRIPTED:
            path = Path(os.path.expanduser(spec.target))
            if path.is_dir():
                return _folder(path) + _base(path)
            return _file(path) if path.is_file() else str(spec)
        case SpecKind.JUDGE | SpecKind.IMPLICIT | SpecKind.VERIFIER:
            told = str(spec)  # with its options; models by their content, wherever they lie
            for grader in sorted(spec.graders, key=lambda each: -len(each.target)):
                told = told.replace(str(grader), model_digest(grader))
            return told
        case SpecKind.CASCADE:
            return f"cascade:{','.join(model_digest(part) for part in spec.parts)}"
        case SpecKind.PYTHON:
            return f"{spec}:{_module_source(spec.target.partition(':')[0])}"
        case _:
            return str(spec)


def digest(value: Any) -> str:
    """Sixteen hex digits of a JSON value."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:_DIGITS]


def _model(config: RunConfig, role: Role) -> dict[str, Any]:
    """What decides the replies of one role's model."""
    served = config.vllm.of(role)
    parts: dict[str, Any] = {"max_model_len": served.max_model_len, "arguments": served.arguments}
    match role:
        case Role.DRAFT:
            spec, parts["tokenizer"] = parse_model_spec(config.draft), config.draft_tokenizer
        case Role.TARGET:
            spec, parts["tokenizer"] = parse_model_spec(config.target), config.target_tokenizer
        case Role.REWARD:
            spec, parts["tokenizer"] = (
                parse_reward_spec(config.reward.spec),
                config.reward.tokenizer,
            )
            parts["kind"] = config.reward.kind
            if spec.kind is SpecKind.GGUF:
                parts["beside"] = _beside(spec, config.reward.tokenizer)
            given = {name: getattr(config.reward, name) for name in _REWARD_SETTINGS}
            parts |= {name: text for name, text in given.items() if text is not None}
            if config.reward.calibration is not None:
                parts["calibration"] = _content(config.reward.calibration)
            if spec.reads:
                parts["reads"] = {str(r): _model(config, r) for r in sorted(spec.reads)}
    if any(each.kind is SpecKind.GGUF for each in (spec, *spec.graders)):
        parts["dequantised"] = config.llamacpp.dequantise
    return {"model": model_digest(spec), **parts}


def _abacus(spec: ModelSpec) -> str:
    try:
        return _folder(model_path(cast("ModelName", spec.target)))
    except FileNotFoundError:  # loading the model says so
        return str(spec)


def _folder(folder: Path, without: str = "") -> str:
    """Of the files that loaders read, wherever the folder lies."""
    read = _READ_BY_LOADERS - {without}
    paths = (path for path in folder.iterdir() if path.suffix in read)
    return digest({path.name: _file(path) for path in sorted(paths) if path.is_file()})


def _beside(spec: ModelSpec, place: str | None) -> str:
    """Of what a reward model's GGUF file does not hold: config.json, tokenizer, head."""
    file = Path(os.path.expanduser(spec.target))
    folder = file.parent if place is None else Path(os.path.expanduser(place))
    return _folder(folder, without=".gguf") if folder.is_dir() else str(place)


def _base(folder: Path) -> str:
    """Of the model that an adapter in the folder belongs to; empty for a whole model."""
    try:
        adapter = find_adapter(str(folder))
    except ModelLoadError:  # loading it says so
        return ""
    if adapter is None:
        return ""
    base = Path(adapter.base)
    return f"+{_folder(base) if base.is_dir() else adapter.base}"


def _file(path: Path) -> str:
    """Of a file's size and content; of a large one, its beginning, its end and pieces between."""
    size = path.stat().st_size
    found = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= _WHOLE:
            found.update(file.read())
        else:
            for piece in range(_PIECES + 1):
                file.seek((size - _PIECE) * piece // _PIECES)
                found.update(file.read(_PIECE))
    return found.hexdigest()[:_DIGITS]


def _content(path: str) -> str:
    """Of a calibration; building the model says what is wrong with one that cannot be read."""
    file = Path(path).expanduser()
    return _file(file) if file.is_file() else path


def _source(function: Any) -> str | None:
    """Of the file that a user's function is written in; the package's are in `code_version`."""
    if str(function.__module__).partition(".")[0] == "rsdecode":
        return None
    try:
        path = inspect.getsourcefile(function)
    except TypeError:
        return None
    return _file(Path(path)) if path and os.path.isfile(path) else None


def _module_source(module: str) -> str | None:
    """Of a module's file; loading the model says what is wrong with one that cannot be found."""
    try:
        make_findable(module)
        found = importlib.util.find_spec(module)
    except Exception:  # noqa: BLE001 - a user's package
        return None
    if found is None or found.origin is None or not os.path.isfile(found.origin):
        return None
    return _file(Path(found.origin))
