"""The seams that users implement: a language model and a reward model, one async method each.

Both take a batch and give a batch of the same length and order. A request that cannot be served is
answered with `Failed`; only bugs raise. Many calls may be under way at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import ConfigError
from rsdecode.core.requests import (
    Assess,
    Assessed,
    Begin,
    Begun,
    Failed,
    Generate,
    Generated,
    Propose,
    Proposed,
    Score,
    Scored,
    Verified,
    Verify,
)
from rsdecode.core.types import Message, Role, Usage


@runtime_checkable
class LanguageModel(Protocol):
    """Writes text: the draft and the target."""

    async def generate(self, requests: Sequence[Generate]) -> list[Generated | Failed]:
        """Serve each request; replies in the order of the requests."""
        ...


Show = Callable[[int, str], None]
"""Takes new text of the request at a place of the batch, on the caller's event loop."""


@runtime_checkable
class Streamer(Protocol):
    """A language model that shows its text while it writes."""

    async def stream(self, requests: Sequence[Generate], show: Show) -> list[Generated | Failed]:
        """Serve each request as `generate` does, and show its text as it comes.

        What is shown is provisional: all of it, joined, starts with the text of the reply, and may
        go on with a token that was cut off at the step's boundary.
        """
        ...


@runtime_checkable
class RewardModel(Protocol):
    """Scores steps."""

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        """Score each request; replies in the order of the requests."""
        ...


@dataclass(frozen=True, slots=True)
class Choose:
    """Which of `choices` comes first in the model's reply to `messages`?

    Each choice must be a single token of the model ("0", "yes").
    """

    messages: tuple[Message, ...]
    choices: tuple[str, ...]
    session: str = ""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Reply to `Choose`: the probability of each choice among them; they sum to 1."""

    probabilities: tuple[float, ...]
    usage: Usage


@runtime_checkable
class Chooser(Protocol):
    """A language model that gives the probabilities of its next token, as an LLM judge needs."""

    async def choose(self, requests: Sequence[Choose]) -> list[Chosen | Failed]:
        """Serve each request; replies in the order of the requests."""
        ...


@dataclass(frozen=True, slots=True)
class Measure:
    """How likely is each token of a text?

    Attributes:
        ids: of the text, in the model's own vocabulary.
        top: how many of the likeliest tokens to name at each place.
    """

    ids: tuple[int, ...]
    top: int = 1
    session: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """Reply to `Measure`.

    Attributes:
        logprobs: natural logarithm of each token's probability after those before it; of the first
            None.
        top: at each place the likeliest tokens and theirs, the likeliest first, and once more for
            what would follow the text.
    """

    logprobs: tuple[float | None, ...]
    top: tuple[tuple[tuple[int, float], ...], ...]
    usage: Usage


@runtime_checkable
class Measurer(Protocol):
    """A language model that tells how likely it finds a text."""

    async def measure(self, requests: Sequence[Measure]) -> list[Measured | Failed]:
        """Serve each request; replies in the order of the requests."""
        ...


@runtime_checkable
class Tokenizes(Protocol):
    """A language model that tells token ids, by a tokenizer that is perhaps a server's.

    All raise `RequestError` where the server does not tell.
    """

    async def tokenize(self, text: str, *, special: bool = True) -> tuple[int, ...]:
        """The ids of a text; with `special`, after the tokens that begin a sequence."""
        ...

    async def tokenize_chat(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        """The ids of a conversation, up to where its reply begins."""
        ...

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        ...


@runtime_checkable
class Proposer(Protocol):
    """A language model that tells from which distribution it drew each token."""

    @property
    def vocabulary(self) -> str:
        """Fingerprint of the tokenizer; a verifier must have the same."""
        ...

    async def propose(self, requests: Sequence[Propose]) -> list[Proposed | Failed]:
        """Serve each request; replies in the order of the requests."""
        ...


@runtime_checkable
class Verifier(Protocol):
    """A language model that judges the tokens of another: speculative decoding's target."""

    @property
    def vocabulary(self) -> str:
        """Fingerprint of the tokenizer; the proposer must have the same."""
        ...

    async def verify(self, requests: Sequence[Verify]) -> list[Verified | Failed]:
        """Serve each request; replies in the order of the requests."""
        ...


@runtime_checkable
class Assessor(Protocol):
    """A language model that tells how likely it finds each token of a given text."""

    async def assess(self, requests: Sequence[Assess]) -> list[Assessed | Failed]:
        """Serve each request; replies in the order of the requests."""
        ...


@runtime_checkable
class Begins(Protocol):
    """A language model that knows how its replies begin: whether the prompt opens thoughts."""

    async def begin(self, requests: Sequence[Begin]) -> list[Begun | Failed]:
        """Serve each request; replies in the order of the requests."""
        ...


@runtime_checkable
class TellsLogprobs(Protocol):
    """A language model that knows the log-probabilities of the tokens that it writes."""

    def tell_logprobs(self) -> None:
        """From now on, put them into what is written (`Segment.logprobs`)."""
        ...


@runtime_checkable
class TellsTokens(Protocol):
    """A language model that tells how likely its tokens were, to requests that ask (`told`)."""

    def check_tokens(self) -> None:
        """See that it does; one that is served asks its server.

        Raises:
            ConfigError: it does not; says what to do.
        """
        ...


@runtime_checkable
class ReadsDraft(Protocol):
    """A reward model that perhaps needs what the draft knows of its own steps."""

    @property
    def reads_draft(self) -> bool:
        """Whether it can score nothing but steps as the draft wrote them."""
        ...


@runtime_checkable
class Sized(Protocol):
    """A model that knows its shape, so that FLOPs can be counted."""

    @property
    def shape(self) -> ModelShape | None:
        """Sizes, or None when they are not known (a server that does not tell)."""
        ...


