from __future__ import annotations

import pytest

from rsdecode.core.limits import Limits


def test_defaults_of_the_paper() -> None:
    assert (Limits().max_steps, Limits().max_tokens) == (100, 4096)


@pytest.mark.parametrize("name", ["max_steps", "max_step_tokens", "max_tokens"])
@pytest.mark.parametrize("value", [0, -5])
def test_each_limit_is_at_least_one(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} {value} must be at least 1"):
        Limits(**{name: value})
    assert getattr(Limits(**{name: 1}), name) == 1
