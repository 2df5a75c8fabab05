"""Writes the API reference from docstrings; a warning is an error.

python docs/build_api.py FOLDER
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pdoc
import pdoc.render

import rsdecode

PUBLIC = ("core", "methods", "session", "rewards", "backends", "text", "testing", "results")
"""Packages whose modules are documented, beside the names of `rsdecode` itself."""


def main() -> None:
    """Write one page for each module."""
    warnings.simplefilter("error")
    # Types that are only imported for type checkers are shown as they are written.
    warnings.filterwarnings("ignore", message="Error parsing type annotation")
    for module in [rsdecode, *_packages()]:
        for name in getattr(module, "__all__", ()):  # some are there only when first used
            setattr(module, name, getattr(module, name))
    modules = [f"rsdecode.{package}" for package in PUBLIC]  # and the modules in them
    pdoc.render.configure(docformat="google", footer_text=f"rsdecode {rsdecode.__version__}")
    pdoc.pdoc("rsdecode", "rsdecode.solver", *modules, output_directory=Path(sys.argv[1]))


def _packages() -> list[ModuleType]:
    """All packages, imported."""
    found = pkgutil.walk_packages(rsdecode.__path__, "rsdecode.")
    names = [m.name for m in found if m.ispkg and m.name.split(".")[1] in PUBLIC]
    return [importlib.import_module(name) for name in names]


if __name__ == "__main__":
    main()
