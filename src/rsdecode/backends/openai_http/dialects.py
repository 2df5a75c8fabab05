"""How each kind of server is asked for a continuation, and how its reply is read.

| server | stop string | why it stopped | token ids of the reply | cached tokens | salts, streams |
|---|---|---|---|---|---|
| vLLM | kept (`include_stop_str_in_output`) | `stop_reason` | `return_token_ids` | flag | yes |
| SGLang | kept (`no_stop_trim`) | `matched_stop` | `return_token_ids` | flag | yes |
| llama.cpp | `stopping_word` is added here | `stop_type` | `return_tokens` | always | streams |
| any other | left out by it, added here | not told | no | if it tells | no |

Every sampling parameter is sent: servers take what is left out from the model's generation config,
and a repetition penalty from there would change the distribution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from rsdecode.backends.openai_http.address import root_of
from rsdecode.backends.openai_http.asks import Answered, Ask, Conversation, Ended
from rsdecode.backends.openai_http.faults import Fault
from rsdecode.backends.openai_http.prompt_logprobs import read_prompt
from rsdecode.backends.openai_http.reading import count, entry, is_list, optional, token_ids
from rsdecode.backends.openai_http.streams import (
    BROKEN,
    LlamaCppStream,
    OpenAIStream,
    Stream,
    Tokenize,
)
from rsdecode.core.types import ToldToken

MOST_STOPS = 4
"""Of OpenAI's API; vLLM 0.32 refuses more. What a server does not stop at is cut off here."""
SEED_BITS = 0x7FFFFFFF
"""What every server takes: llama.cpp has 32 bits, and reads all ones as "at random"."""


class Dialect(Protocol):
    """The requests and replies of one kind of server."""

    @property
    def name(self) -> str:
        """What the server calls itself."""
        ...

    @property
    def most_choices(self) -> int:
        """Candidates of a token that it gives at most."""
        ...

    @property
    def continues_chats(self) -> bool:
        """Whether its chat endpoint can continue a reply."""
        ...

    @property
    def salts(self) -> bool:
        """Whether its prefix cache knows salts."""
        ...

    @property
    def tells_logprobs(self) -> bool:
        """Whether it tells the log-probabilities of what it writes."""
        ...

    @property
    def assesses(self) -> bool:
        """Whether it tells those of a prompt's tokens."""
        ...

    @property
    def budget_key(self) -> str:
        """The parameter that limits the tokens of thoughts; empty where there is none."""
        ...

    def streams(self, *, shown: bool, chunks: bool) -> bool:
        """Whether a reply is asked for as a stream.

        Args:
            shown: whether somebody watches the text.
            chunks: whether steps are a number of tokens long, so that they end within characters.
        """
        ...

    def request(
        self, url: str, model: str, ask: Ask, *, stream: bool = False
    ) -> tuple[str, dict[str, Any]]:
        """The URL to post to, and the body."""
        ...

    def stream(self, ask: Ask, tokenize: Tokenize | None = None) -> Stream:
        """What puts a streamed reply together.

        Args:
            ask: what it is the reply to.
            tokenize: by the model's tokenizer, where that is known.
        """
        ...

    def read(self, ask: Ask, reply: object) -> Answered:
        """The reply.

        Raises:
            Fault: it is not of the right form.
        """
        ...


