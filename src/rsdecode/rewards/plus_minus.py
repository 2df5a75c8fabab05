r"""Language models that say `+` or `-` after a step: Math-Shepherd, RLHFlow, VersaPRM, Math-PSA.

Math-Shepherd (model card of peiyi9979/math-shepherd-mistral-7b-prm): the network reads

    bos question Step 1: ... ки\nStep 2: ... ки

and the soft-max over the logits of `+` and `-` at a mark is the reward. Mark and signs are
settings; each sign is tokenised by itself. Steps that do not begin with "Step N:" are given that
beginning, as all training data had it.

RLHFlow (RLHFlow/RLHF-Reward-Modeling, `math-rm`): each step is a user turn, the first one after the
question, and each reply is `+`; the reward is the soft-max over `+` and `-` where the reply starts.
Replies to earlier steps read `+` whatever their reward was.

VersaPRM (UW-Madison-Lee-Lab/VersaPRM): the network reads

    bos question \n\n step 1 \n\n\n\n step 2 \n\n\n\n ...

with a space before the line breaks, and is read at the last token of the four. Math-PSA (OpenR) has
five, `+` and `-` with a space, and one space after the question.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from rsdecode.core.errors import ConfigError, ModelLoadError
from rsdecode.core.types import Message
from rsdecode.rewards.detect import RewardKind
from rsdecode.rewards.format import Ids, question_of
from rsdecode.rewards.heads import probability
from rsdecode.rewards.prefix_scorer import PrefixScorer
from rsdecode.rewards.settings import (
    MINUS,
    PLUS,
    SHEPHERD_MARK,
    VERSA_LEAD,
    VERSA_MARK,
    RewardSettings,
)
from rsdecode.rewards.weights import RewardCheckpoint
from rsdecode.text.vocabulary import Vocabulary

_NUMBERED = re.compile(r"Step \d+:")
_QUESTION, _STEP = "\ue000question\ue000", "\ue000step\ue000"


class ShepherdFormat:
    """Question and numbered steps, each followed by a mark.

    Args:
        vocabulary: of the model.
        mark: one token or several; None for `ки`, which must be one.
        good: sign of right steps.
        bad: sign of wrong ones.

    Raises:
        ModelLoadError: the vocabulary has no such mark, or a sign is no single token.
    """

    closing_ids: Ids = ()

    def __init__(
        self,
        vocabulary: Vocabulary,
        mark: str | None = None,
        good: str = PLUS,
        bad: str = MINUS,
    ) -> None:
        self._vocabulary = vocabulary
        if mark is None:
            self.mark = SHEPHERD_MARK
            self.mark_ids: Ids = (vocabulary.last_token(SHEPHERD_MARK),)
        else:
            self.mark, self.mark_ids = repr(mark), vocabulary.mark(mark)
        self.candidates = _signs(vocabulary, good, bad)

    def prompt_ids(self, messages: Sequence[Message]) -> Ids:
        """The question (see `Format`)."""
        return self._vocabulary.enclosed_ids(self._vocabulary.bos, question_of(messages))

    def step_ids(self, text: str, index: int) -> Ids:
        """A step and its mark (see `Format`)."""
        text = text.strip()
        numbered = text if _NUMBERED.match(text) else f"Step {index + 1}: {text}"
        lead = "\n" if index else " "
        return (*self._vocabulary.continuing_ids(lead + numbered), *self.mark_ids)


class RawStepsFormat:
    """Question and steps as they are, each step followed by a mark.

    Args:
        vocabulary: of the model.
        mark: what follows each step.
        good: sign of right steps.
        bad: sign of wrong ones.
        lead: what follows the question.

    Raises:
        ModelLoadError: the vocabulary does not spell the mark, or a sign is no single token.
    """

    closing_ids: Ids = ()

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        mark: str = VERSA_MARK,
        good: str = PLUS,
        bad: str = MINUS,
        lead: str = VERSA_LEAD,
    ) -> None:
        self.mark = repr(mark)
        self.mark_ids = vocabulary.spelling(mark)
        self.candidates = _signs(vocabulary, good, bad)
        self._vocabulary = vocabulary
        self._lead = lead

    def prompt_ids(self, messages: Sequence[Message]) -> Ids:
        """The question (see `Format`)."""
        question = question_of(messages).strip()
        return self._vocabulary.enclosed_ids(self._vocabulary.bos, question, self._lead)

    def step_ids(self, text: str, index: int) -> Ids:
        """A step and its mark (see `Format`)."""
        return (*self._vocabulary.continuing_ids(text.strip()), *self.mark_ids)


class ChatTurnsFormat:
    """A chat in which each step is a user turn that is answered with the good sign, `+`.

    The template is taken apart once, around stand-ins for question and steps.

    Raises:
        ModelLoadError: a sign is no single token, or the chat template does not simply put one turn
            after the other.
    """

    closing_ids: Ids = ()
    mark_ids: Ids = ()

    def __init__(self, vocabulary: Vocabulary, good: str = PLUS, bad: str = MINUS) -> None:
        self.mark = f"{good} as the reply"
        self._vocabulary = vocabulary
        self.candidates = _signs(vocabulary, good, bad)
        first, said = Message("user", f"{_QUESTION} {_STEP}"), Message("assistant", good)
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
        return self._vocabulary.enclosed_ids(self._before, question_of(messages).strip())

    def step_ids(self, text: str, index: int) -> Ids:
        """A step's turn, up to where the reply starts (see `Format`)."""
        lead = self._between if index else " "

        def after(before: str) -> Ids:
            return self._vocabulary.enclosed_ids(before + lead, text.strip(), self._reply)

        return self._vocabulary.continuing(after)


