from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from rsdecode.backends.openai_http import ServedModel
from rsdecode.config import RunConfig, config_hash, load_config
from rsdecode.config.build import build_models
from rsdecode.core.errors import ConfigError
from rsdecode.core.protocols import Sized
from rsdecode.models.abacus import model_path
from rsdecode.rewards import JudgeReward

URL = "http://127.0.0.1:9/v1#m"
DRAFT, PRM = str(model_path("draft")), str(model_path("prm"))


def config(**overrides: Any) -> RunConfig:
    given = {"draft": URL, "target": URL, "reward.spec": "arithmetic"}
    return load_config(overrides=given | {k.replace("__", "."): v for k, v in overrides.items()})


def test_a_served_model_needs_no_tokenizer() -> None:
    models = build_models(config())
    models.close()
    assert isinstance(models.draft, ServedModel)
    assert models.draft is models.target
    assert models.draft.shape is None
    assert models.draft.describe() == {"model": "m", "servers": "http://127.0.0.1:9/v1"}


def test_a_tokenizer_tells_vocabulary_and_sizes() -> None:
    models = build_models(config(method="draft", draft_tokenizer=DRAFT))
    models.close()
    assert isinstance(models.draft, ServedModel)
    assert models.draft.shape is not None
    assert models.draft.shape.parameters == 133_312
    assert models.draft.describe()["vocabulary"]


def test_a_served_name_that_is_a_folder_is_its_own_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").symlink_to(DRAFT)
    models = build_models(config(method="draft", draft="http://127.0.0.1:9/v1#mine"))
    models.close()
    assert isinstance(models.draft, ServedModel)
    assert "vocabulary" in models.draft.describe()


def test_a_served_reward_model() -> None:
    models = build_models(config(reward__spec=URL, reward__tokenizer=PRM))
    models.close()
    assert isinstance(models.reward, Sized)
    assert models.reward.shape is not None
    with pytest.raises(ConfigError, match=r"reward: the reward model 'm' .*--reward-tokenizer"):
        build_models(config(reward__spec=URL))


def test_a_served_judge_shares_the_model_of_its_spec() -> None:
    models = build_models(config(reward__spec=f"judge:{URL}"))
    models.close()
    assert isinstance(models.reward, JudgeReward)
    assert models.reward._model is models.draft


def test_the_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(ConfigError, match=r"pip install 'rsdecode\[http\]'"):
        build_models(config())


def test_patience_is_configured_and_changes_no_answer() -> None:
    assert config(http__timeout_s=3.0).http.timeout_s == 3.0
    assert config_hash(config(http__attempts=2)) == config_hash(config())
    assert config_hash(config(draft_tokenizer=DRAFT)) != config_hash(config())
    with pytest.raises(ConfigError, match=r"http\.attempts 0"):
        config(http__attempts=0)


def test_template_arguments_reach_served_models() -> None:
    given = {"enable_thinking": False}
    models = build_models(config(method="draft", draft_tokenizer=DRAFT, prompt__template=given))
    models.close()
    assert isinstance(models.draft, ServedModel)
    [note] = models.notes()
    assert note.startswith("m: prompt.template sets enable_thinking, which the chat template never")


def test_the_date_cannot_be_set_where_the_server_renders() -> None:
    given = {"strftime_now": "2026-07-31"}
    models = build_models(config(method="draft", draft_tokenizer=DRAFT, prompt__template=given))
    models.close()
    with pytest.raises(ConfigError, match=r"strftime_now, but the server of 'm'.*draft_tokenizer"):
        build_models(config(method="draft", prompt__template=given))