@dataclass(frozen=True, slots=True)
class OpenAI:
    """The API that all share, and what some add to it.

    Attributes:
        extras: parameters that keep the stop string, return token ids, and leave sampling alone.
        stop_key: where a choice says which stop string, or token, ended it; "" for nowhere.
        most_choices: see `Dialect`.
        continues_chats: see `Dialect`.
        chat_extras: parameters for the chat route alone.
        salts: see `Dialect`.
        tells_logprobs: see `Dialect`.
        assesses: see `Dialect`.
        budget_key: see `Dialect`.
        tells_all: whether a streamed reply tells all that an unstreamed one does.
        takes_end_ids: whether it takes further tokens that end an answer.
    """

    name: str = "openai"
    extras: Mapping[str, Any] = field(default_factory=dict[str, Any])
    stop_key: str = ""
    most_choices: int = 5
    continues_chats: bool = False
    chat_extras: Mapping[str, Any] = field(default_factory=dict[str, Any])
    salts: bool = False
    tells_all: bool = False
    takes_end_ids: bool = False
    tells_logprobs: bool = False
    assesses: bool = False
    budget_key: str = ""

    def streams(self, *, shown: bool, chunks: bool) -> bool:
        """See `Dialect`."""
        return self.tells_all and shown

    def request(
        self, url: str, model: str, ask: Ask, *, stream: bool = False
    ) -> tuple[str, dict[str, Any]]:
        """See `Dialect`."""
        sampling = ask.sampling
        body: dict[str, Any] = {
            "model": model,
            "max_tokens": ask.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": ask.seed & SEED_BITS,
            **self.extras,
        }
        if sampling.top_k or "top_k" in self.extras:
            body["top_k"] = sampling.top_k or self.extras["top_k"]
        if ask.stops:
            body["stop"] = list(ask.stops[:MOST_STOPS])
        if ask.end_id is not None and self.takes_end_ids:
            body["stop_token_ids"] = [ask.end_id]
        if ask.salt is not None and self.salts:
            body["cache_salt"] = ask.salt
        if ask.thinking_tokens is not None and self.budget_key:
            body[self.budget_key] = ask.thinking_tokens
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        if isinstance(ask.prompt, Conversation):
            return f"{url}/chat/completions", body | self._chat(ask.prompt, ask)
        body["prompt"] = ask.prompt if isinstance(ask.prompt, str) else list(ask.prompt)
        if ask.choices or ask.wants_logprobs:
            body["logprobs"] = ask.candidates
        if ask.assess:
            body["prompt_logprobs"] = 0
        return f"{url}/completions", body

    def stream(self, ask: Ask, tokenize: Tokenize | None = None) -> Stream:
        """See `Dialect`."""
        return OpenAIStream(chat=isinstance(ask.prompt, Conversation))

    def read(self, ask: Ask, reply: object) -> Answered:
        """See `Dialect`."""
        choice = entry(reply, "choices", 0)
        chat = isinstance(ask.prompt, Conversation)
        message = optional(choice, "message")
        text = (optional(message, "content") or "") if chat else entry(choice, "text")
        thoughts = optional(message, "reasoning") or optional(message, "reasoning_content")
        if not isinstance(text, str):
            raise Fault(f"the reply's text is {text!r}")
        matched = optional(choice, self.stop_key) if self.stop_key else None
        return Answered(
            text=text,
            ids=token_ids(optional(choice, "token_ids")),
            ended=self._ended(ask, choice, matched),
            end_id=matched if isinstance(matched, int) else None,
            prompt_tokens=count(reply, "usage", "prompt_tokens"),
            cached_tokens=_cached(reply),
            decoded_tokens=count(reply, "usage", "completion_tokens"),
            likeliest=_likeliest(optional(choice, "logprobs")) if ask.choices else {},
            logprobs=_logprobs(optional(choice, "logprobs")) if ask.logprobs else None,
            written=_written(ask, optional(choice, "logprobs")),
            prompt_told=read_prompt(ask, optional(choice, "prompt_logprobs")) if ask.assess else (),
            thoughts=thoughts if chat and isinstance(thoughts, str) else "",
            thinks_on=not text,
        )

    def _chat(self, chat: Conversation, ask: Ask) -> dict[str, Any]:
        messages = [{"role": m.role, "content": m.content} for m in chat.messages]
        body: dict[str, Any] = {"messages": messages, **self.chat_extras}
        if chat.template:
            body["chat_template_kwargs"] = dict(chat.template)
        if chat.reply:
            messages.append({"role": "assistant", "content": chat.reply})
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        if ask.choices or ask.wants_logprobs:
            body |= {"logprobs": True, "top_logprobs": ask.candidates}
        return body

    def _ended(self, ask: Ask, choice: object, matched: object) -> Ended:
        reason = entry(choice, "finish_reason")
        if reason == "length":
            return "limit"
        if reason != "stop":
            raise Fault(f"the server ended with {reason!r}")
        if not ask.stops:
            return "eos"
        if not self.stop_key:
            return "unknown"
        return "stop" if isinstance(matched, str) else "eos"


