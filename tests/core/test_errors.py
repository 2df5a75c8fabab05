from __future__ import annotations

import inspect
import pickle
import re

import pytest

from rsdecode.core import errors
from rsdecode.core.errors import RsdError

ERRORS = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, BaseException)
]


@pytest.mark.parametrize("error", ERRORS)
def test_each_is_an_rsd_error_and_survives_pickling(error: type[RsdError]) -> None:
    original = error("model 'x' has no weights: give a folder that has some")
    copy = pickle.loads(pickle.dumps(original))
    assert isinstance(copy, RsdError)
    assert type(copy) is error
    assert str(copy) == str(original) == "model 'x' has no weights: give a folder that has some"


def test_the_tree_in_the_docstring_is_the_hierarchy() -> None:
    drawn: dict[str, tuple[str, str | None]] = {}
    parents: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ((?:[│ ] {3})*)([├└]── )?(\w+)(?: \((\w+)\))?", line)
        if found is None:
            continue
        indent, branch, name, standard = found.groups()
        depth = len(indent) // 4 + bool(branch)
        del parents[depth:]
        drawn[name] = (parents[-1] if parents else "Exception", standard)
        parents.append(name)
    bases = {e.__name__: [base.__name__ for base in e.__bases__] for e in ERRORS}
    assert bases == {
        name: [parent, standard] if standard else [parent]
        for name, (parent, standard) in drawn.items()
    }
