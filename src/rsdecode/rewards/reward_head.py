r"""A linear head in a file of its own beside a language model: ReasonFlux-PRM-1.5B.

Format (Gen-Verse/ReasonFlux, `ReasonFlux_PRM/utils/rm_utils.py`): the weights of a causal language
model, and `reward_head.pt` with `weight` [1, hidden] and `bias` [1]. The network reads the question
and the answer, with nothing between them, and the sigmoid of the head at the last token is the
reward of the whole. For a step that is the answer so far: steps are put together with two line
breaks, as the authors take answers apart, and read where they end.
"""

from __future__ import annotations

from collections.abc import Sequence

from rsdecode.core.types import Message
from rsdecode.rewards.checkpoint import Checkpoint
from rsdecode.rewards.format import Ids, question_of
from rsdecode.rewards.heads import linear_head, probability
from rsdecode.rewards.prefix_scorer import PrefixScorer
from rsdecode.rewards.settings import RewardSettings
from rsdecode.rewards.weights import RewardCheckpoint
from rsdecode.text.vocabulary import Vocabulary

HEAD = "reward_head.pt"
BETWEEN = "\n\n"


class BareAnswerFormat:
    """Question and answer as one text."""

    mark = "none: read at the end of each step"
    mark_ids: Ids = ()
    closing_ids: Ids = ()

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def prompt_ids(self, messages: Sequence[Message]) -> Ids:
        """The question (see `Format`)."""
        return self._vocabulary.enclosed_ids(self._vocabulary.bos, question_of(messages))

    def step_ids(self, text: str, index: int) -> Ids:
        """A step, behind a break where it is not the first (see `Format`)."""
        return self._vocabulary.continuing_ids((BETWEEN if index else "") + text.strip())


def load_reward_head(source: RewardCheckpoint, settings: RewardSettings) -> PrefixScorer:
    """Load a language model with a reward head beside it.

    Raises:
        ModelLoadError: weights are missing.
    """
    del settings  # nothing of the format can be set
    head = Checkpoint(source.path_or_id, source.options.revision, files=(HEAD,))
    weight, bias = head.read("weight"), head.read("bias")
    backbone = source.backbone()
    on_device = linear_head(weight.to(backbone.device), bias.to(backbone.device))
    return source.headed_scorer(
        backbone,
        on_device,
        weight.numel() + bias.numel(),
        BareAnswerFormat(source.vocabulary),
        probability(None),
        kind="reward-head",
        reads={"head": f"the sigmoid of {HEAD} after the answer so far"},
    )
