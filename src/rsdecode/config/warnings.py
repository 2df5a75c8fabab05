"""What of a configuration is allowed but probably not meant."""

from __future__ import annotations

from rsdecode.config.schema import RunConfig
from rsdecode.config.specs import parse_reward_spec
from rsdecode.config.thinking import ThinkingConfig
from rsdecode.core.types import Role


def warnings_of(config: RunConfig) -> list[str]:
    """One line each, with the remedy."""
    return [*_of_thinking(config), *_of_reward(config), *_of_samples(config)]


def _of_thinking(config: RunConfig) -> list[str]:
    pointless = config.thinking.model_copy(update={"first_steps": 0}) != ThinkingConfig()
    if not pointless or not config.writers_are_abacus:
        return []
    return [
        "the abacus family has no thoughts: of the settings of thinking only first_steps has an "
        "effect"
    ]


def _of_reward(config: RunConfig) -> list[str]:
    scored = Role.REWARD in config.roles
    parts = map(str, parse_reward_spec(config.reward.spec).parts)
    if not scored or "abacus:prm" not in parts or config.writers_are_abacus:
        return []
    return [
        "abacus:prm only knows the word problems of the abacus family, but draft and target "
        f"are {config.draft} and {config.target}: its rewards will mean little; "
        "give a reward model with --reward, for example --reward arithmetic"
    ]


def _of_samples(config: RunConfig) -> list[str]:
    name, samples = config.method_name, config.run.samples
    used = name.roles - ({Role.DRAFT} if name.kind == "speculative" else set())
    sampling = {Role.DRAFT: config.sampling.draft, Role.TARGET: config.sampling.target}
    random = any(sampling[role].temperature for role in used & sampling.keys())
    if name.kind == "rsd":  # a name may give a weighting of its own
        random |= name.options.get("weighting", config.weighting.kind) != "step"
    if samples == 1 or name.samples or random:
        return []
    return [
        f"the {samples} samples of a question will be the same, as temperature 0 leaves nothing to "
        "chance: set --temperature above 0, such as --temperature 0.7"
    ]
