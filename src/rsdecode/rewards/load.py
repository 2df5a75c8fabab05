"""Load the reward model of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from rsdecode.rewards.checkpoint import checkpoint_file
from rsdecode.rewards.detect import RewardKind, detect_kind, parse_kind
from rsdecode.rewards.outcome import load_outcome
from rsdecode.rewards.plus_minus import SIGN_FORMATS, load_signs
from rsdecode.rewards.prefix_scorer import PrefixScorer
from rsdecode.rewards.reward_head import HEAD, load_reward_head
from rsdecode.rewards.settings import RewardSettings, settle
from rsdecode.rewards.token_classifier import load_pure, load_qwen_prm, load_token_classifier
from rsdecode.rewards.value_head import SUMMARY, load_value_head
from rsdecode.rewards.weights import RewardCheckpoint

if TYPE_CHECKING:
    from rsdecode.backends.transformers.load import LoadOptions

_LOADERS: Mapping[RewardKind, Callable[[RewardCheckpoint, RewardSettings], PrefixScorer]] = {
    RewardKind.VALUE_HEAD: load_value_head,
    RewardKind.QWEN_PRM: load_qwen_prm,
    RewardKind.TOKEN_CLASSIFIER: load_token_classifier,
    RewardKind.PURE: load_pure,
    **{kind: partial(load_signs, kind) for kind in SIGN_FORMATS},
    RewardKind.OUTCOME: load_outcome,
    RewardKind.REWARD_HEAD: load_reward_head,
}


def load_reward_model(
    path_or_id: str,
    options: LoadOptions | None = None,
    kind: str | None = None,
    settings: RewardSettings = RewardSettings(),  # noqa: B008 - frozen
) -> PrefixScorer:
    """Load a reward model from a folder or the Hugging Face hub.

    Args:
        path_or_id: the checkpoint; a local folder works offline. An adapter is merged into its
            base model.
        options: device, dtype, slots and the like.
        kind: a name of `detect.RewardKind`; None to read it off config.json.
        settings: mark, separator, good and bad sign or label, where the checkpoint does not tell.

    Raises:
        ConfigError: no such kind, or a setting that it does not read.
        ModelLoadError: the kind, the mark or the label cannot be told, or the model cannot be
            loaded.
        OutOfMemory: the device is too small.
    """
    from rsdecode.backends.transformers.load import LoadOptions

    source = RewardCheckpoint(path_or_id, options or LoadOptions())
    chosen = parse_kind(kind) if kind is not None else _detect(source)
    source.require_decoder()
    if chosen is RewardKind.VALUE_HEAD:
        source.checkpoint.find(f"{SUMMARY}.weight")  # before its mark is asked for
    settled = settle(chosen, settings, source.config, source.trained, path_or_id)
    reward = _LOADERS[chosen](source, settled)
    reward.warnings = settled.warnings
    reward.at, reward.calibration = settled.at, settled.calibration
    return reward


def _detect(source: RewardCheckpoint) -> RewardKind:
    if checkpoint_file(source.path_or_id, HEAD, source.options.revision):
        return RewardKind.REWARD_HEAD

    def has_value_head() -> bool:
        return source.has_weights(f"{SUMMARY}.weight")

    return detect_kind(source.path_or_id, source.architectures, has_value_head)
