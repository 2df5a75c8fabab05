"""Outcome reward models: a sequence classifier on the question and the answer so far.

Format: `AutoModelForSequenceClassification` with one label (reward = its sigmoid) or two (reward =
soft-max probability of the right one; see `labels.good_label`). The network reads the chat
template with the whole conversation and the answer so far as a finished reply; its output after the
last token is the reward of the answer's last step. Such models were trained on whole answers, so
rewards of early steps are extrapolations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rsdecode.core.errors import ModelLoadError
from rsdecode.core.types import Message
from rsdecode.rewards.format import Ids
from rsdecode.rewards.heads import module_head, probability
from rsdecode.rewards.labels import good_label
from rsdecode.rewards.prefix_scorer import PrefixScorer
from rsdecode.rewards.settings import RewardSettings
from rsdecode.rewards.weights import RewardCheckpoint
from rsdecode.text.vocabulary import Vocabulary

_REPLY = "\ue000reply\ue000"


class ChatAnswerFormat:
    """The conversation with the answer so far as its last message.

    It is what the chat template makes of the whole: some begin a reply that is there in another way
    than one that is to come. Steps are not stripped: joined they are the answer as it was written.

    Raises:
        ModelLoadError: there is no chat template, or it does not end a reply with fixed text.
    """

    mark = "none: read at the end of the answer so far"
    mark_ids: Ids = ()

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        before, reply, closing = self._around_reply([Message("user", "?")])
        self._lead = before[len(before.rstrip(" ")) :]
        if not reply:
            raise ModelLoadError(
                f"the chat template of {vocabulary.name!r} leaves out the assistant's reply, which "
                "an outcome reward model must read: correct the template"
            )
        self.closing_ids = vocabulary.ids(closing) or vocabulary.ids(vocabulary.eos)
        if not self.closing_ids:
            raise ModelLoadError(
                f"the tokenizer {vocabulary.name!r} has neither a chat template that ends replies "
                "nor an eos token: set eos_token in its tokenizer_config.json"
            )

    def prompt_ids(self, messages: Sequence[Message]) -> Ids:
        """The conversation up to the reply (see `Format`)."""
        return self._vocabulary.filled_ids(
            messages, lambda safe: self._around_reply(safe)[0].rstrip(" ")
        )

    def step_ids(self, text: str, index: int) -> Ids:
        """A step as it is (see `Format`)."""
        return self._vocabulary.continuing_ids(text if index else self._lead + text)

    def _around_reply(self, messages: Sequence[Message]) -> tuple[str, str, str]:
        """The conversation before a reply, a stand-in for the reply, and what follows it."""
        replied = [*messages, Message("assistant", _REPLY)]
        return self._vocabulary.chat(replied, reply=False).partition(_REPLY)


def load_outcome(source: RewardCheckpoint, settings: RewardSettings) -> PrefixScorer:
    """Load an outcome reward model.

    Raises:
        ModelLoadError: weights are missing, more than two labels, a backbone that is not causal, or
            no chat template.
    """
    from transformers import AutoModelForSequenceClassification

    labels = source.labels
    if len(labels) > 2:
        raise ModelLoadError(
            f"{source.path_or_id!r} has {len(labels)} labels: an outcome reward model has one or "
            "two"
        )
    label = good_label(labels, settings, source.path_or_id)
    form = ChatAnswerFormat(source.vocabulary)
    model: Any = source.classifier(AutoModelForSequenceClassification)
    head = module_head(model, source.path_or_id)
    size = sum(p.numel() for p in model.parameters())
    size -= sum(p.numel() for p in model.base_model.parameters())
    to_rewards = probability(label.column)
    return source.headed_scorer(
        model.base_model, head, size, form, to_rewards, kind="outcome", reads=label.facts
    )
