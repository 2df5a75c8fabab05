"""Functions of the user's own, named by `module:function`."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from rsdecode.core.errors import ConfigError


def find_function(target: str, what: str) -> Callable[..., Any]:
    """Import the function that `module:function` names.

    Args:
        target: `module:function`; the module is looked for on the Python path, then in the working
            directory.
        what: it is used as, with the user's spec; errors begin with it.

    Raises:
        ConfigError: there is no such module or function.
    """
    name, colon, attribute = target.partition(":")
    if not (name and colon and attribute):
        raise ConfigError(f"{what} must be written module:function")
    found: Any = _import(name, what)
    for part in attribute.split("."):
        if not hasattr(found, part):
            known = ", ".join([n for n in dir(found) if not n.startswith("_")][:10])
            raise ConfigError(
                f"{what}: module {name!r} has no function {attribute!r}: it has {known}"
            )
        found = getattr(found, part)
    if not callable(found):
        raise ConfigError(f"{what} is {type(found).__name__}, not a function")
    return found


def make_findable(module: str) -> None:
    """Let a module of the working directory be imported.

    Only a module that is nowhere else brings the working directory onto the Python path, and only
    to its end: a folder there must not hide an installed library of the same name.
    """
    package = module.partition(".")[0]
    if package in sys.modules or importlib.util.find_spec(package) is not None:
        return
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()


def _import(name: str, what: str) -> ModuleType:
    try:
        make_findable(name)
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"{what}: there is no module {name!r}: install it, or run in the directory that "
                "holds it"
            ) from None
        raise ConfigError(f"{what}: {name!r} needs another module: {error}") from error
    except Exception as error:  # the module's own code may raise anything while it is imported
        raise ConfigError(
            f"{what}: importing {name!r} failed: {type(error).__name__}: {error}"
        ) from error
