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
    REWARD_HEAD = "reward-head"


SIGNED = (RewardKind.PLUS_MINUS, RewardKind.PLUS_MINUS_CHAT, RewardKind.PLUS_MINUS_RAW)
"""The kinds without a head: which of two tokens comes next is read."""

SUPPORTED = """\
  value-head        *ForPrmModel: Skywork-o1-Open-PRM, TRL value heads (weights v_head.summary)
  qwen-prm          *ForProcessRewardModel: Qwen2.5-Math-PRM, ReasonFlux-PRM-7B (mark <extra_0>)
  token-classifier  *ForTokenClassification: trained by TRL's PRMTrainer
  pure              the same with signed scores, P(1) - P(0): PURE-PRM-7B
  outcome           *ForSequenceClassification with one or two labels
  reward-head       a language model with reward_head.pt beside it: ReasonFlux-PRM-1.5B
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
    (r"reasonflux-prm-7b", RewardKind.QWEN_PRM),
    (r"reasonflux-prm-1\.5b", RewardKind.REWARD_HEAD),
)
"""Published models whose architecture does not tell how they are read: the last part of their name,
as a pattern without case, and their kind."""

VERIFIERS = (
    (r"thinkprm-[\d.]+b([-.].*\.gguf)?", "thinkprm"),
    (r"genprm-[\d.]+b([-.].*\.gguf)?", "genprm"),
)
"""Published generative verifiers: the last part of their name, and their form (see `verifier`)."""

IMPLICIT, IMPLICIT_REFERENCE = r"eurusprm-stage[12]", "Qwen/Qwen2.5-Math-7B-Instruct"
"""Published implicit rewards, and the reference on their model cards."""

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


def kind_by_name(path_or_id: str) -> RewardKind | None:
    """The kind of a published model that is known by its name alone; None for any other."""
    name = last_part(path_or_id)
    kinds = (kind for pattern, kind in NAMED if re.fullmatch(pattern, name, re.IGNORECASE))
    return next(kinds, None)


def verifier_form(path_or_id: str) -> str | None:
    """The form of a published generative verifier, by its name; None for any other model."""
    name = last_part(path_or_id)
    forms = (form for pattern, form in VERIFIERS if re.fullmatch(pattern, name, re.IGNORECASE))
    return next(forms, None)


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
    if (kind := kind_by_name(path_or_id)) is not None:
        return kind
    for architecture in architectures:
        for suffix, kind in _ARCHITECTURES:
            if architecture.endswith(suffix):
                return kind
    if any(a.endswith(("ForCausalLM", "LMHeadModel")) for a in architectures) and has_value_head():
        return RewardKind.VALUE_HEAD
    if re.fullmatch(IMPLICIT, last_part(path_or_id), re.IGNORECASE):
        raise ModelLoadError(
            f"{path_or_id!r} is a reward only beside the model that it was trained from: --reward "
            f"implicit:beta=0.001:hf:{path_or_id},hf:{IMPLICIT_REFERENCE}"
        )
    if verifier_form(path_or_id):
        raise ModelLoadError(
            f"{path_or_id!r} is a generative verifier: --reward verifier:hf:{path_or_id}, or "
            "verifier:http://HOST:PORT/v1#NAME behind a server"
        )
    named = ", ".join(architectures) or "no architecture"
    raise ModelLoadError(
        f"cannot tell what kind of reward model {path_or_id!r} is (its config.json names {named}): "
        f"name the kind, or use the model as a judge (judge:PATH). Supported kinds:\n{SUPPORTED}"
    )
