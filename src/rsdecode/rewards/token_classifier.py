r"""Token classification: Qwen2.5-Math-PRM, and the classifiers that TRL trains.

Qwen2.5-Math-PRM (model card of Qwen/Qwen2.5-Math-PRM-7B): architecture
`Qwen2ForProcessRewardModel`, whose head is `score` = linear, ReLU, linear to two labels. The hub's
own code is not run: the backbone is a plain Qwen2 and the head is read from the checkpoint. The
network reads the chat template with a fixed system prompt, the question, and the reply

    step_1<extra_0>step_2<extra_0> ...

and the soft-max probability of label 1 at a mark is the reward.

TRL (`PRMTrainer`): `AutoModelForTokenClassification`, two labels. The network reads

    bos question  step_1 \n  step_2 \n ...

each piece tokenised on its own, and the label is read at the last token of the separator. The
trainer writes neither the separator nor names of the labels into config.json, but its arguments,
with the separator, into training_args.bin; it turns the data's True into label 1.

ReasonFlux-PRM-7B (Gen-Verse/ReasonFlux, `ReasonFlux_PRM`): the same network and marks, without the
system prompt.

PURE (PURE-PRM-7B): the same layout, two line breaks after each step. Its score of a step is signed,
s = P(1) - P(0) in (-1, 1); the reward is (s + 1) / 2, which is P(1) and keeps its order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rsdecode.core.types import Message
from rsdecode.rewards.format import Ids, question_of
from rsdecode.rewards.heads import (
    linear_head,
    module_head,
    probability,
    two_layer_head,
)
from rsdecode.rewards.labels import Label, good_label, qwen_label
from rsdecode.rewards.prefix_scorer import PrefixScorer
from rsdecode.rewards.settings import PURE_SEPARATOR, QWEN_MARK, RewardSettings
from rsdecode.rewards.weights import RewardCheckpoint
from rsdecode.text.vocabulary import Vocabulary

QWEN_SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
TRL_SEPARATOR = "\n"


class QwenPrmFormat:
    """A chat whose reply is made of steps that end in a special token, `<extra_0>` by default.

    Args:
        vocabulary: of the model.
        mark: the special token.
        system: the system message; empty for none.

    Raises:
        ModelLoadError: the vocabulary has no such token, or there is no chat template.
    """

    closing_ids: Ids = ()

    def __init__(
        self, vocabulary: Vocabulary, mark: str = QWEN_MARK, system: str = QWEN_SYSTEM
    ) -> None:
        self.mark = mark
        self._before = [Message("system", system)] if system else []
        self._vocabulary = vocabulary
        self.mark_ids: Ids = (vocabulary.token(mark),)
        self.prompt_ids([Message("user", "")])

    def prompt_ids(self, messages: Sequence[Message]) -> Ids:
        """The chat up to the reply (see `Format`)."""
        turns = [*self._before, Message("user", question_of(messages))]
        return self._vocabulary.chat_ids(turns, reply=True)

    def partial_ids(self, text: str) -> Ids:
        """The beginning of a step (see `ChunkFormat`)."""
        return self._vocabulary.text_ids(text.strip())

    def step_ids(self, text: str, index: int) -> Ids:
        """A step and its mark (see `Format`)."""
        return (*self._vocabulary.text_ids(text.strip()), *self.mark_ids)


class SeparatorFormat:
    """Question and steps, each step followed by a separator.

    Args:
        vocabulary: of the model.
        separator: `step_separator` of the training; TRL's default is a line break.

    Raises:
        ModelLoadError: the separator is not in the vocabulary.
    """

    closing_ids: Ids = ()

    def __init__(self, vocabulary: Vocabulary, separator: str = TRL_SEPARATOR) -> None:
        self.mark = repr(separator)
        self._vocabulary = vocabulary
        self.mark_ids = vocabulary.spelling(separator)

    def prompt_ids(self, messages: Sequence[Message]) -> Ids:
        """The question (see `Format`)."""
        bos = self._vocabulary.ids(self._vocabulary.bos)
        return (*bos, *self._vocabulary.text_ids(question_of(messages)))

    def partial_ids(self, text: str) -> Ids:
        """The beginning of a step (see `ChunkFormat`)."""
        return self._vocabulary.text_ids(text.strip())

    def step_ids(self, text: str, index: int) -> Ids:
        """A step and its separator (see `Format`)."""
        return (*self._vocabulary.text_ids(text.strip()), *self.mark_ids)


def qwen_prm_format(vocabulary: Vocabulary, settings: RewardSettings) -> QwenPrmFormat:
    """Qwen2.5-Math-PRM's format, or that of a published model which differs from it.

    Raises:
        ModelLoadError: the vocabulary has no such mark, or there is no chat template.
    """
    system = QWEN_SYSTEM if settings.system is None else settings.system
    return QwenPrmFormat(vocabulary, settings.mark or QWEN_MARK, system)


def load_qwen_prm(source: RewardCheckpoint, settings: RewardSettings) -> PrefixScorer:
    """Load a Qwen2.5-Math-PRM.

    Raises:
        ModelLoadError: weights are missing, or the vocabulary has no step mark.
    """
    form = qwen_prm_format(source.vocabulary, settings)
    label = qwen_label(source.labels, settings, source.path_or_id)
    names = [f"score.{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias")]
    tensors = [source.checkpoint.read(name) for name in names]
    backbone = source.backbone()
    w0, b0, w2, b2 = (tensor.to(backbone.device) for tensor in tensors)
    head = two_layer_head(linear_head(w0, b0), linear_head(w2, b2))
    size = sum(tensor.numel() for tensor in tensors)
    return source.headed_scorer(
        backbone, head, size, form, probability(label.column), kind="qwen-prm", reads=label.facts
    )


def load_token_classifier(source: RewardCheckpoint, settings: RewardSettings) -> PrefixScorer:
    """Load a token classifier that was trained as a process reward model.

    Raises:
        ModelLoadError: weights are missing, no label is known to mean a right step, the backbone is
            not causal, or the vocabulary has no step mark.
    """
    label = good_label(source.labels, settings, source.path_or_id)
    return _load(source, settings.separator or TRL_SEPARATOR, label, "token-classifier")


def load_pure(source: RewardCheckpoint, settings: RewardSettings) -> PrefixScorer:
    """Load a token classifier with PURE's signed scores, brought to [0, 1].

    Raises:
        ModelLoadError: weights are missing, the backbone is not causal, or the vocabulary has no
            step mark.
    """
    label = qwen_label(source.labels, settings, source.path_or_id)
    return _load(source, settings.separator or PURE_SEPARATOR, label, "pure")


def _load(source: RewardCheckpoint, separator: str, label: Label, kind: str) -> PrefixScorer:
    from transformers import AutoModelForTokenClassification

    form = SeparatorFormat(source.vocabulary, separator)
    model: Any = source.classifier(AutoModelForTokenClassification)
    head = module_head(model, source.path_or_id)
    size = sum(p.numel() for p in model.parameters())
    size -= sum(p.numel() for p in model.base_model.parameters())
    to_rewards = probability(label.column)
    return source.headed_scorer(
        model.base_model,
        head,
        size,
        form,
        to_rewards,
        kind=kind,
        reads=label.facts,
    )
