"""What clients send, checked at the edge: the parameters that all kinds of requests share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rsdecode.server.errors import ApiError, invalid, unsupported

Temperature = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
TopP = Annotated[float, Field(gt=0, le=1)]
TopK = Annotated[int, Field(ge=-1, le=1 << 31)]
Seed = Annotated[int, Field(ge=-(1 << 63), le=(1 << 63) - 1)]
Count = Annotated[int, Field(ge=1, le=1 << 20)]
Share = Annotated[float, Field(ge=0, le=1)]
StopString = Annotated[str, Field(min_length=1, max_length=500)]
Stops = Annotated[list[StopString], Field(max_length=16)]

_NO_TOOLS = "RSD writes text step by step; ask without tools"
_NO_FORMAT = "steps of reasoning follow no grammar; ask for text"
_NO_PENALTY = "the law of RSD's steps knows no penalties; leave it out, or send 0"
REFUSED: Mapping[str, tuple[str, tuple[object, ...]]] = {
    "tools": (_NO_TOOLS, (None, [])),
    "tool_choice": (_NO_TOOLS, (None, "none", "auto")),
    "functions": (_NO_TOOLS, (None, [])),
    "function_call": (_NO_TOOLS, (None, "none", "auto")),
    "response_format": (_NO_FORMAT, (None, {"type": "text"})),
    "guided_json": (_NO_FORMAT, (None,)),
    "guided_regex": (_NO_FORMAT, (None,)),
    "guided_choice": (_NO_FORMAT, (None,)),
    "guided_grammar": (_NO_FORMAT, (None,)),
    "structured_outputs": (_NO_FORMAT, (None,)),
    "presence_penalty": (_NO_PENALTY, (None, 0)),
    "frequency_penalty": (_NO_PENALTY, (None, 0)),
    "repetition_penalty": (_NO_PENALTY, (None, 1)),
    "logit_bias": ("RSD draws from the models' own distributions", (None, {})),
    "min_p": ("use top_p or top_k", (None, 0)),
    "min_tokens": ("the models end their answers themselves", (None, 0)),
    "ignore_eos": ("the models end their answers themselves", (None, False)),
    "best_of": ("ask for the method best-of-N: model 'best-of-4'", (None, 1)),
    "use_beam_search": ("ask for the method beam@WIDTH: model 'beam@4'", (None, False)),
    "modalities": ("RSD reads and writes text", (None, ["text"])),
    "audio": ("RSD reads and writes text", (None,)),
    "prediction": ("the draft model predicts", (None,)),
    "web_search_options": ("RSD searches nothing", (None,)),
    "chat_template_kwargs": ("set prompt.template in the server's configuration", (None, {})),
    "reasoning_effort": ("chats have it, and responses as reasoning.effort", (None,)),
    "verbosity": ("say so in the conversation", (None, "medium")),
    "include_reasoning": ("leave the field `reasoning` unread", (None, True)),
    "skip_special_tokens": ("control tokens are no text", (None, True)),
    "continue_final_message": ("a conversation ends with the question", (None, False)),
    "add_generation_prompt": ("answers are always begun", (None, True)),
}
"""Parameters that RSD cannot honour: why, and the values that ask for nothing."""
HARMLESS = frozenset(
    {
        *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"),
        *("prompt_cache_retention", "parallel_tool_calls", "request_id", "priority"),
        "spaces_between_special_tokens",
    }
)
"""Parameters that are taken and mean nothing here."""


class RsdOptions(BaseModel):
    """The extension `rsd`: how to decode, and whether to tell."""

    model_config = ConfigDict(extra="forbid")

    method: Annotated[str, Field(max_length=200)] | None = None
    threshold: Share | None = None
    weighting: Annotated[str, Field(max_length=100)] | None = None
    candidates: Count | None = None
    budget: Share | None = None
    max_steps: Count | None = None
    lookahead: Annotated[int, Field(ge=0, le=1)] | None = None
    trace: bool | Literal["deltas"] = False


class StreamOptions(BaseModel):
    """What a stream says beside the answer."""

    model_config = ConfigDict(extra="allow")

    include_usage: bool | None = None


class SamplingRequest(BaseModel):
    """The parameters of every request for text."""

    model_config = ConfigDict(extra="allow")

    model: Annotated[str, Field(max_length=300)] = "rsd"
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=1024)] | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    seed: Seed | None = None
    stop: StopString | Stops | None = None
    rsd: RsdOptions | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _no_stop(cls, value: Any) -> Any:
        """An empty text is no stop string, as some clients send it."""
        return None if value == "" else value

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def refuse_unsupported(self, allowed: frozenset[str] = frozenset()) -> list[str]:
        """Refuse what RSD cannot honour; returns the parameters that are not known at all.

        Args:
            allowed: names that this kind of request knows.

        Raises:
            ApiError: a parameter asks for something that cannot be done.
        """
        unknown: list[str] = []
        for name, value in (self.model_extra or {}).items():
            if name in allowed or name in HARMLESS:
                continue
            if name not in REFUSED:
                unknown.append(name)
                continue
            why, nothing = REFUSED[name]
            if not any(_same(value, empty) for empty in nothing):
                raise unsupported(name, why)
        return sorted(unknown)


def _same(value: object, other: object) -> bool:
    """Equal, where True is not 1."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def check_text(text: str, param: str) -> str:
    """See that a text can be tokenised and sent.

    Raises:
        ApiError: it holds half a character.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise invalid(
            "the text holds lone surrogates, which are no characters", param, "invalid_text"
        ) from None
    return text


def described(errors: list[Any]) -> ApiError:
    """The first of pydantic's errors, for the client: which field, what value, what is wanted."""
    error = errors[0]
    place = [str(part) for part in error.get("loc", ()) if part not in ("body", "query", "path")]
    name = ".".join(place) or None
    value = repr(error.get("input"))
    shown = value if len(value) <= 80 else value[:77] + "..."
    if error.get("type") == "json_invalid":
        return invalid(f"the body is not valid JSON: {error.get('ctx', {}).get('error', '')}")
    if error.get("type") == "missing":
        wanted = repr(name) if name else "a body in JSON"
        return invalid(f"you must provide {wanted}", name, "missing_required_parameter")
    if name is None and isinstance(error.get("input"), bytes):
        return invalid("the body must be JSON, with Content-Type: application/json")
    if error.get("type") == "extra_forbidden":
        return invalid(f"unknown key {name!r}", name, "unknown_parameter")
    return invalid(f"{name or 'body'}: {error.get('msg')}, but got {shown}", name, "invalid_value")
