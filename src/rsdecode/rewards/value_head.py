r"""A value head over a backbone: Skywork-o1-Open-PRM, and TRL's value-head models.

Format (SkyworkAI/skywork-o1-prm-inference, `model_utils`): architecture `Qwen2ForPrmModel`; the
backbone's weights under `model.`, one linear layer `v_head.summary` with a bias, both perhaps
under `pretrained_model.`. The network reads

    bos question \n  step_1 MARK  step_2 MARK ...

and the sigmoid of the head at a mark is the reward of the step that it ends. MARK is the last token
of "\n"; a tokenizer without a bos token adds none. TRL saves value heads under a language model's
architecture, which does not say what they were trained to read: their mark must be named.

The original code takes every line for a step. Here a step is what the decoding method says it is:
its own line breaks stay inside, it is stripped, and one mark follows. For steps of one line the two
agree token for token.
"""

from __future__ import annotations

from collections.abc import Sequence

from rsdecode.core.types import Message
from rsdecode.rewards.format import Ids, question_of
from rsdecode.rewards.heads import linear_head, probability
from rsdecode.rewards.prefix_scorer import PrefixScorer
from rsdecode.rewards.settings import SKYWORK_MARK, RewardSettings
from rsdecode.rewards.weights import RewardCheckpoint
from rsdecode.text.vocabulary import Vocabulary

SUMMARY = "v_head.summary"


class ValueHeadFormat:
    """Question, line break, steps that end in a mark: a line break by default.

    Raises:
        ModelLoadError: the vocabulary has no such mark.
    """

    closing_ids: Ids = ()

    def __init__(self, vocabulary: Vocabulary, mark: str = SKYWORK_MARK) -> None:
        self.mark = repr(mark)
        self._vocabulary = vocabulary
        self.mark_ids = vocabulary.mark(mark)

    def prompt_ids(self, messages: Sequence[Message]) -> Ids:
        """The question (see `Format`)."""
        return self._vocabulary.enclosed_ids(self._vocabulary.bos, question_of(messages), "\n")

    def partial_ids(self, text: str) -> Ids:
        """The beginning of a step (see `ChunkFormat`)."""
        return self._vocabulary.text_ids(text.strip())

    def step_ids(self, text: str, index: int) -> Ids:
        """A step and its mark (see `Format`)."""
        return (*self._vocabulary.text_ids(text.strip()), *self.mark_ids)


def load_value_head(source: RewardCheckpoint, settings: RewardSettings) -> PrefixScorer:
    """Load a reward model with a value head.

    Raises:
        ModelLoadError: weights are missing, or the vocabulary has no step mark.
    """
    form = ValueHeadFormat(source.vocabulary, settings.mark or SKYWORK_MARK)
    weight, bias = (source.checkpoint.read(f"{SUMMARY}.{part}") for part in ("weight", "bias"))
    backbone = source.backbone()
    head = linear_head(weight.to(backbone.device), bias.to(backbone.device))
    size = weight.numel() + bias.numel()
    return source.headed_scorer(backbone, head, size, form, probability(None), kind="value-head")
