"""What a decoding method asks for, and the replies.

Methods yield lists of requests; whoever runs the method sends as many replies.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rsdecode.core.errors import RsdError
from rsdecode.core.segment import WHOLE_ANSWER, Boundary
from rsdecode.core.thoughts import THOUGHTS, Thoughts
from rsdecode.core.types import (
    Context,
    FinishReason,
    Message,
    Problem,
    Role,
    Segment,
    Step,
    Trajectory,
    Usage,
)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: 0 is greedy.
        top_p: nucleus, in (0, 1].
        top_k: 0 keeps all tokens.

    Raises:
        ValueError: a value is out of its range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature {self.temperature!r} must be a number >= 0")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p {self.top_p!r} must be in (0, 1]")
        if self.top_k < 0:
            raise ValueError(f"top_k {self.top_k!r} must be >= 0 (0 keeps all tokens)")


@dataclass(frozen=True, slots=True)
class Generate:
    """Continue `context` until `boundary`, the end of the sequence, or `max_tokens`.

    Attributes:
        session: requests of one session share a growing prefix; backends keep its KV cache.
        seed: the only source of randomness, so a reply does not depend on its batch.
        guess: what the reply may turn out to be. A model that can (`TakesGuesses`) reads its tokens
            in one pass, and writes on where it would have written another one. The text of the
            reply is the same with and without.
        begun: what earlier requests have written of the reply. The new one begins with it, and is
            what one request for all of it would have been answered: `max_tokens`, `boundary` and
            the numbers that tokens are drawn with count from its first token on. Asked of models
            that are `TakesGuesses`.
        pauses: whether to reply, with `step_limit`, at the first token that was not guessed, be it
            that another one was; `begun` goes on from there.
        told: tell of each token how likely it was (`Segment.told`), and so many of the likeliest in
            its place; None to tell nothing. Asked of models that are `protocols.TellsTokens`.
        thinking_tokens: of thoughts at most, for a model that has to see to it itself
            (`Begun.continues`); None for no limit.
    """

    role: Role
    context: Context
    max_tokens: int
    boundary: Boundary = WHOLE_ANSWER
    sampling: Sampling = Sampling()
    seed: int = 0
    session: str = ""
    guess: Segment | None = None
    begun: Segment | None = None
    pauses: bool = False
    told: int | None = None
    thinking_tokens: int | None = None

    @property
    def is_guess(self) -> bool:
        """Whether the draft goes on with a step of the target's, which enters no answer."""
        return self.role is Role.DRAFT and self.begun is not None


@dataclass(frozen=True, slots=True)
class Generated:
    """Reply to `Generate`.

    `finish_reason` is `stop` (boundary reached), `eos`, `step_limit` (the request's `max_tokens`
    reached, or a pause) or `length` (the model's context is full). A token that crosses the
    boundary with more than white space is cut off, so text and ids always agree.
    """

    segment: Segment
    finish_reason: FinishReason
    usage: Usage = Usage()

    @property
    def token_count(self) -> int:
        """Tokens of the segment: its ids where known, else what was decoded."""
        tokens = self.segment.tokens
        return len(tokens.ids) if tokens is not None else self.usage.decoded_tokens


@dataclass(frozen=True, slots=True)
class Score:
    """Score each of `steps`, in order, as the continuation of `context`.

    Attributes:
        ends: whether the answer is known to end after the last of them.
        thoughts: whether the steps are thoughts, which may have a judge of their own.
        first: index of the first of them in the trajectory, where the context leaves thoughts out.
        by_token: tell the rewards of single tokens too, if the reward has any.
    """

    context: Context
    steps: tuple[Segment, ...]
    session: str = ""
    ends: bool = False
    thoughts: bool = False
    first: int | None = None
    by_token: bool = False


class TokenReward(NamedTuple):
    """What one token of a step is worth.

    Attributes:
        end: characters of the step's text up to the token's end.
        reward: in [0, 1], on the scale of the rewards of steps.
    """

    end: int
    reward: float


