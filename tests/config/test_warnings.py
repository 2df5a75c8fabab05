from __future__ import annotations

from typing import Any

import pytest

from rsdecode.config import load_config
from rsdecode.config.build import ModelBuilder
from rsdecode.config.warnings import warnings_of
from rsdecode.core.types import Role


def test_the_reward_of_the_family_with_other_models_is_warned_about() -> None:
    assert warnings_of(load_config()) == []
    [warning] = warnings_of(load_config(overrides={"target": "hf:a/b"}))
    assert "abacus:prm" in warning
    assert "--reward" in warning
    other = {"target": "hf:a/b", "reward.spec": "arithmetic"}
    assert warnings_of(load_config(overrides=other)) == []
    assert warnings_of(load_config(overrides={"target": "hf:a/b", "method": "target"})) == []


def test_settings_without_an_effect_are_warned_of() -> None:
    [warning] = warnings_of(load_config(overrides={"thinking.budget": 9}))
    assert "no thoughts" in warning
    assert not warnings_of(load_config(overrides={"thinking.first_steps": 1}))


def test_thoughts_that_the_family_does_not_have_are_one_warning() -> None:
    config = load_config(overrides={"thinking.mode": "on", "method": "draft"})
    assert len(warnings_of(config)) == 1
    builder = ModelBuilder(config)
    try:
        assert builder.writer(Role.DRAFT).notes == ()
    finally:
        builder.close()


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({}, True),
        ({"method": "target"}, True),
        ({"method": "speculative"}, True),
        ({"method": "speculative", "sampling.draft.temperature": 0.7}, True),
        ({"method": "target", "sampling.draft.temperature": 0.7}, True),
        ({"method": "target", "sampling.target.temperature": 0.7}, False),
        ({"sampling.draft.temperature": 0.7}, False),
        ({"method": "majority@4"}, False),
        ({"weighting.kind": "sigmoidal"}, False),
        ({"method": "rsd:weighting=clipping"}, False),
        ({"run.samples": 1}, False),
    ],
)
def test_samples_that_will_be_the_same_are_warned_of(settings: dict[str, Any], same: bool) -> None:
    warnings = warnings_of(load_config(overrides={"run.samples": 3, **settings}))
    assert ["set --temperature above 0" in warning for warning in warnings] == [True] * same
