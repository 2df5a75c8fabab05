"""The reward model's settings: from YAML and command line to the key of the results."""

from __future__ import annotations

from pathlib import Path

import pytest

from rsdecode.config import RunConfig, config_hash, load_config
from rsdecode.config.build import build_method
from rsdecode.config.served import reward_settings
from rsdecode.core.errors import ConfigError
from rsdecode.results.identity import result_key
from rsdecode.rewards.settings import SETTINGS, RewardSettings


def config(**reward: str) -> RunConfig:
    return RunConfig.model_validate({"reward": {"spec": "hf:some/prm", **reward}})


@pytest.mark.parametrize(
    ("given", "text"),
    [(r"\n\n", "\n\n"), ("\n", "\n"), (r"\t", "\t"), ("ки", "ки"), ("<extra_0>", "<extra_0>")],
)
def test_escapes_of_the_command_line_are_read(given, text):
    assert load_config(None, {"reward.spec": "hf:a/b", "reward.mark": given}).reward.mark == text
    assert config(separator=given).reward.separator == text


def test_a_yaml_file_gives_all_four(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "reward: {spec: hf:a/b, mark: ки, separator: '\\n', good: LABEL_1, bad: LABEL_0}"
    )
    assert reward_settings(load_config(path)) == RewardSettings("ки", "\n", "LABEL_1", "LABEL_0")


@pytest.mark.parametrize("setting", SETTINGS)
def test_each_setting_belongs_to_the_results_key(setting):
    def key(config: RunConfig) -> str:
        method = build_method(config)
        return result_key(config, method, name="rsd", data="d", kind="math", content="c")

    plain, first, second = config(), config(**{setting: "+"}), config(**{setting: "-"})
    assert len({key(plain), key(first), key(second)}) == 3
    assert len({config_hash(plain), config_hash(first), config_hash(second)}) == 3


@pytest.mark.parametrize("spec", ["arithmetic", "python:mine:score", "judge:abacus:target"])
def test_rewards_without_a_head_take_no_settings(spec):
    with pytest.raises(ConfigError, match="good has no effect on a reward of kind"):
        load_config(None, {"reward.spec": spec, "reward.good": "+"})


def test_an_empty_mark_is_an_error():
    with pytest.raises(ConfigError, match="must be some text"):
        load_config(None, {"reward.spec": "hf:a/b", "reward.mark": ""}, {"reward.mark": "--mark"})