@dataclass(frozen=True, slots=True)
class Scored:
    """Reply to `Score`: one reward in [0, 1] for each step asked about.

    Attributes:
        tokens: of each step its tokens' rewards, where they were asked for and the reward has any:
            the step's is the lowest of them.
    """

    rewards: tuple[float, ...]
    usage: Usage = Usage()
    tokens: tuple[tuple[TokenReward, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Propose:
    """Ask the draft for up to `count` single tokens, each with the distribution it came from."""

    context: Context
    count: int
    sampling: Sampling = Sampling()
    seed: int = 0
    session: str = ""


@dataclass(frozen=True, slots=True)
class Proposed:
    """Reply to `Propose`.

    `finish_reason` is `step_limit` (`count` tokens written), `eos` (the draft proposes to end the
    answer after them) or `length` (the draft's context is full; there may be no token at all).

    Attributes:
        segment: its token ids are always known; the end of sequence is not among them.
        distributions: of every token, the proposed end included. Opaque to everyone but a verifier
            over the same vocabulary.
    """

    segment: Segment
    distributions: object = field(repr=False, compare=False)
    finish_reason: FinishReason
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Verify:
    """Ask the target to judge a proposal by exact rejection sampling (see `core.speculation`)."""

    context: Context
    proposal: Proposed
    sampling: Sampling = Sampling()
    seed: int = 0
    session: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    """Reply to `Verify`: the accepted tokens of the proposal, then one token of the target's own.

    The target's token replaces the first that it rejected or, all being accepted, follows them; it
    may be the end of the sequence. A proposed end that is accepted ends the answer likewise. So
    `usage.decoded_tokens` is 1; `verified_tokens` and `accepted_tokens` count the proposal's ids,
    its end not among them.

    `finish_reason` is `step_limit` (the answer goes on), `eos` or `length` (the target's context is
    full).

    Attributes:
        accepted: how many of the proposal's ids are the first of the segment's.
    """

    segment: Segment
    accepted: int
    finish_reason: FinishReason
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Assess:
    """Ask how likely a model finds each token of `steps`, in order, after `context`.

    Attributes:
        sampling: the probabilities are those with which it would draw tokens so; at temperature 0
            its own, as at temperature 1.
        ends: whether the answer ends after the steps: that end is assessed too.
        places: tell where in the text of its step each token ends.
    """

    context: Context
    steps: tuple[Segment, ...]
    sampling: Sampling = Sampling(temperature=1.0)
    ends: bool = False
    session: str = ""
    places: bool = False


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely a model finds one step.

    Attributes:
        logprobs: of each of its tokens, and of the end of the answer where that was asked for.
        firsts: whether each is the model's first choice.
        places: where in the step's text each token ends, in characters; empty where that was not
            asked for, or the model does not tell.
    """

    logprobs: tuple[float, ...]
    firsts: tuple[bool, ...]
    places: tuple[int, ...] = ()

    @property
    def total(self) -> float:
        """The log-probability of the whole step."""
        return sum(self.logprobs)


@dataclass(frozen=True, slots=True)
class Assessed:
    """Reply to `Assess`: one likelihood for each step.

    The tokens that were judged are among `usage.verified_tokens`.
    """

    steps: tuple[Likelihood, ...]
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Begin:
    """Ask how a reply to `messages` begins, and how thoughts are closed: nothing is computed."""

    role: Role
    messages: tuple[Message, ...]
    marks: Thoughts = THOUGHTS
    session: str = ""


@dataclass(frozen=True, slots=True)
class Begun:
    """Reply to `Begin`.

    Attributes:
        opened: the mark by which the prompt opens the thoughts; "" if it does not, None if that
            is not known.
        thinks: whether the model's template or tokenizer knows thoughts, and the prompt has not
            closed them: the reply is expected to begin with some.
        closing: what ends thoughts, with the line breaks of the model's template; "" where it
            does not tell.
        continues: whether an answer can be continued; where it cannot, only the model itself can
            keep to a budget of thoughts.
        takes_effort: whether the model's template has a switch for how much is to be thought.
    """

    opened: str | None = None
    thinks: bool = False
    closing: str = ""
    continues: bool = True
    takes_effort: bool = False


@dataclass(frozen=True, slots=True)
class Announce:
    """A step has entered the answer: whoever runs the method may show it. The reply is None."""

    step: Step


@dataclass(frozen=True, slots=True)
class Start:
    """Serve `request` in the background; the reply is None, at once.

    The method later yields an equal request and receives the reply of the one that was started, or
    yields `Drop`. What is started and never asked for is dropped when the method ends.
    """

    request: Generate


@dataclass(frozen=True, slots=True)
class Drop:
    """The started `request` is not needed any more: it is cancelled, and the reply is None.

    What it had computed is added to the trajectory's ledger, as speculative.
    """

    request: Generate


@dataclass(frozen=True, slots=True)
class Failed:
    """Reply to a request that could not be served: `error` is raised inside the method."""

    error: RsdError


def session_of(problem: Problem, sample: int) -> str:
    """Names what all requests for one answer share; branches of it add "/" and a name."""
    return f"{problem.id}/{sample}"


Request = Generate | Score | Propose | Verify | Assess | Begin | Announce | Start | Drop
Reply = Generated | Scored | Proposed | Verified | Assessed | Begun | None
Decoding = Generator[Sequence[Request], Sequence[Reply], Trajectory]
"""A running method: yields lists of requests, is sent as many replies, returns a trajectory."""

Asking = Generator[Sequence[Request], Sequence[Reply], list[Generated]]
Scoring = Generator[Sequence[Request], Sequence[Reply], list[Scored]]
Proposing = Generator[Sequence[Request], Sequence[Reply], Proposed]
Verifying = Generator[Sequence[Request], Sequence[Reply], Verified]
Assessing = Generator[Sequence[Request], Sequence[Reply], list[Assessed]]
Beginning = Generator[Sequence[Request], Sequence[Reply], list[Begun]]
Telling = Generator[Sequence[Request], Sequence[Reply], None]


def generate(requests: Sequence[Generate], beside: Sequence[Start | Drop] = ()) -> Asking:
    """Ask for all `requests` at once; returns their replies in order (use with `yield from`).

    Args:
        requests: what is to be written.
        beside: what is started or dropped at the same moment.
    """
    replies = yield [*beside, *requests]
    return [reply for reply in replies if isinstance(reply, Generated)]


def score(requests: Sequence[Score], beside: Sequence[Start | Drop] = ()) -> Scoring:
    """Ask for all scores at once; returns their replies in order (use with `yield from`).

    Args:
        requests: what is to be scored.
        beside: what is started or dropped at the same moment.
    """
    replies = yield [*beside, *requests]
    return [reply for reply in replies if isinstance(reply, Scored)]


def propose(request: Propose) -> Proposing:
    """Ask for one proposal (use with `yield from`)."""
    [reply] = yield [request]
    assert isinstance(reply, Proposed)
    return reply


def verify(request: Verify) -> Verifying:
    """Ask for one verification (use with `yield from`)."""
    [reply] = yield [request]
    assert isinstance(reply, Verified)
    return reply


def assess(requests: Sequence[Assess]) -> Assessing:
    """Ask for all assessments at once; returns their replies in order (use with `yield from`)."""
    replies = yield [*requests]
    return [reply for reply in replies if isinstance(reply, Assessed)]


def begin(requests: Sequence[Begin]) -> Beginning:
    """Ask how replies begin; returns what is known, in order (use with `yield from`)."""
    replies = yield [*requests]
    return [reply for reply in replies if isinstance(reply, Begun)]


def tell(step: Step) -> Telling:
    """Announce a decided step (use with `yield from`)."""
    yield [Announce(step)]