@runtime_checkable
class Closeable(Protocol):
    """A model that holds threads, connections or processes."""

    def close(self) -> None:
        """Release them; requests under way are answered with `Failed`. Safe to call twice."""
        ...


@runtime_checkable
class Caching(Protocol):
    """A model that keeps what it has read for the next request of the session."""

    def end(self, session: str) -> None:
        """No request of the session, or of its branches, will follow."""
        ...

    def clear(self) -> None:
        """Forget all that was read, so that what follows costs what it costs alone."""
        ...


@runtime_checkable
class MayNotContinue(Protocol):
    """A language model that perhaps writes whole answers only."""

    def check_steps(self) -> None:
        """See that it can continue an answer, which methods need that write step by step.

        Raises:
            ConfigError: it cannot; says what to do.
        """
        ...


@runtime_checkable
class TakesGuesses(Protocol):
    """A language model that reads in one pass what it may turn out to write (`Generate.guess`).

    It may pause behind it (`pauses`), and goes on with what was written before (`begun`).
    """

    @property
    def vocabulary(self) -> str:
        """Fingerprint of its tokenizer; guesses are in its token ids."""
        ...

    def check_guesses(self) -> None:
        """See that this one does.

        Raises:
            ConfigError: it does not; says why.
        """
        ...


@runtime_checkable
class MayNotAssess(Protocol):
    """A language model that perhaps does not tell how likely a text is."""

    def check_assesses(self) -> None:
        """See that it tells of a given text.

        Raises:
            ConfigError: it does not; says what to do.
        """
        ...

    def check_logprobs(self) -> None:
        """See that it tells of what it writes.

        Raises:
            ConfigError: it does not; says what to do.
        """
        ...


@runtime_checkable
class Noted(Protocol):
    """A model about which a reader of results must know something."""

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence each; complete once requests were served."""
        ...


NOT_ASSESSED = (
    "the {role} does not tell how likely it finds a given text: load it in this process "
    "(hf:ID_OR_PATH or gguf:FILE), or serve it with vLLM"
)
LOGPROBS_HIDDEN = (
    "the {role} does not tell the log-probabilities of what it writes: load it in this process "
    "(hf:ID_OR_PATH or gguf:FILE), or serve it with vLLM or llama.cpp"
)
_TOKENS_HIDDEN = (
    "the {role} cannot {ability} single tokens with their probabilities: load it in this process "
    "(hf:ID_OR_PATH, or gguf:FILE with --dequantise), or choose --method rsd, which needs only text"
)


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a run. A method needs only some of them."""

    draft: LanguageModel | None = None
    target: LanguageModel | None = None
    reward: RewardModel | None = None

    def language_model(self, role: Role) -> LanguageModel:
        """The draft or the target.

        Raises:
            ConfigError: the run has none.
        """
        model = self.draft if role is Role.DRAFT else self.target
        if model is None:
            raise ConfigError(f"this method needs a {role} model: give one with --{role}")
        return model

    def reward_model(self) -> RewardModel:
        """The reward model.

        Raises:
            ConfigError: the run has none.
        """
        if self.reward is None:
            raise ConfigError("this method needs a reward model: give one with --reward")
        return self.reward

    def proposer(self) -> Proposer:
        """The draft, as one that proposes single tokens.

        Raises:
            ConfigError: the run has no draft, or it cannot.
        """
        model = self.language_model(Role.DRAFT)
        if not isinstance(model, Proposer):
            raise ConfigError(_TOKENS_HIDDEN.format(role=Role.DRAFT, ability="propose"))
        return model

    def verifier(self) -> Verifier:
        """The target, as one that judges proposed tokens.

        Raises:
            ConfigError: the run has no target, or it cannot.
        """
        model = self.language_model(Role.TARGET)
        if not isinstance(model, Verifier):
            raise ConfigError(_TOKENS_HIDDEN.format(role=Role.TARGET, ability="verify"))
        return model

    def assessor(self) -> Assessor:
        """The target, as one that tells how likely it finds a text.

        Raises:
            ConfigError: the run has no target, or it cannot.
        """
        model = self.language_model(Role.TARGET)
        if not isinstance(model, Assessor):
            raise ConfigError(NOT_ASSESSED.format(role=Role.TARGET))
        return model

    def require(self, roles: Iterable[Role]) -> None:
        """Check that there is a model for each of `roles`.

        Raises:
            ConfigError: one is missing.
        """
        for role in roles:
            if role is Role.REWARD:
                self.reward_model()
            else:
                self.language_model(role)

    def shapes(self) -> dict[Role, ModelShape | None]:
        """The shape of each role, where known."""
        models = {Role.DRAFT: self.draft, Role.TARGET: self.target, Role.REWARD: self.reward}
        return {role: m.shape if isinstance(m, Sized) else None for role, m in models.items()}

    def end(self, session: str) -> None:
        """Tell every model that keeps something of a session that it is over."""
        for model in self._each():
            if isinstance(model, Caching):
                model.end(session)

    def clear(self) -> None:
        """Empty all caches: the next method must not profit from what another has read."""
        for model in self._each():
            if isinstance(model, Caching):
                model.clear()

    def notes(self) -> list[str]:
        """What a reader of results must know of the models, each thing once."""
        noted = (model.notes for model in self._each() if isinstance(model, Noted))
        return list(dict.fromkeys(note for notes in noted for note in notes))

    def close(self) -> None:
        """Close every model that holds something, each once."""
        for model in self._each():
            if isinstance(model, Closeable):
                model.close()

    def _each(self) -> list[object]:
        models = (self.draft, self.target, self.reward)
        return list({id(model): model for model in models}.values())
