"""Which kind of reward model a checkpoint is, from its config.json."""

from __future__ import annotations

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
    OUTCOME = "outcome"


SUPPORTED = """\
  value-head        *ForPrmModel: Skywork-o1-Open-PRM, TRL value heads (weights v_head.summary)
  qwen-prm          *ForProcessRewardModel: Qwen2.5-Math-PRM (mark <extra_0>)
  token-classifier  *ForTokenClassification: trained by TRL's PRMTrainer
  pure              the same with signed scores, P(1) - P(0): PURE-PRM (by name only)
  outcome           *ForSequenceClassification with one or two labels
  plus-minus        a language model that says + or - at the mark ки: Math-Shepherd (by name only)
  plus-minus-chat   one that replies + or - to each step: RLHFlow (by name only)"""

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


def detect_kind(
    path_or_id: str, architectures: Sequence[str], has_value_head: Callable[[], bool]
) -> RewardKind:
    """The kind that the architecture's name gives away.

    Args:
        path_or_id: of the checkpoint, for messages.
        architectures: of its config.json.
        has_value_head: whether its weights hold a value head; asked only for language models, which
            TRL saves under their own architecture.

    Raises:
        ModelLoadError: it is none of the supported kinds, or cannot be told.
    """
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
