"""The configuration of a run. Unknown keys are errors; the description of a field is its remedy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rsdecode.config.specs import (
    SpecKind,
    check_function,
    parse_model_spec,
    parse_reward_spec,
)
from rsdecode.core.errors import ConfigError
from rsdecode.core.segment import parse_boundary

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

Share = Annotated[float, Field(ge=0, le=1, description="a number in [0, 1]")]
Count = Annotated[int, Field(ge=1, description="a whole number of at least 1")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, description="a number above 0")]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, description="a number >= 0")]
TopP = Annotated[float, Field(gt=0, le=1, description="a number in (0, 1]")]
TopK = Annotated[int, Field(ge=0, description="a whole number >= 0 (0 keeps all tokens)")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RewardConfig(_Part):
    """The reward model: its spec and, where detection must not decide, the kind of its head."""

    spec: str = "abacus:prm"
    kind: str | None = None

    @field_validator("spec")
    @classmethod
    def _known(cls, value: str) -> str:
        return str(parse_reward_spec(value))

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, value: str | None) -> str | None:
        from rsdecode.rewards.detect import parse_kind

        return None if value is None else parse_kind(value).value


class WeightingConfig(_Part):
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


class LimitsConfig(_Part):
    """How long a step and an answer may get."""

    max_steps: Count = 100
    max_step_tokens: Count = 512
    max_tokens: Count = 4096


class SamplingConfig(_Part):
    """How one model draws tokens; temperature 0 is greedy."""

    temperature: NotNegative = 0.0
    top_p: TopP = 1.0
    top_k: TopK = 0


class RolesSampling(_Part):
    """Sampling of the draft and of the target."""

    draft: SamplingConfig = SamplingConfig()
    target: SamplingConfig = SamplingConfig()


class PromptConfig(_Part):
    """What surrounds the question.

    Attributes:
        system: a system message; "auto" is none for the abacus family and the paper's request to
            reason step by step for other models; empty or null is none.
        plain: prompt for models without a chat template, with {question} in it.
    """

    system: str | None = "auto"
    plain: str | None = None

    @field_validator("plain")
    @classmethod
    def _asks(cls, value: str | None) -> str | None:
        if value is not None and "{question}" not in value:
            raise ConfigError("the plain prompt must contain {question}")
        return value


class EngineConfig(_Part):
    """The in-process engine."""

    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    slots: Count = 32
    max_context: Annotated[int, Field(ge=2, description="a whole number of at least 2")] | None = (
        None
    )


class RunSettings(_Part):
    """How the run is carried out; nothing here but the seed changes an answer."""

    seed: Annotated[int, Field(description="a whole number")] = 0
    concurrency: Count = 32
    timeout_s: Positive | None = None
    samples: Count = 1


class RunConfig(_Part):
    """Everything that a run is built from."""

    method: Literal["rsd", "draft", "target"] = "rsd"
    draft: str = "abacus:draft"
    target: str = "abacus:target"
    reward: RewardConfig = RewardConfig()
    weighting: WeightingConfig = WeightingConfig()
    budget: Share | None = None
    candidates: Count = 1
    boundary: str = "separator"
    limits: LimitsConfig = LimitsConfig()
    sampling: RolesSampling = RolesSampling()
    prompt: PromptConfig = PromptConfig()
    engine: EngineConfig = EngineConfig()
    run: RunSettings = RunSettings()

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
        if self.method == "rsd" and self.candidates > 1 and not self.sampling.draft.temperature:
            raise ConfigError(
                f"candidates {self.candidates} of a greedy draft are all the same: "
                "set sampling.draft.temperature (--draft-temperature) above 0"
            )
        return self

    @property
    def system_prompt(self) -> str | None:
        """The system message that `prompt.system` stands for."""
        if self.prompt.system != "auto":
            return self.prompt.system or None
        return None if self._writers_are_abacus else STEP_BY_STEP

    @property
    def _writers_are_abacus(self) -> bool:
        specs = {"draft": [self.draft], "target": [self.target]}
        writers = specs.get(self.method, [self.draft, self.target])
        return all(parse_model_spec(spec).kind is SpecKind.ABACUS for spec in writers)

    def warnings(self) -> list[str]:
        """What is allowed but probably not meant."""
        if self.method != "rsd" or self.reward.spec != "abacus:prm" or self._writers_are_abacus:
            return []
        return [
            "abacus:prm only knows the word problems of the abacus family, but draft and target "
            f"are {self.draft} and {self.target}: its rewards will mean little; "
            "give a reward model with --reward, for example --reward arithmetic"
        ]
