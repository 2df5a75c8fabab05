from __future__ import annotations

import pytest

from rsdecode.config import RunConfig, config_hash, load_config
from rsdecode.config.build import ModelBuilder, build_models
from rsdecode.config.methods import build_named_method
from rsdecode.config.specs import SpecKind, parse_model_spec, parse_reward_spec
from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Role
from rsdecode.results.identity import result_key
from rsdecode.rewards.gates import CascadeReward, ConfidenceReward, LikelihoodReward


@pytest.mark.parametrize(
    ("text", "spelled", "reads"),
    [
        ("likelihood:target", "likelihood:target", {Role.TARGET}),
        ("likelihood:target:mean:temperature=1", "likelihood:target", {Role.TARGET}),
        ("likelihood:target:min", "likelihood:target:min", {Role.TARGET}),
        (
            "likelihood:target:temperature=0.70:length=0.5",
            "likelihood:target:length=0.5:temperature=0.7",
            {Role.TARGET},
        ),
        ("confidence:draft:min", "confidence:draft:min", {Role.DRAFT}),
        ("agreement", "agreement", {Role.TARGET}),
        ("agreement:tokens=8", "agreement:tokens=8", {Role.TARGET}),
        (
            "cascade:confidence:draft,likelihood:target:min",
            "cascade:confidence:draft,likelihood:target:min",
            {Role.DRAFT, Role.TARGET},
        ),
        ("cascade:hf:a,b/c,abacus:prm", "cascade:hf:a,b/c,abacus:prm", set()),
    ],
)
def test_forms(text: str, spelled: str, reads: set[Role]) -> None:
    spec = parse_reward_spec(text)
    assert str(spec) == spelled
    assert str(parse_reward_spec(spelled)) == spelled
    assert spec.reads == reads


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("likelihood:draft", "expected likelihood:target"),
        ("likelihood:target:max", "no option 'max'; it has min, temperature=..., length=..."),
        ("likelihood:target:temperature=0", "must be a number above 0"),
        ("likelihood:target:length=2", r"must be a number in \[0, 1\]"),
        ("likelihood:target:min:length=0.5", "no effect on the least likely token"),
        ("likelihood:target:min:mean", "gives how twice"),
        ("confidence:target", "expected confidence:draft"),
        ("confidence:draft:temperature=2", "no option"),
        ("agreement:target", "no option 'target'; it has tokens=..."),
        ("agreement:tokens=0", "whole number of at least 1"),
        ("cascade:confidence:draft", "with two rewards"),
        ("cascade:nothing,abacus:prm", "unknown model spec 'nothing'"),
        ("cascade:cascade:agreement,arithmetic,abacus:prm", "no cascades"),
        ("likelihood", "unknown model spec"),
    ],
)
def test_errors_name_the_value_and_the_remedy(text: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        parse_reward_spec(text)


def test_a_gate_is_no_language_model() -> None:
    with pytest.raises(ConfigError, match="is a reward, not a language model"):
        parse_model_spec("likelihood:target")


def test_bounds() -> None:
    given = {"reward.spec": "cascade:confidence:draft,abacus:prm", "reward.bounds": "0.2, 0.9"}
    assert load_config(overrides=given).reward.bounds == (0.2, 0.9)
    with pytest.raises(ConfigError, match="bounds has no effect on a reward of kind abacus"):
        load_config(overrides={"reward.bounds": "0.2,0.9"})
    with pytest.raises(ConfigError, match=r"needs its bounds: --reward-bounds"):
        ModelBuilder(load_config(overrides={"reward.spec": given["reward.spec"]})).reward()


@pytest.mark.parametrize(
    ("bounds", "part"),
    [("0.9,0.2", "first bound"), ("0.5", "two numbers"), ("0,2", "less than or equal to 1")],
)
def test_bounds_are_two_numbers_in_order(bounds: str, part: str) -> None:
    given = {"reward.spec": "cascade:confidence:draft,abacus:prm", "reward.bounds": bounds}
    with pytest.raises(ConfigError, match=part):
        load_config(overrides=given)


def test_marks_belong_to_checkpoints() -> None:
    gate = {"reward.spec": "likelihood:target", "reward.mark": "x"}
    with pytest.raises(ConfigError, match="no effect on a reward of kind likelihood"):
        load_config(overrides=gate)
    mixed = {"reward.spec": "cascade:confidence:draft,hf:x", "reward.mark": "x"}
    assert load_config(overrides=mixed).reward.mark == "x"


def with_reward(spec: str, **overrides: object) -> RunConfig:
    return load_config(overrides={"reward.spec": spec, **overrides})


def test_the_results_key_knows_gates_their_options_and_the_model_that_is_read() -> None:
    hashes = {
        config_hash(with_reward(spec))
        for spec in ("abacus:prm", "likelihood:target", "likelihood:target:min", "agreement")
    }
    assert len(hashes) == 4
    bounded = [
        with_reward("cascade:agreement,abacus:prm", **{"reward.bounds": bounds})
        for bounds in ("0.1,0.9", "0.2,0.9")
    ]
    assert len(set(map(config_hash, bounded))) == 2
    keys: set[str] = set()
    for target in ("abacus:target", "abacus:draft"):
        config = with_reward("likelihood:target", target=target, method="process-best-of-2")
        method = build_named_method(config.method, config)
        keys.add(result_key(config, method, name=config.method, data="d", kind="k", content="c"))
    assert len(keys) == 2, "the target decides, though the method does not name it"


def test_gates_share_the_models_of_draft_and_target() -> None:
    models = build_models(
        with_reward("cascade:confidence:draft,likelihood:target", **{"reward.bounds": "0,1"})
    )
    try:
        assert isinstance(models.reward, CascadeReward)
        first, second = models.reward.parts
        assert isinstance(first, ConfidenceReward)
        assert isinstance(second, LikelihoodReward)
        assert second._model is models.target
        assert models.reward.shape == models.target.shape  # type: ignore[union-attr]
    finally:
        models.close()


def test_methods_that_score_other_texts_refuse_the_drafts_confidence() -> None:
    with pytest.raises(ConfigError, match=r"confidence:draft knows only steps as the draft"):
        build_models(with_reward("confidence:draft", method="best-of-2"))


def test_kinds_are_spec_kinds() -> None:
    assert parse_reward_spec("agreement").kind is SpecKind.AGREEMENT