_NEUTRAL = {
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""Against a checkpoint's own generation config, which these servers would apply otherwise."""
VLLM = OpenAI(
    name="vllm",
    extras={
        **_NEUTRAL,
        "include_stop_str_in_output": True,
        "return_token_ids": True,
    },
    stop_key="stop_reason",
    most_choices=20,
    continues_chats=True,
    salts=True,
    tells_all=True,
    takes_end_ids=True,
    tells_logprobs=True,
    assesses=True,
    budget_key="thinking_token_budget",
)
SGLANG = OpenAI(
    name="sglang",
    extras={
        **_NEUTRAL,
        "no_stop_trim": True,
        "return_token_ids": True,
    },
    stop_key="matched_stop",
    most_choices=20,
    continues_chats=True,
    chat_extras={"separate_reasoning": False},
    salts=True,
    tells_all=True,
    takes_end_ids=True,
)
ANY = OpenAI()
WRAPPED_LLAMA_CPP = OpenAI(budget_key="reasoning_budget_tokens")
"""An older llama.cpp, or one behind a proxy, with the OpenAI routes alone."""


@dataclass(frozen=True, slots=True)
class LlamaCpp:
    """llama.cpp's own route: unlike its OpenAI routes it tells tokens and why it stopped."""

    name: str = "llama.cpp"
    most_choices: int = 20
    continues_chats: bool = False
    salts: bool = False
    tells_logprobs: bool = True
    assesses: bool = False
    budget_key: str = ""

    def streams(self, *, shown: bool, chunks: bool) -> bool:
        """See `Dialect`.

        Also where nobody watches: of an unstreamed reply it notices only after a second that nobody
        waits for it any more. The tokens of a character that is cut off are told unstreamed alone.
        """
        return not chunks

    def request(
        self, url: str, model: str, ask: Ask, *, stream: bool = False
    ) -> tuple[str, dict[str, Any]]:
        """See `Dialect`."""
        if isinstance(ask.prompt, Conversation):
            raise TypeError("llama.cpp renders conversations by /apply-template")
        sampling = ask.sampling
        body: dict[str, Any] = {
            "model": model,
            "prompt": ask.prompt if isinstance(ask.prompt, str) else list(ask.prompt),
            "n_predict": ask.max_tokens,
            "stop": list(ask.stops),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": 0.0,
            "repeat_penalty": 1.0,
            "seed": ask.seed & SEED_BITS,
            "cache_prompt": True,
            "return_tokens": True,
        }
        if ask.choices or ask.wants_logprobs:
            body["n_probs"] = ask.candidates or 1
        if stream:
            body["stream"] = True
        return f"{root_of(url)}/completion", body

    def stream(self, ask: Ask, tokenize: Tokenize | None = None) -> Stream:
        """See `Dialect`."""
        return LlamaCppStream(tokenize)

    def read(self, ask: Ask, reply: object) -> Answered:
        """See `Dialect`."""
        kinds: dict[str, Ended] = {"word": "stop", "eos": "eos", "limit": "limit"}
        ended = kinds.get(entry(reply, "stop_type"))
        text = entry(reply, "content")
        if ended is None or not isinstance(text, str):
            raise Fault(f"the reply is not a whole completion: {str(reply)[:200]}")
        if ended == "limit":  # in the middle of a character, the rest of which comes with the next
            text = text.rstrip(BROKEN)
        prompt = count(reply, "tokens_evaluated")
        computed = optional(reply, "timings", "prompt_n")
        probabilities = optional(reply, "completion_probabilities")
        return Answered(
            text=text + (optional(reply, "stopping_word") or ""),
            ids=token_ids(optional(reply, "tokens")) or None,
            ended=ended,
            prompt_tokens=prompt,
            cached_tokens=max(0, prompt - computed) if isinstance(computed, int) else 0,
            decoded_tokens=count(reply, "tokens_predicted"),
            likeliest=_likeliest({"content": probabilities}) if ask.choices else {},
            logprobs=_logprobs({"content": probabilities or []}) if ask.logprobs else None,
            written=_written(ask, {"content": probabilities or []}),
        )


LLAMA_CPP = LlamaCpp()


def _cached(reply: object) -> int:
    """Not every server tells, and some say null."""
    cached = optional(reply, "usage", "prompt_tokens_details", "cached_tokens")
    return cached if isinstance(cached, int) and cached > 0 else 0


def _logprobs(logprobs: object) -> tuple[float, ...]:
    """Of the written tokens, in OpenAI's older form (a list) or the newer one (objects)."""
    listed = optional(logprobs, "token_logprobs")
    if not is_list(listed):
        content = entry(logprobs, "content")
        listed = [entry(item, "logprob") for item in content] if is_list(content) else None
    if not is_list(listed) or not all(isinstance(p, (int, float)) for p in listed):
        raise Fault(f"the reply has no log-probabilities: {str(logprobs)[:200]}")
    return tuple(float(cast("float", p)) for p in listed)


def _written(ask: Ask, logprobs: object) -> tuple[ToldToken, ...] | None:
    """The written tokens, in either form."""
    if ask.told is None:
        return None
    if is_list(content := optional(logprobs, "content")):
        return tuple(_newer_told(item, ask.told) for item in content)
    texts, chances = entry(logprobs, "tokens"), _logprobs(logprobs)
    tables: list[Any] = optional(logprobs, "top_logprobs") or [{}] * len(chances)
    if not (is_list(texts) and is_list(tables) and len(texts) == len(tables) == len(chances)):
        raise Fault(f"the reply has no list of tokens: {str(logprobs)[:200]}")
    return tuple(
        ToldToken(str(text), chance, _likeliest_of(table, ask.told))
        for text, chance, table in zip(texts, chances, tables, strict=True)
    )


def _newer_told(item: object, count: int) -> ToldToken:
    best: list[Any] = optional(item, "top_logprobs") or []
    table = {str(entry(each, "token")): entry(each, "logprob") for each in best}
    top = _likeliest_of(table, count)
    return ToldToken(str(entry(item, "token")), float(entry(item, "logprob")), top)


def _likeliest_of(table: object, count: int) -> tuple[tuple[str, float], ...]:
    known = cast("Mapping[str, float]", table or {})
    best = sorted(known.items(), key=lambda each: -float(each[1]))[:count]
    return tuple((text, float(logprob)) for text, logprob in best)


def _likeliest(logprobs: object) -> dict[str, float]:
    """The first token's candidates, in OpenAI's older form (a table) or the newer one (a list)."""
    table = optional(logprobs, "top_logprobs", 0)
    if isinstance(table, Mapping):
        return {text: float(p) for text, p in cast("Mapping[str, float]", table).items()}
    listed = entry(logprobs, "content", 0, "top_logprobs")
    if not is_list(listed):
        raise Fault(f"the reply has no list of candidates: {str(logprobs)[:200]}")
    return {str(entry(item, "token")): float(entry(item, "logprob")) for item in listed}
