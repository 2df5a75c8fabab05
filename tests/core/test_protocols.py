from __future__ import annotations

import pytest

from rsdecode.backends.scripted import ScriptedModel, ScriptedReward
from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import ConfigError
from rsdecode.core.protocols import Closeable, LanguageModel, Models, RewardModel
from rsdecode.core.types import Role

DRAFT = ScriptedModel(lambda request: "d", shape=ModelShape(7))
TARGET = ScriptedModel(lambda request: "t")
REWARD = ScriptedReward(lambda request: 0.5)


def test_scripted_models_keep_the_protocols() -> None:
    assert isinstance(DRAFT, LanguageModel)
    assert isinstance(REWARD, RewardModel)
    assert not isinstance(DRAFT, Closeable)


def test_each_role_has_its_model() -> None:
    models = Models(DRAFT, TARGET, REWARD)
    assert models.language_model(Role.DRAFT) is DRAFT
    assert models.language_model(Role.TARGET) is TARGET
    assert models.reward_model() is REWARD
    assert models.shapes() == {Role.DRAFT: ModelShape(7), Role.TARGET: None, Role.REWARD: None}


@pytest.mark.parametrize("role", Role)
def test_a_missing_model_is_named_with_its_option(role: Role) -> None:
    with pytest.raises(ConfigError, match=f"--{role}"):
        Models().require([role])
    Models().require([])


def test_each_model_is_closed_once() -> None:
    class Closing(ScriptedModel):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    model = Closing(lambda request: "")
    Models(model, model, REWARD).close()
    assert model.closed == 1
