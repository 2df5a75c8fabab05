"""Which kind of reward model a checkpoint is, from its config.json."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum

from rsdecode.core.errors import ConfigError, ModelLoadError


class RewardKind(StrEnum):
    """The kinds of reward models that can be loaded; the set is closed."""

    VALUE_HEAD = "value-head"
    QWEN_PRM = "qwen-prm"
    TOKEN_CLASSIFIER = "token-classifier"
    PURE = "pure"
    PLUS_MINUS = "plus-minus"
    PLUS_MINUS_CHAT = "plus-minus-chat"
    PLUS_MINUS_RAW = "plus-minus-raw"
    OUTCOME = "outcome"


SUPPORTED = """\
  value-head        *ForPrmModel: Skywork-o1-Open-PRM, TRL value heads (weights v_head.summary)
  qwen-prm          *ForProcessRewardModel: Qwen2.5-Math-PRM (mark <extra_0>)
  token-classifier  *ForTokenClassification: trained by TRL's PRMTrainer
  pure              the same with signed scores, P(1) - P(0): PURE-PRM-7B
  outcome           *ForSequenceClassification with one or two labels
  plus-minus        a language model that says + or - at the mark ки: Math-Shepherd
  plus-minus-chat   one that replies + or - to each step: RLHFlow
  plus-minus-raw    one that says + or - after four line breaks: VersaPRM, Math-PSA
pure and the plus-minus kinds are known by the published names of these models alone; others are
named (--reward-kind)"""

NAMED = (
    ("math-shepherd-mistral-7b-prm", RewardKind.PLUS_MINUS),
    (r"llama3\.1-8b-prm-(mistral|deepseek)-data", RewardKind.PLUS_MINUS_CHAT),
    ("versaprm(-base-8b)?", RewardKind.PLUS_MINUS_RAW),
    ("math-psa", RewardKind.PLUS_MINUS_RAW),
    ("pure-prm-7b", RewardKind.PURE),
)
"""Published models whose architecture does not tell how they are read: the last part of their name,
as a pattern without case, and their kind."""

_ARCHITECTURES = (
    ("ForPrmModel", RewardKind.VALUE_HEAD),
    ("ForProcessRewardModel", RewardKind.QWEN_PRM),
    ("ForTokenClassification", RewardKind.TOKEN_CLASSIFIER),
    ("ForSequenceClassification", RewardKind.OUTCOME),
)


def parse_kind(name: str) -> RewardKind:
    """The kind of that name.

    Raises:
        ConfigError: there is none.
    """
    try:
        return RewardKind(name)
    except ValueError:
        raise ConfigError(
            f"unknown kind of reward model {name!r}: use one of {', '.join(RewardKind)}"
        ) from None


def last_part(path_or_id: str) -> str:
    """The name of a model without its folder or owner."""
    return path_or_id.rstrip("/").rpartition("/")[2]


def detect_kind(
    path_or_id: str, architectures: Sequence[str], has_value_head: Callable[[], bool]
) -> RewardKind:
    """The kind that the architecture's name gives away.

    Args:
        path_or_id: of the checkpoint; its last part may be the name of a published model.
        architectures: of its config.json.
        has_value_head: whether its weights hold a value head; asked only for language models, which
            TRL saves under their own architecture.

    Raises:
        ModelLoadError: it is none of the supported kinds, or cannot be told.
    """
    for pattern, kind in NAMED:
        if re.fullmatch(pattern, last_part(path_or_id), re.IGNORECASE):
            return kind
    for architecture in architectures:
        for suffix, kind in _ARCHITECTURES:
            if architecture.endswith(suffix):
                return kind
    if any(a.endswith(("ForCausalLM", "LMHeadModel")) for a in architectures) and has_value_head():
        return RewardKind.VALUE_HEAD
    named = ", ".join(architectures) or "no architecture"
    raise ModelLoadError(
        f"cannot tell what kind of reward model {path_or_id!r} is (its config.json names {named}): "
        f"name the kind, or use the model as a judge (judge:PATH). Supported kinds:\n{SUPPORTED}"
    )
