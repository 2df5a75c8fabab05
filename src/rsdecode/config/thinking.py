"""The section `thinking` of the configuration: what is done with models' thoughts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from rsdecode.config.parts import Part, Place
from rsdecode.config.specs import GATES, ModelSpec, parse_reward_spec
from rsdecode.core.errors import ConfigError
from rsdecode.core.thought_steps import SHORTEST, WORDS, parse_thought_rule
from rsdecode.core.thoughts import Thoughts
from rsdecode.core.types import Role
from rsdecode.methods.thinking import Thinking
from rsdecode.text.chat_template import SWITCHES


class ThinkingConfig(Part):
    """What is done with thoughts: who writes and judges them, and when they end.

    Attributes:
        mode: `on` and `off` set the switches of chat templates (`enable_thinking`, `thinking`), and
            `off` closes thoughts that a prompt opens nevertheless; `auto` leaves all to the models.
        effort: of gpt-oss and the like (`reasoning_effort`).
        budget: tokens of thoughts, after which they are closed as the model's template does it.
        boundary: of steps within thoughts: `paragraphs:N` or `markers:N` with N characters at
            least, or what `boundary` takes.
        markers: words at the beginning of a line or a sentence that end a step, for `markers`.
        score: what the reward model judges: the steps of the `answer`, which it reads without the
            thoughts; all `steps`, those of the answer likewise; or `all` steps as one text. By
            default the answer, but all of it where a gate is the reward.
        thoughts_by: who writes thoughts: the `draft` or the `target` by itself, or both by the rule
            of `rsd`, which needs a judge: `gate` or `score`. By default rsd where there is a judge,
            else the draft.
        gate: a reward that judges thoughts instead of the reward model, such as confidence:draft.
        threshold: of rsd for thoughts, where their judge has another scale than the reward; by
            default that of the weighting function.
        first_steps: so many steps of each answer are written by the target.
        repeats: a step that is written so many times ends the thoughts, or the answer after them;
            0 for never.
        opened: whether prompts open the thoughts, where that cannot be seen (a chat endpoint).
    """

    mode: Literal["auto", "on", "off"] = "auto"
    effort: Literal["low", "medium", "high"] | None = None
    budget: Place | None = None
    boundary: str = f"paragraphs:{SHORTEST}"
    markers: tuple[Annotated[str, Field(min_length=1)], ...] = WORDS
    score: Literal["answer", "steps", "all"] | None = None
    thoughts_by: Literal["draft", "target", "rsd"] | None = None
    gate: str | None = None
    threshold: Annotated[float, Field(ge=0, le=1, description="a number in [0, 1]")] | None = None
    first_steps: Place = 0
    repeats: Place = 3
    opened: bool | None = None

    @field_validator("mode", mode="before")
    @classmethod
    def _no_truth_value(cls, value: object) -> object:
        """YAML reads `on` and `off` as true and false."""
        return {True: "on", False: "off"}[value] if isinstance(value, bool) else value

    @field_validator("boundary")
    @classmethod
    def _readable(cls, value: str) -> str:
        parse_thought_rule(value)
        return value

    @field_validator("gate")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return None if value is None else str(parse_reward_spec(value))

    @model_validator(mode="after")
    def _one_judge(self) -> ThinkingConfig:
        alone = self.thoughts_by in ("draft", "target")
        if self.gate is not None and self.score in ("steps", "all"):
            raise ConfigError(
                f"gate {self.gate} judges thoughts, and so does the reward with score "
                f"{self.score}: leave one of them out"
            )
        if alone and (self.gate is not None or self.score in ("steps", "all")):
            judge = f"gate {self.gate}" if self.gate is not None else f"score {self.score}"
            raise ConfigError(
                f"thoughts_by {self.thoughts_by} has thoughts written without a judge, but {judge} "
                "names one: leave one of them out"
            )
        if self.thoughts_by == "rsd" and self.gate is None and self.score == "answer":
            raise ConfigError(
                "thoughts_by rsd needs a judge of thoughts: a gate, such as confidence:draft, or "
                "score steps or all"
            )
        return self

    @property
    def switches(self) -> dict[str, object]:
        """Arguments of chat templates, by the mode."""
        wanted: dict[str, object] = {}
        if self.mode != "auto":
            wanted.update(dict.fromkeys(SWITCHES, self.mode == "on"))
        if self.effort is not None:
            wanted["reasoning_effort"] = self.effort
        return wanted

    def judged_parts(self, reward: ModelSpec) -> Literal["answer", "steps", "all"]:
        """What the reward model judges, `score` or its default."""
        if self.score is not None:
            return self.score
        if self.gate is not None or self.thoughts_by in ("draft", "target"):
            return "answer"
        gates = all(part.kind in GATES for part in reward.parts)
        return "all" if gates or self.thoughts_by == "rsd" else "answer"

    def policy(self, marks: Thoughts, reward: ModelSpec, *, target: bool) -> Thinking | None:
        """What a method does with thoughts; None where none are told apart.

        Args:
            marks: of thoughts.
            reward: of the run.
            target: whether the method has a target that can write.
        """
        if not marks.marks:
            return None
        score = self.judged_parts(reward)
        reads_context = any(part.kind in GATES for part in reward.parts)
        return Thinking(
            marks=marks,
            off=self.mode == "off",
            budget=self.budget,
            rule=parse_thought_rule(self.boundary, self.markers),
            judged=self.gate is not None or score != "answer",
            alone=score != "all" and not reads_context,
            threshold=self.threshold,
            writer=Role.TARGET if target and self.thoughts_by == "target" else Role.DRAFT,
            first_steps=self.first_steps if target else 0,
            repeats=self.repeats,
            opened=self.opened,
        )
