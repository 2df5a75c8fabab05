r"""Language models that say `+` or `-` after a step: Math-Shepherd, and RLHFlow's chat variant.

Math-Shepherd (model card of peiyi9979/math-shepherd-mistral-7b-prm): the network reads

    bos question Step 1: ... ки\nStep 2: ... ки

and the soft-max over the logits of `+` and `-` at a mark is the reward. Steps that do not begin
with "Step N:" are given that beginning, as all training data had it.

RLHFlow (RLHFlow/RLHF-Reward-Modeling, `math-rm`): each step is a user turn, the first one after the
question, and each reply is `+`; the reward is the soft-max over `+` and `-` where the reply starts.
Replies to earlier steps read `+` whatever their reward was.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rsdecode.core.errors import ModelLoadError
from rsdecode.core.types import Message
from rsdecode.rewards.format import Format, Ids, question_of
from rsdecode.rewards.heads import probability
from rsdecode.rewards.prefix_scorer import PrefixScorer
from rsdecode.rewards.weights import RewardCheckpoint
from rsdecode.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from rsdecode.backends.transformers.load import LoadOptions

SHEPHERD_MARK = "ки"
_NUMBERED = re.compile(r"Step \d+:")
_QUESTION, _STEP = "\ue000question\ue000", "\ue000step\ue000"


class ShepherdFormat:
    """Question and numbered steps, each followed by `ки`.

    Raises:
        ModelLoadError: the vocabulary has no `ки`, or no `+` and `-`.
    """

    mark = SHEPHERD_MARK
    closing_ids: Ids = ()

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._mark_id = vocabulary.last_token(SHEPHERD_MARK)
        self.candidates = vocabulary.tokens("+ -")

    def prompt_ids(self, messages: Sequence[Message]) -> Ids:
        """The question (see `Format`)."""
        return self._vocabulary.ids(f"{self._vocabulary.bos}{question_of(messages)}")

    def step_ids(self, text: str, index: int) -> Ids:
        """A step and its mark (see `Format`)."""
        text = text.strip()
        numbered = text if _NUMBERED.match(text) else f"Step {index + 1}: {text}"
        lead = "\n" if index else " "
        return (*self._vocabulary.ids(lead + numbered), self._mark_id)


class ChatTurnsFormat:
    """A chat in which each step is a user turn that is answered with `+`.

    The template is taken apart once, around stand-ins for question and steps.

    Raises:
        ModelLoadError: the vocabulary has no `+` and `-`, or the chat template does not simply put
            one turn after the other.
    """

    mark = "+ as the reply"
    closing_ids: Ids = ()

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self.candidates = (vocabulary.last_token("+"), vocabulary.last_token("-"))
        first, said = Message("user", f"{_QUESTION} {_STEP}"), Message("assistant", "+")
        one = vocabulary.chat([first], reply=True)
        two = vocabulary.chat([first, said, Message("user", _STEP)], reply=True)
        before, _, rest = one.partition(_QUESTION)
        self._before, self._reply = before, rest.removeprefix(f" {_STEP}")
        between, step, after = two.removeprefix(one).partition(_STEP)
        if not (two.startswith(one) and step and after == self._reply):
            raise ModelLoadError(
                f"the chat template of {vocabulary.name!r} rewrites earlier turns, so step rewards "
                "cannot be read turn by turn: use another kind of reward model"
            )
        self._between = between

    def prompt_ids(self, messages: Sequence[Message]) -> Ids:
        """The chat up to the question's end (see `Format`)."""
        return self._vocabulary.ids(self._before + question_of(messages).strip())

    def step_ids(self, text: str, index: int) -> Ids:
        """A step's turn, up to where the reply starts (see `Format`)."""
        lead = self._between if index else " "
        return self._vocabulary.ids(f"{lead}{text.strip()}{self._reply}")


def load_plus_minus(path_or_id: str, options: LoadOptions) -> PrefixScorer:
    """Load a language model in Math-Shepherd's format.

    Raises:
        ModelLoadError: weights are missing, or the vocabulary lacks `ки`, `+` or `-`.
    """
    source = RewardCheckpoint(path_or_id, options)
    form = ShepherdFormat(source.vocabulary)
    return _load(source, form, form.candidates, "plus-minus")


def load_plus_minus_chat(path_or_id: str, options: LoadOptions) -> PrefixScorer:
    """Load a language model in RLHFlow's format.

    Raises:
        ModelLoadError: weights are missing, or the tokenizer does not fit the format.
    """
    source = RewardCheckpoint(path_or_id, options)
    form = ChatTurnsFormat(source.vocabulary)
    return _load(source, form, form.candidates, "plus-minus-chat")


def _load(source: RewardCheckpoint, form: Format, candidates: Ids, kind: str) -> PrefixScorer:
    from rsdecode.backends.transformers.load import model_shape
    from rsdecode.backends.transformers.network import CausalNetwork

    model = source.causal()
    return source.scorer(
        CausalNetwork(model),
        form,
        probability(0),
        kind=kind,
        shape=model_shape(model),
        columns=candidates,
    )