SignFormat = ShepherdFormat | RawStepsFormat | ChatTurnsFormat
SIGN_FORMATS: Mapping[RewardKind, Callable[..., SignFormat]] = {
    RewardKind.PLUS_MINUS: ShepherdFormat,
    RewardKind.PLUS_MINUS_CHAT: ChatTurnsFormat,
    RewardKind.PLUS_MINUS_RAW: RawStepsFormat,
}
"""The kinds that are read by two signs."""


def sign_format(kind: RewardKind, vocabulary: Vocabulary, settings: RewardSettings) -> SignFormat:
    """The format of a kind that is read by two signs.

    Raises:
        ModelLoadError: the vocabulary lacks the mark or a sign, or the template does not fit.
        ConfigError: both signs are the same token.
    """
    lead = {} if settings.lead is None else {"lead": settings.lead}
    return SIGN_FORMATS[kind](vocabulary, **settings.given(), **lead)


def sign_facts(form: SignFormat, settings: RewardSettings) -> dict[str, str]:
    """What `rsd doctor` prints of the signs."""
    good, bad = form.candidates
    return {
        "good sign": f"{settings.good or PLUS!r} (id {good})",
        "bad sign": f"{settings.bad or MINUS!r} (id {bad})",
    }


def load_signs(
    kind: RewardKind, source: RewardCheckpoint, settings: RewardSettings
) -> PrefixScorer:
    """Load a language model that says a sign after each step.

    Raises:
        ModelLoadError: weights are missing, or the tokenizer does not fit the format.
        ConfigError: both signs are the same token.
    """
    from rsdecode.backends.transformers.load import model_shape
    from rsdecode.backends.transformers.network import CausalNetwork

    form = sign_format(kind, source.vocabulary, settings)
    model = source.causal()
    return source.scorer(
        CausalNetwork(model),
        form,
        probability(0),
        kind=str(kind),
        shape=model_shape(model),
        columns=form.candidates,
        reads=sign_facts(form, settings),
    )


def _signs(vocabulary: Vocabulary, good: str, bad: str) -> Ids:
    """The tokens of the two signs, the good one first."""
    ids = vocabulary.sign(good), vocabulary.sign(bad)
    if ids[0] == ids[1]:
        raise ConfigError(
            f"the good sign {good!r} and the bad sign {bad!r} are the same token ({ids[0]}): name "
            "both by --reward-good and --reward-bad"
        )
    return ids
