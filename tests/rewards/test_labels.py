"""Which label means a right step: by name, by setting, or not at all."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rsdecode.core.errors import ConfigError, ModelLoadError
from rsdecode.rewards.labels import good_label, labels_of, qwen_label
from rsdecode.rewards.settings import RewardSettings

NOTHING = RewardSettings()
UNNAMED = {0: "LABEL_0", 1: "LABEL_1"}


@pytest.mark.parametrize(
    ("labels", "column"),
    [
        ({0: "LABEL_0"}, None),
        ({0: "False", 1: "True"}, 1),
        ({0: "good", 1: "bad"}, 0),
        ({0: "fine", 1: "error"}, 0),
        ({0: "WRONG_STEP", 1: "whatever"}, 1),
        ({0: "is_correct", 1: "is_incorrect"}, 0),
        ({0: "-", 1: "neutral", 2: "+"}, 2),
    ],
)
def test_names_tell_the_good_label(labels, column):
    assert good_label(labels, NOTHING, "m").column == column


@pytest.mark.parametrize(
    "labels",
    [
        UNNAMED,
        {0: "0", 1: "1"},
        {0: "a", 1: "b"},
        {0: "correct", 1: "valid"},
        {0: "wrong", 1: "bad"},
        {0: "not correct", 1: "not wrong"},
        {0: "a", 1: "bad", 2: "c"},
    ],
)
def test_names_that_do_not_tell_are_refused_with_the_option(labels):
    with pytest.raises(ModelLoadError, match=rf"--reward-good {list(labels.values())[-1]}"):
        good_label(labels, NOTHING, "m")


@pytest.mark.parametrize(
    ("settings", "column"),
    [
        (RewardSettings(good="LABEL_0"), 0),
        (RewardSettings(good="label_1"), 1),
        (RewardSettings(good="0"), 0),
        (RewardSettings(bad="LABEL_0"), 1),
        (RewardSettings(bad="LABEL_0", good="LABEL_1"), 1),
        (RewardSettings(trl=True), 1),
        (RewardSettings(trl=True, good="LABEL_0"), 0),
    ],
)
def test_settings_and_the_trainer_tell_of_labels_without_names(settings, column):
    assert good_label(UNNAMED, settings, "m").column == column


def test_settings_win_over_names():
    assert good_label({0: "good", 1: "bad"}, RewardSettings(good="bad"), "m").column == 1


def test_the_trainer_does_not_overrule_names():
    assert good_label({0: "good", 1: "bad"}, RewardSettings(trl=True), "m").column == 0


@pytest.mark.parametrize(
    "settings", [RewardSettings(good="fine"), RewardSettings(bad="2"), RewardSettings("", good="")]
)
def test_a_label_that_there_is_not_is_an_error_that_lists_them(settings):
    with pytest.raises(ConfigError, match="its labels are LABEL_0, LABEL_1"):
        good_label(UNNAMED, settings, "m")


def test_good_and_bad_cannot_be_the_same():
    with pytest.raises(ConfigError, match="same label"):
        good_label(UNNAMED, RewardSettings(good="LABEL_0", bad="0"), "m")


def test_a_single_label_that_grows_with_what_is_wrong_is_refused_unless_it_is_named():
    with pytest.raises(ModelLoadError, match="grows with what is wrong"):
        good_label({0: "wrong"}, NOTHING, "m")
    assert good_label({0: "wrong"}, RewardSettings(good="wrong"), "m").column is None
    assert good_label({0: "LABEL_0"}, RewardSettings(good="LABEL_0"), "m").column is None


@pytest.mark.parametrize("label", ["harmful", "hallucination", "not_correct", "error rate"])
def test_a_single_label_whose_name_is_not_known_is_refused(label):
    with pytest.raises(ModelLoadError, match=r"may grow with what is wrong.*--reward-good"):
        good_label({0: label}, NOTHING, "m")
    assert good_label({0: label}, RewardSettings(good=label), "m").column is None


@pytest.mark.parametrize("label", ["LABEL_0", "0", "reward", "Reward_Score", "is correct", "+"])
def test_a_single_label_that_grows_with_what_is_right(label):
    assert good_label({0: label}, NOTHING, "m").column is None


def test_names_that_only_label2id_has_are_used():
    config = SimpleNamespace(id2label=UNNAMED, label2id={"good": 0, "bad": 1})
    assert labels_of(config) == {0: "good", 1: "bad"}
    config = SimpleNamespace(id2label={0: "no", 1: "yes"}, label2id={"LABEL_0": 0, "LABEL_1": 1})
    assert labels_of(config) == {0: "no", 1: "yes"}


def test_qwens_is_the_second_by_its_model_card_unless_a_setting_says_otherwise():
    assert qwen_label(UNNAMED, NOTHING, "m").column == 1
    assert qwen_label({0: "LABEL_0"}, NOTHING, "m").column == 1
    assert qwen_label(UNNAMED, RewardSettings(good="LABEL_0"), "m").column == 0


def test_what_is_read_is_told_with_its_id():
    label = good_label({0: "good", 1: "bad"}, NOTHING, "m")
    assert label.facts == {"label of right steps": "good (id 0 of 2 labels)"}
