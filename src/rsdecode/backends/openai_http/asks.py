"""What a server is asked, and what it answered, whatever its dialect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from rsdecode.core.cost import attended_tokens
from rsdecode.core.requests import Sampling
from rsdecode.core.types import Message, ToldToken, Usage

Ended = Literal["stop", "eos", "limit", "unknown"]
"""Why the server stopped: a stop string, the end of the answer, a limit; `unknown` is one of the
first two, from a server that does not say which."""
THOUGHTS_START, THOUGHTS_END = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages that the server renders with its own chat template, and the reply so far.

    Attributes:
        template: arguments of the template, such as `enable_thinking`.
    """

    messages: tuple[Message, ...]
    reply: str = ""
    template: Mapping[str, object] = field(default_factory=dict[str, object])


Prompt = tuple[int, ...] | str | Conversation


@dataclass(frozen=True, slots=True)
class Ask:
    """Continue `prompt` until one of `stops`, the end of the answer, or `max_tokens`.

    Attributes:
        choices: how many of the likeliest first tokens are wanted with their probabilities.
        logprobs: whether the log-probabilities of the written tokens are wanted.
        told: how many of the likeliest in the place of each are wanted too; None for nothing.
        assess: whether those of the prompt's tokens are wanted.
        thinking_tokens: of thoughts at most, by the server's own doing; None for no limit. Sent to
            servers that know of budgets (`Dialect.budget_key`).
        salt: only what was read under the same salt may come from the server's prefix cache; None
            for no limit. Heeded by servers that know salts (`Dialect.salts`).
        end_id: a token that ends the answer besides those that the server knows of; or None.
            Sent to servers that take such tokens.
    """

    prompt: Prompt
    max_tokens: int
    stops: tuple[str, ...] = ()
    sampling: Sampling = Sampling()
    seed: int = 0
    choices: int = 0
    salt: str | None = None
    end_id: int | None = None
    logprobs: bool = False
    told: int | None = None
    assess: bool = False
    thinking_tokens: int | None = None

    @property
    def wants_logprobs(self) -> bool:
        """Whether the written tokens are to be told of."""
        return self.logprobs or self.told is not None

    @property
    def candidates(self) -> int:
        """How many of the likeliest tokens are wanted at each place."""
        return max(self.choices, self.told or 0)


@dataclass(frozen=True, slots=True)
class Answered:
    """What the server wrote.

    Attributes:
        text: with the stop string that ended it, where that is known.
        ids: the tokens sampled, the one that ended the answer included; None from servers that do
            not tell.
        ended: why it stopped.
        end_id: the token that ended the answer, where the server names it.
        prompt_tokens: tokens of the prompt, by the server's count.
        cached_tokens: of these, found in its cache; 0 from servers that do not tell.
        decoded_tokens: tokens sampled.
        likeliest: log-probabilities of the first token's likeliest candidates, by their text.
        logprobs: of the sampled tokens; None where they were not asked for.
        written: the sampled tokens, where that was asked for.
        prompt_told: of each token of the prompt, where that was asked for (see `assessing.Told`).
        thoughts: what the server's reasoning parser has taken out of the text; "" for nothing.
        thinks_on: whether the reply ended before the thoughts did.
    """

    text: str
    ids: tuple[int, ...] | None
    ended: Ended
    prompt_tokens: int
    cached_tokens: int
    decoded_tokens: int
    end_id: int | None = None
    likeliest: Mapping[str, float] = field(default_factory=dict[str, float])
    thoughts: str = ""
    thinks_on: bool = False
    logprobs: tuple[float, ...] | None = None
    written: tuple[ToldToken, ...] | None = None
    prompt_told: tuple[tuple[float, bool] | None, ...] = ()

    def with_thoughts(self) -> Answered:
        """This reply with its thoughts in the text again, between the usual tags."""
        if not self.thoughts:
            return self
        end = "" if self.thinks_on else f"\n{THOUGHTS_END}\n\n"
        text = f"{THOUGHTS_START}\n{self.thoughts.strip()}{end}{self.text.lstrip()}"
        return replace(self, text=text, thoughts="", thinks_on=False)

    def ended_at(self, turn_end: int | None) -> Answered:
        """This reply up to the token that ends a turn, for a server that wrote on behind it."""
        if turn_end is None or self.ids is None or turn_end not in self.ids:
            return self
        ids = self.ids[: self.ids.index(turn_end) + 1]
        return replace(self, ids=ids, ended="eos", end_id=turn_end)

    def told(self, following: Answered, stops: tuple[str, ...]) -> Answered:
        """This reply with the reason why it ended, from the one token that followed it.

        Nothing follows the end of an answer; else a stop string was left out here, which is the
        one that the token begins.
        """
        token = following.text
        if following.ended == "eos" and not token:
            return replace(self, ended="eos")
        begun = (s for s in stops if token and (s.startswith(token) or token.startswith(s)))
        return replace(self, ended="stop", text=self.text + next(begun, stops[0]))

    def usage(self, seconds: float) -> Usage:
        """The ledger's entry."""
        cached = min(self.cached_tokens, self.prompt_tokens)
        prefill = self.prompt_tokens - cached
        return Usage(
            prefill_tokens=prefill,
            cached_tokens=cached,
            decoded_tokens=self.decoded_tokens,
            calls=1,
            seconds=seconds,
            attended_tokens=attended_tokens(cached, prefill + max(self.decoded_tokens - 1, 0)),
        )
