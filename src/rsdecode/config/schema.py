"""The configuration of a run. Unknown keys are errors; the description of a field is its remedy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import (
    Field,
    JsonValue,
    field_validator,
    model_validator,
)

from rsdecode.config.method_names import MethodName, parse_method_name
from rsdecode.config.parts import Count, NotNegative, Part, Positive, Share
from rsdecode.config.running import (
    EngineConfig,
    HttpConfig,
    LlamaCppConfig,
    RayConfig,
    ServerConfig,
    VllmConfig,
)
from rsdecode.config.specs import (
    RULES,
    SpecKind,
    check_function,
    parse_model_spec,
    parse_reward_spec,
)
from rsdecode.config.thinking import ThinkingConfig
from rsdecode.core.errors import ConfigError
from rsdecode.core.segment import parse_boundary, unescaped
from rsdecode.core.thoughts import THOUGHTS, Thoughts
from rsdecode.core.types import Role
from rsdecode.methods.fallback import FallbackName

STEP_BY_STEP = (
    "Please reason step by step, and put your final answer within \\boxed{}."  # the paper's prompt
)
WEIGHTINGS = ("step", "constant", "clipping", "sigmoidal", "logistic")
WEIGHTING_PARAMETERS = {
    "threshold": ("step", "logistic"),
    "p": ("constant",),
    "alpha": ("logistic",),
}
"""Which weightings a parameter belongs to."""

NOT_OF_TEMPLATES = frozenset(
    {
        *("messages", "conversation", "tools", "documents", "chat_template"),
        *("add_generation_prompt", "continue_final_message", "tokenize", "tokenizer_kwargs"),
        *("padding", "truncation", "max_length", "sanitize_control_tokens"),
        *("return_tensors", "return_dict", "return_assistant_tokens_mask"),
    }
)
"""What `apply_chat_template` and chat servers take for themselves."""

Lookahead = Annotated[int, Field(ge=0, le=1, description="0 or 1")]
TopP = Annotated[float, Field(gt=0, le=1, description="a number in (0, 1]")]
TopK = Annotated[int, Field(ge=0, description="a whole number >= 0 (0 keeps all tokens)")]


class RewardConfig(Part):
    """The reward model: its spec and, where detection must not decide, the kind of its head.

    Attributes:
        tokenizer: folder or hub id, for a served model (see `draft_tokenizer`).
        mark: text that ends each step, where the reward is read.
        separator: the same of token classifiers.
        good: sign or label of right steps.
        bad: sign or label of wrong ones.
        at: where a chunk of tokens (`boundary: tokens:K`) is read that ends no step: at a `mark`
            put after it, at its last `token`, or the `lowest` reading of its tokens; by default
            where the checkpoint says, else at a mark.
        calibration: file of `rsd calibrate` that makes the rewards probabilities.
        bounds: of a cascade's first reward: below the first number a step is bad, from the second
            on it is good, and between them the second reward is asked.
    """

    spec: str = "abacus:prm"
    kind: str | None = None
    tokenizer: str | None = None
    mark: str | None = None
    separator: str | None = None
    good: str | None = None
    bad: str | None = None
    at: Literal["mark", "token", "lowest"] | None = None
    calibration: str | None = None
    bounds: tuple[Share, Share] | None = None

    @field_validator("bounds", mode="before")
    @classmethod
    def _two_numbers(cls, value: object) -> object:
        """As `LOW,HIGH` on the command line."""
        if not isinstance(value, str):
            return value
        parts = value.split(",")
        if len(parts) != 2:
            raise ConfigError("must be two numbers, LOW,HIGH")
        return tuple(part.strip() for part in parts)

    @field_validator("bounds")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] > value[1]:
            raise ConfigError("the first bound must not be above the second")
        return value

    @field_validator("mark", "separator", "good", "bad")
    @classmethod
    def _text(cls, value: str | None) -> str | None:
        """With its escapes, such as those of a line break on the command line, read."""
        if value == "":
            raise ConfigError("must be some text; leave it out where the checkpoint tells it")
        return None if value is None else unescaped(value)

    @field_validator("spec")
    @classmethod
    def _known(cls, value: str) -> str:
        return str(parse_reward_spec(value))

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, value: str | None) -> str | None:
        from rsdecode.rewards.detect import parse_kind

        return None if value is None else parse_kind(value).value

    @model_validator(mode="after")
    def _settings_are_of_a_checkpoint(self) -> RewardConfig:
        spec = parse_reward_spec(self.spec)
        kind = spec.kind
        if self.bounds is not None and kind is not SpecKind.CASCADE:
            raise ConfigError(f"bounds has no effect on a reward of kind {kind}: use cascade:A,B")
        names = ("mark", "separator", "good", "bad", "at")
        given = [name for name in names if getattr(self, name)]
        if given and all(part.kind in (*RULES, SpecKind.SCRIPTED) for part in spec.parts):
            raise ConfigError(
                f"{' and '.join(given)} has no effect on a reward of kind {kind}: it belongs to "
                "reward models that are loaded or served (hf:, gguf:, vllm:, http:)"
            )
        return self


class WeightingConfig(Part):
    """The weighting function w(r) (paper, Table 1) and its parameters."""

    kind: str = "step"
    threshold: Share = 0.7
    p: Share | None = None
    alpha: Positive | None = None

    @field_validator("kind")
    @classmethod
    def _known(cls, value: str) -> str:
        prefix, _, target = value.partition(":")
        if prefix == "python":
            check_function(value, target)
        elif value not in WEIGHTINGS:
            known = ", ".join(WEIGHTINGS)
            raise ConfigError(f"unknown weighting; use {known} or python:MODULE:FUNCTION")
        return value

    @model_validator(mode="after")
    def _parameters_belong_to_the_function(self) -> WeightingConfig:
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        for name, kinds in WEIGHTING_PARAMETERS.items():
            if name in given and self.kind not in kinds:
                raise ConfigError(
                    f"{name} has no effect on the {self.kind} weighting: it belongs to "
                    f"{' and '.join(kinds)}"
                )
        if self.kind == "constant" and self.p is None:
            raise ConfigError("the constant weighting needs p, the probability of acceptance")
        return self


class LimitsConfig(Part):
    """How long a step and an answer may get."""

    max_steps: Count = 100
    max_step_tokens: Count = 512
    max_tokens: Count = 4096


class SamplingConfig(Part):
    """How one model draws tokens; temperature 0 is greedy."""

    temperature: NotNegative = 0.0
    top_p: TopP = 1.0
    top_k: TopK = 0


class RolesSampling(Part):
    """Sampling of the draft and of the target."""

    draft: SamplingConfig = SamplingConfig()
    target: SamplingConfig = SamplingConfig()


class PromptConfig(Part):
    """What surrounds the question.

    Attributes:
        system: a system message; "auto" is none for the abacus family and the paper's request to
            reason step by step for other models; empty or null is none.
        plain: prompt for models without a chat template, with {question} in it.
        template: arguments of the chat templates of draft, target and judge, such as
            `enable_thinking: false`; sent to servers that render conversations themselves.
    """

    system: str | None = "auto"
    plain: str | None = None
    template: Annotated[
        dict[str, JsonValue],
        Field(description="names and JSON values, such as {enable_thinking: false}"),
    ] = Field(default_factory=dict[str, JsonValue])

    @field_validator("plain")
    @classmethod
    def _asks(cls, value: str | None) -> str | None:
        if value is not None and "{question}" not in value:
            raise ConfigError("the plain prompt must contain {question}")
        return value

    @field_validator("template")
    @classmethod
    def _are_the_templates(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for name, argument in value.items():
            if not name.isidentifier():
                raise ConfigError(f"{name!r} is no name of a template's argument")
            if isinstance(argument, str) and argument.strip().lower() in ("true", "false"):
                raise ConfigError(
                    f"{name} is the text {argument!r}, which templates take for true: write "
                    f"{argument.strip().lower()} without quotation marks"
                )
            if name in NOT_OF_TEMPLATES:
                raise ConfigError(
                    f"{name} is not for you to set: it belongs to how conversations are rendered"
                )
        return value


class AnswerConfig(Part):
    """Where a model's answer is looked for.

    Attributes:
        thoughts: pairs of marks that a model's thoughts begin and end with; the answer is what
            follows them. By default those of the usual models; an empty list for none.
    """

    thoughts: (
        tuple[tuple[Annotated[str, Field(min_length=1)], Annotated[str, Field(min_length=1)]], ...]
        | None
    ) = None

    @property
    def marks(self) -> Thoughts:
        """The marks that are looked for."""
        return THOUGHTS if self.thoughts is None else Thoughts(self.thoughts)


class RunSettings(Part):
    """How the run is carried out; nothing here but the seed changes an answer."""

    seed: Annotated[int, Field(description="a whole number")] = 0
    concurrency: Count = 32
    timeout_s: Positive | None = None
    samples: Count = 1


class RunConfig(Part):
    """Everything that a run is built from.

    Attributes:
        draft_tokenizer: folder or hub id of the draft's tokenizer, where the draft is served: its
            conversations are then rendered here, and token ids are exchanged with the server.
        target_tokenizer: the same of the target.
        fallback: how the target writes in place of a rejected step (`methods.fallback`).
        guess_tokens: tokens that the draft guesses at a time, of fallback speculate.
    """

    method: str = "rsd"
    draft: str = "abacus:draft"
    target: str = "abacus:target"
    draft_tokenizer: str | None = None
    target_tokenizer: str | None = None
    reward: RewardConfig = RewardConfig()
    weighting: WeightingConfig = WeightingConfig()
    budget: Share | None = None
    candidates: Count = 1
    lookahead: Lookahead = 0
    fallback: FallbackName = "decode"
    guess_tokens: Count | None = None
    boundary: str = "separator"
    limits: LimitsConfig = LimitsConfig()
    sampling: RolesSampling = RolesSampling()
    prompt: PromptConfig = PromptConfig()
    answer: AnswerConfig = AnswerConfig()
    thinking: ThinkingConfig = ThinkingConfig()
    engine: EngineConfig = EngineConfig()
    llamacpp: LlamaCppConfig = LlamaCppConfig()
    vllm: VllmConfig = VllmConfig()
    http: HttpConfig = HttpConfig()
    run: RunSettings = RunSettings()
    ray: RayConfig = RayConfig()
    server: ServerConfig = ServerConfig()

    @field_validator("method")
    @classmethod
    def _named(cls, value: str) -> str:
        parse_method_name(value)
        return value

    @field_validator("draft", "target")
    @classmethod
    def _known(cls, value: str) -> str:
        return str(parse_model_spec(value))

    @field_validator("boundary")
    @classmethod
    def _readable(cls, value: str) -> str:
        parse_boundary(value)
        return value

    @model_validator(mode="after")
    def _parts_agree(self) -> RunConfig:
        if self.budget is not None and self.weighting.kind != "step":
            raise ConfigError(
                f"budget sets the threshold of the step weighting: it conflicts with the "
                f"{self.weighting.kind} weighting; leave one of them out"
            )
        if self.guess_tokens is not None and self.fallback != "speculate":
            raise ConfigError(
                f"guess_tokens has no effect on fallback {self.fallback}: it belongs to speculate"
            )
        name = self.method_name
        greedy = not self.sampling.draft.temperature
        if name.kind == "rsd" and not name.samples and self.candidates > 1 and greedy:
            raise ConfigError(
                f"candidates {self.candidates} of a greedy draft are all the same: "
                "set sampling.draft.temperature (--draft-temperature) above 0"
            )
        return self

    @property
    def roles(self) -> frozenset[Role]:
        """The models that the method needs."""
        return self.method_name.roles

    @property
    def models_needed(self) -> frozenset[Role]:
        """The roles whose models are loaded: the method's, and those that its reward reads."""
        return self.with_gates(self.roles)

    def with_gates(self, roles: Iterable[Role]) -> frozenset[Role]:
        """The roles, and those whose models give the reward if it is one of them."""
        needed = frozenset(roles)
        if Role.REWARD not in needed:
            return needed
        needed |= parse_reward_spec(self.reward.spec).reads
        gate = self.thinking.gate
        return needed if gate is None else needed | parse_reward_spec(gate).reads

    @property
    def template_arguments(self) -> dict[str, object]:
        """Arguments of the chat templates: those given, before the switches of `thinking`."""
        return {**self.thinking.switches, **self.prompt.template}

    @property
    def has_gguf(self) -> bool:
        """Whether a model is a GGUF file, which llama.cpp or the engine can run."""
        specs = [parse_model_spec(self.draft), parse_model_spec(self.target)]
        specs += parse_reward_spec(self.reward.spec).leaves
        return any(spec.kind is SpecKind.GGUF for spec in specs)

    @property
    def method_name(self) -> MethodName:
        """The method's name, read."""
        return parse_method_name(self.method)

    @property
    def system_prompt(self) -> str | None:
        """The system message that `prompt.system` stands for."""
        if self.prompt.system != "auto":
            return self.prompt.system or None
        return None if self.writers_are_abacus else STEP_BY_STEP

    @property
    def family_writers(self) -> tuple[str, ...]:
        """Which of draft and target, if the method needs them, are of the embedded family."""
        return tuple(spec for spec in self._writers if parse_model_spec(spec).is_abacus)

    @property
    def writers_are_abacus(self) -> bool:
        """Whether all of them are."""
        return len(self.family_writers) == len(self._writers)

    @property
    def _writers(self) -> list[str]:
        specs = {Role.DRAFT: self.draft, Role.TARGET: self.target}
        return [spec for role, spec in specs.items() if role in self.roles]
