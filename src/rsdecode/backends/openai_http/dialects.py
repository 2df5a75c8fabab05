"""How each kind of server is asked for a continuation, and how its reply is read.

| server | stop string | why it stopped | token ids of the reply | cached tokens |
|---|---|---|---|---|
| vLLM | kept (`include_stop_str_in_output`) | `stop_reason` | `return_token_ids` | with a flag |
| SGLang | kept (`no_stop_trim`) | `matched_stop` | `return_token_ids` | with a flag |
| llama.cpp | `stopping_word` is added here | `stop_type` | `return_tokens` | always |
| any other | left out by it, added here | not told | no | if it tells |

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
from rsdecode.backends.openai_http.reading import count, entry, is_list, optional, token_ids

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

    def request(self, url: str, model: str, ask: Ask) -> tuple[str, dict[str, Any]]:
        """The URL to post to, and the body."""
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
    """

    name: str = "openai"
    extras: Mapping[str, Any] = field(default_factory=dict[str, Any])
    stop_key: str = ""
    most_choices: int = 5
    continues_chats: bool = False

    def request(self, url: str, model: str, ask: Ask) -> tuple[str, dict[str, Any]]:
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
            body["stop"] = list(ask.stops)
        if isinstance(ask.prompt, Conversation):
            return f"{url}/chat/completions", body | self._chat(ask.prompt, ask.choices)
        body["prompt"] = ask.prompt if isinstance(ask.prompt, str) else list(ask.prompt)
        if ask.choices:
            body["logprobs"] = ask.choices
        return f"{url}/completions", body

    def read(self, ask: Ask, reply: object) -> Answered:
        """See `Dialect`."""
        choice = entry(reply, "choices", 0)
        chat = isinstance(ask.prompt, Conversation)
        text = (optional(choice, "message", "content") or "") if chat else entry(choice, "text")
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
        )

    def _chat(self, chat: Conversation, choices: int) -> dict[str, Any]:
        messages = [{"role": m.role, "content": m.content} for m in chat.messages]
        body: dict[str, Any] = {"messages": messages}
        if chat.reply:
            messages.append({"role": "assistant", "content": chat.reply})
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        if choices:
            body |= {"logprobs": True, "top_logprobs": choices}
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
)
ANY = OpenAI()


@dataclass(frozen=True, slots=True)
class LlamaCpp:
    """llama.cpp's own route: unlike its OpenAI routes it tells tokens and why it stopped."""

    name: str = "llama.cpp"
    most_choices: int = 20
    continues_chats: bool = False

    def request(self, url: str, model: str, ask: Ask) -> tuple[str, dict[str, Any]]:
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
        if ask.choices:
            body["n_probs"] = ask.choices
        return f"{root_of(url)}/completion", body

    def read(self, ask: Ask, reply: object) -> Answered:
        """See `Dialect`."""
        kinds: dict[str, Ended] = {"word": "stop", "eos": "eos", "limit": "limit"}
        ended = kinds.get(entry(reply, "stop_type"))
        text = entry(reply, "content")
        if ended is None or not isinstance(text, str):
            raise Fault(f"the reply is not a whole completion: {str(reply)[:200]}")
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
        )


LLAMA_CPP = LlamaCpp()


def _cached(reply: object) -> int:
    """Not every server tells, and some say null."""
    cached = optional(reply, "usage", "prompt_tokens_details", "cached_tokens")
    return cached if isinstance(cached, int) and cached > 0 else 0


def _likeliest(logprobs: object) -> dict[str, float]:
    """The first token's candidates, in OpenAI's older form (a table) or the newer one (a list)."""
    table = optional(logprobs, "top_logprobs", 0)
    if isinstance(table, Mapping):
        return {text: float(p) for text, p in cast("Mapping[str, float]", table).items()}
    listed = entry(logprobs, "content", 0, "top_logprobs")
    if not is_list(listed):
        raise Fault(f"the reply has no list of candidates: {str(logprobs)[:200]}")
    return {str(entry(item, "token")): float(entry(item, "logprob")) for item in listed}
