"""How the target writes the step that takes a rejected one's place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from rsdecode.core.errors import ConfigError, RequestError
from rsdecode.core.protocols import Models, TakesGuesses
from rsdecode.core.requests import Drop, Generate, Generated, generate
from rsdecode.core.types import FinishReason, Role, Segment, Tokens
from rsdecode.methods.trajectory import Deciding, TrajectoryBuilder

FallbackName = Literal["decode", "verify", "speculate"]
GUESS_TOKENS = 8
"""Tokens that the draft guesses at a time by default (measured in docs/performance.md)."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """The target's step in place of a rejected one: the same one, in fewer passes or more.

    "decode" writes token by token. With "verify" the target reads the rejected step in one pass, as
    a guess of what it will write. With "speculate" the draft goes on guessing where that fails:
    `guess_tokens` tokens behind what the target has written, which reads them in one pass too.

    The target draws every token itself, with the numbers that it would draw it with anyway, so all
    three write the same. (The usual acceptance with min(1, p/q) is exact for a fresh proposal only:
    a rejected step is not a fair sample of the draft any more, and would come back too often.) The
    draft's guesses are drawn with the target's sampling and numbers: so two models that agree on
    the probabilities draw the same token.

    Raises:
        ValueError: there is no such way, or no token to guess.
    """

    name: FallbackName = "decode"
    guess_tokens: int = GUESS_TOKENS

    def __post_init__(self) -> None:
        if self.name not in get_args(FallbackName):
            raise ValueError(f"fallback {self.name!r} must be decode, verify or speculate")
        if self.guess_tokens < 1:
            raise ValueError(f"guess_tokens {self.guess_tokens!r} must be at least 1")

    def check(self, models: Models) -> None:
        """Check that the target can read the draft's tokens, and the draft the target's.

        Raises:
            ConfigError: one writes elsewhere or cannot go back, or their tokenizers differ.
        """
        if self.name == "decode":
            return
        draft, target = (models.language_model(role) for role in (Role.DRAFT, Role.TARGET))
        target_reads = _checked(self.name, Role.TARGET, target)
        drafts_in = getattr(draft, "vocabulary", "one that is not known")
        if drafts_in != target_reads.vocabulary:
            raise ConfigError(
                f"fallback {self.name} has the target read the draft's tokens, but draft and "
                f"target have different tokenizers ({drafts_in} and {target_reads.vocabulary}): "
                "use fallback decode, which needs only text"
            )
        if self.name == "speculate":
            _checked(self.name, Role.DRAFT, draft)

    def write(
        self,
        trajectory: TrajectoryBuilder,
        request: Generate,
        rejected: Segment,
        beside: Sequence[Drop] = (),
    ) -> Deciding[Generated]:
        """Serve the target's `request`; charges what it costs (use with `yield from`).

        Args:
            trajectory: is charged.
            request: for the step.
            rejected: the draft's step.
            beside: what is dropped at the same moment.
        """
        guess = None if self.name == "decode" else rejected
        pauses = self.name == "speculate"
        asked = replace(request, guess=guess, pauses=pauses)
        while True:
            [written] = yield from generate([asked], beside)
            trajectory.charge(Role.TARGET, written)
            count, beside = written.token_count, ()
            paused = asked.pauses and written.finish_reason is FinishReason.STEP_LIMIT
            if not paused or count >= request.max_tokens:
                return written
            if asked.begun is not None and count <= len(_ids(asked.begun)):
                raise RequestError("the target does not go on with the step that it has begun")
            guess = yield from self._guess(trajectory, request, written.segment)
            asked = replace(request, begun=written.segment, guess=guess, pauses=guess is not None)

    def _guess(
        self, trajectory: TrajectoryBuilder, request: Generate, begun: Segment
    ) -> Deciding[Segment | None]:
        """What the draft writes behind `begun`; None where the target writes the rest alone.

        That is where one token is left, which needs no guess, or the draft's context is full.
        """
        ids = _ids(begun)
        limit = min(len(ids) + self.guess_tokens, request.max_tokens - 1)
        if limit <= len(ids):
            return None
        asked = replace(
            request,
            role=Role.DRAFT,
            context=trajectory.context_of(Role.DRAFT),
            max_tokens=limit,
            begun=begun,
        )
        [guessed] = yield from generate([asked])
        trajectory.charge(Role.DRAFT, guessed)
        tokens = guessed.segment.tokens
        if guessed.finish_reason is FinishReason.LENGTH or tokens is None:
            return None
        return Segment("", replace(tokens, ids=tokens.ids[len(ids) :]))


def _checked(name: FallbackName, role: Role, model: object) -> TakesGuesses:
    """The model, which reads guesses.

    Raises:
        ConfigError: it does not.
    """
    if isinstance(model, TakesGuesses):
        model.check_guesses()
        return model
    raise ConfigError(
        f"fallback {name} needs a {role} in this process (hf:, abacus:, or gguf: with "
        "--dequantise): a server does not read what it may turn out to write; use fallback "
        "decode"
    )


def _ids(segment: Segment) -> tuple[int, ...]:
    tokens = segment.tokens
    assert isinstance(tokens, Tokens), "a model that takes guesses tells its tokens"
    return tokens.ids
