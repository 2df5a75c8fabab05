"""Which of a classifier's labels means a right step. A guess could invert all rewards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rsdecode.core.errors import ConfigError, ModelLoadError
from rsdecode.rewards.settings import RewardSettings

POSITIVE = frozenset(
    {"+", "accept", "accepted", "correct", "good", "ok", "pass", "positive", "right", "true",
     "valid", "yes"}
)  # fmt: skip
NEGATIVE = frozenset(
    {"-", "bad", "error", "fail", "false", "incorrect", "invalid", "mistake", "negative", "no",
     "reject", "rejected", "wrong"}
)  # fmt: skip
_SCALES = frozenset(
    {"correctness", "helpfulness", "preference", "progress", "quality", "rating", "reward", "score",
     "value"}
)  # fmt: skip
"""Names of a single output that grows with what is right."""
_FILLERS = {"is", "step", "label", "answer"}
_NUMBERED = re.compile(r"(label_)?\d+", re.IGNORECASE)
_QWEN_COLUMN = 1


@dataclass(frozen=True, slots=True)
class Label:
    """The label whose probability is the reward.

    Attributes:
        column: its id; None for the sigmoid of a single output.
        name: of the model's id2label.
        count: how many labels there are.
    """

    column: int | None
    name: str
    count: int

    @property
    def facts(self) -> dict[str, str]:
        """What `rsd doctor` prints."""
        if self.column is None:
            return {"label of right steps": f"{self.name}: the sigmoid of the only output"}
        return {"label of right steps": f"{self.name} (id {self.column} of {self.count} labels)"}


def labels_of(config: Any) -> dict[int, str]:
    """The names of a classifier's labels by id: of id2label, or of label2id if only that tells."""
    stated: dict[Any, Any] = config.id2label or {}
    by_name: dict[Any, Any] = getattr(config, "label2id", None) or {}
    names = {int(index): str(name) for index, name in stated.items()}
    inverse = {int(index): str(name) for name, index in by_name.items()}
    unnamed = all(_NUMBERED.fullmatch(name) for name in names.values())
    told = any(not _NUMBERED.fullmatch(name) for name in inverse.values())
    return inverse if unnamed and told and set(inverse) == set(names) else names


def good_label(labels: Mapping[int, str], settings: RewardSettings, name: str) -> Label:
    """The label that means a right step.

    What the settings name wins. Then the names decide: one label called correct, true, good and the
    like, or of two labels one called wrong, false, bad and the like. Labels without names are only
    known where TRL's trainer made the checkpoint. A single output grows with the quality, unless
    its name says something else.

    Args:
        labels: names by id.
        settings: may name the good or the bad label.
        name: of the model, for messages.

    Raises:
        ConfigError: the settings name a label that there is not.
        ModelLoadError: it cannot be told.
    """
    count = len(labels)
    if count == 1:
        return _only_label(labels, settings, name)
    if (chosen := _named(labels, settings, name)) is not None:
        return Label(chosen, labels[chosen], count)
    good = [index for index, label in labels.items() if _word(label) in POSITIVE]
    bad = [index for index, label in labels.items() if _word(label) in NEGATIVE]
    if len(good) == 1:
        return Label(good[0], labels[good[0]], count)
    if count == 2 and not good and len(bad) == 1:
        [other] = set(labels) - set(bad)
        return Label(other, labels[other], count)
    unnamed = all(_NUMBERED.fullmatch(label) for label in labels.values())
    if count == 2 and unnamed and settings.trl and 1 in labels:
        return Label(1, labels[1], count)
    last = list(labels.values())[-1]
    raise ModelLoadError(
        f"{name!r} has the labels {', '.join(labels.values())}, of which none is known to mean a "
        f"right step: name it with --reward-good (reward.good), for example --reward-good {last}; "
        "`rsd doctor` tries a right and a wrong step"
    )


def qwen_label(labels: Mapping[int, str], settings: RewardSettings, name: str) -> Label:
    """The label of Qwen2.5-Math-PRM: 1 by its model card, whatever config.json calls it.

    Raises:
        ConfigError: the settings name a label that there is not.
    """
    names = labels if len(labels) == 2 else {0: "LABEL_0", 1: "LABEL_1"}
    chosen = _named(names, settings, name)
    column = _QWEN_COLUMN if chosen is None else chosen
    return Label(column, names[column], len(names))


def _named(labels: Mapping[int, str], settings: RewardSettings, name: str) -> int | None:
    """The label that the settings mean; None where they name none."""
    good, bad = (_find(labels, text, name) for text in (settings.good, settings.bad))
    if good is not None and good == bad:
        raise ConfigError(
            f"reward.good {settings.good!r} and reward.bad {settings.bad!r} are the same label: "
            "leave one of them out"
        )
    if good is not None or bad is None:
        return good
    if len(labels) > 2:
        raise ConfigError(
            f"{name!r} has {len(labels)} labels: name the one of right steps with --reward-good"
        )
    [other] = set(labels) - {bad}
    return other


def _find(labels: Mapping[int, str], text: str | None, name: str) -> int | None:
    """The id of the label that is called so, or that is the number."""
    if text is None:
        return None
    wanted = text.strip().lower()
    for index, label in labels.items():
        if label.strip().lower() == wanted:
            return index
    if wanted.isdecimal() and int(wanted) in labels:
        return int(wanted)
    raise ConfigError(
        f"{name!r} has no label {text!r} (--reward-good, --reward-bad): its labels are "
        f"{', '.join(labels.values())}"
    )


def _only_label(labels: Mapping[int, str], settings: RewardSettings, name: str) -> Label:
    [(index, label)] = labels.items()
    bad = _find(labels, settings.bad, name) is not None or _word(label) in NEGATIVE
    known = _NUMBERED.fullmatch(label) or set(_words(label)) <= POSITIVE | _SCALES
    if (bad or not known) and _find(labels, settings.good, name) is None:
        grows = "which grows" if bad else "which may grow"
        raise ModelLoadError(
            f"the only label of {name!r} is {label!r}, {grows} with what is wrong: a reward "
            "model's must grow with what is right; if this one's does, say so with --reward-good "
            f"{label}"
        )
    _find(labels, settings.good, name)
    return Label(None, labels[index], 1)


def _word(label: str) -> str:
    """The one word that a label says, without what surrounds it; several words say nothing."""
    text = label.strip().lower()
    if text in ("+", "-"):
        return text
    words = _words(text)
    return words[0] if len(words) == 1 else ""


def _words(label: str) -> list[str]:
    words = re.split(r"[^a-z]+", label.strip().lower())
    return [word for word in words if word and word not in _FILLERS]
