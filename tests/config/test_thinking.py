from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rsdecode.config import load_config
from rsdecode.config.methods import build_named_method
from rsdecode.config.resolve import config_hash
from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Role
from rsdecode.methods.thinking import Thinking

QWEN = {"draft": "hf:a/b", "target": "hf:a/c", "reward.spec": "hf:a/prm"}


def thinking(method: str = "rsd", **settings: Any) -> Thinking:
    named = {f"thinking.{key}": value for key, value in settings.items()}
    built: Any = build_named_method(method, load_config(overrides=QWEN | named))
    return built.thinking


def test_by_default_the_draft_thinks_and_the_answer_is_judged() -> None:
    found = thinking()
    assert not found.judged
    assert found.writer is Role.DRAFT
    assert found.alone
    assert found.budget is None
    assert found.rule.shortest == 50


@pytest.mark.parametrize(
    ("settings", "judged", "alone"),
    [
        ({"score": "answer"}, False, True),
        ({"score": "steps"}, True, True),
        ({"score": "all"}, True, False),
        ({"thoughts_by": "rsd"}, True, False),
        ({"gate": "confidence:draft"}, True, True),
        ({"thoughts_by": "target"}, False, True),
    ],
)
def test_who_judges_thoughts(settings: dict[str, Any], judged: bool, alone: bool) -> None:
    found = thinking(**settings)
    assert (found.judged, found.alone) == (judged, alone)


def test_a_gate_as_the_reward_judges_everything() -> None:
    config = load_config(overrides=QWEN | {"reward.spec": "likelihood:target"})
    built: Any = build_named_method("rsd", config)
    assert built.thinking.judged
    assert not built.thinking.alone


def test_a_gate_of_thoughts_needs_its_model() -> None:
    overrides = QWEN | {"thinking.gate": "likelihood:target", "method": "best-of-4"}
    assert Role.TARGET in load_config(overrides=overrides).models_needed


def test_methods_without_a_target_have_the_draft_think() -> None:
    found = thinking("beam@4", thoughts_by="target", first_steps=2)
    assert found.writer is Role.DRAFT
    assert found.first_steps == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gate": "confidence:draft", "score": "all"}, "leave one of them out"),
        ({"gate": "confidence:draft", "thoughts_by": "draft"}, "leave one of them out"),
        ({"score": "steps", "thoughts_by": "target"}, "leave one of them out"),
        ({"score": "answer", "thoughts_by": "rsd"}, "needs a judge"),
        ({"boundary": "words"}, "paragraphs:N or markers:N"),
        ({"gate": "nonsense"}, "nonsense"),
        ({"budget": -1}, "a whole number >= 0"),
        ({"mode": "maybe"}, "auto, on or off"),
        ({"threshold": 2}, r"a number in \[0, 1\]"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        thinking(**settings)


def test_yaml_may_say_on_and_off_without_quotes(tmp_path: Path) -> None:
    place = tmp_path / "run.yaml"
    place.write_text("thinking: {mode: off}\n")
    assert load_config(place).thinking.mode == "off"


def test_modes_are_switches_of_templates() -> None:
    overrides: dict[str, Any] = {"thinking.mode": "off", "thinking.effort": "low"}
    config = load_config(overrides=overrides)
    off = {"enable_thinking": False, "thinking": False, "reasoning_effort": "low"}
    assert config.template_arguments == off
    given = load_config(overrides=overrides | {"prompt.template": {"enable_thinking": True}})
    assert given.template_arguments == off | {"enable_thinking": True}, "what is given wins"


def test_the_hash_is_as_before_where_nothing_is_set() -> None:
    plain, budget = load_config(), load_config(overrides={"thinking.budget": 9})
    assert config_hash(plain) != config_hash(budget)
    assert config_hash(load_config(overrides={"thinking.mode": "auto"})) == config_hash(plain)


def test_the_family_has_no_thoughts() -> None:
    built: Any = build_named_method("rsd", load_config())
    assert built.thinking is None
