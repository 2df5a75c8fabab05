"""Options of `rsd prm label`, read and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rsdecode.cli.messages import print_note, print_warning
from rsdecode.core.counted import counted
from rsdecode.core.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from rsdecode.cli.options import RunOptions
    from rsdecode.config import RunConfig
    from rsdecode.training.label_settings import LabelSettings
    from rsdecode.training.selection import Selection

UNUSED = {
    "method": "--by rollouts|bisect|outcome|checker|reward",
    "temperature": "--temperatures and --rollout-temperature",
    "draft_temperature": "--temperatures and --rollout-temperature",
    "target_temperature": "--temperatures and --rollout-temperature",
    "top_p": "--temperatures alone",
    "top_k": "--temperatures alone",
}
REWARDS = {
    "checker": "python:MODULE:FUNCTION, arithmetic, or another reward",
    "reward": "a gate such as likelihood:target:min, a reward model, or a judge",
}


def read_settings(
    options: RunOptions,
    *,
    by: str,
    writers: str,
    continued: int,
    temperatures: str,
    completer: str | None,
    completions: int,
    every: bool,
    right_share: float,
    rollout_temperature: float,
) -> tuple[RunConfig, LabelSettings]:
    """The configuration of the run, and what `rsd prm label` is asked for.

    Raises:
        ConfigError: an option that labelling does not have, or one that makes no sense.
    """
    from rsdecode.config.schema import RolesSampling
    from rsdecode.core.limits import Limits
    from rsdecode.core.segment import parse_boundary
    from rsdecode.core.types import Role
    from rsdecode.training.label_settings import SAMPLES, LabelMethod, LabelSettings

    for name, instead in UNUSED.items():
        if name in options.given:
            raise ConfigError(f"--{name.replace('_', '-')}: rsd prm label takes {instead}")
    config = options.load()
    if config.sampling != RolesSampling():
        print_warning(
            "the configuration's sampling has no effect here: rsd prm label takes --temperatures "
            "and --rollout-temperature"
        )
    if by not in list(LabelMethod):
        raise ConfigError(f"--by {by}: use one of {', '.join(LabelMethod)}")
    if by in REWARDS and "reward" not in options.given and options.config is None:
        raise ConfigError(f"--by {by} needs --reward: {REWARDS[by]}")
    if by == LabelMethod.REWARD and config.reward.calibration is None:
        print_note(
            f"{config.reward.spec} is not calibrated: a step is right where it gives at least 0.5; "
            "rsd calibrate makes its numbers probabilities, from steps labelled by rollouts"
        )
    if completer is None:
        only_draft = "draft" in config.model_fields_set and "target" not in config.model_fields_set
        completer = "draft" if only_draft else "target"
    own_samples = "samples" in options.given or config.run.samples > 1
    roles = [_writer(name.strip(), "--writers") for name in writers.split(",") if name.strip()]
    settings = LabelSettings(
        method=LabelMethod(by),
        writers=tuple(dict.fromkeys(roles)),
        samples=config.run.samples if own_samples else SAMPLES,
        continued=continued,
        temperatures=_numbers(temperatures),
        completer=Role(_writer(completer, "--completer")),
        completions=completions,
        every=every,
        share=right_share,
        completion_temperature=rollout_temperature,
        boundary=parse_boundary(config.boundary),
        limits=Limits(**config.limits.model_dump()),
    )
    return config, settings


def selected(select: str | None, source: Path | None, count: int) -> Selection | None:
    """The solutions that are to be labelled in place of new ones; None for new ones.

    Raises:
        ConfigError: the options do not go together, or there is nothing to select from.
    """
    if select is None:
        if source is not None:
            raise ConfigError("--from is for --select uncertain: give both, or neither")
        return None
    if select != "uncertain":
        raise ConfigError(f"--select {select}: must be uncertain")
    if source is None:
        raise ConfigError(
            "--select uncertain needs --from: the folder of an rsd eval with a reward"
        )
    from rsdecode.training.selection import select_uncertain

    chosen = select_uncertain(source, count)
    print_note(
        f"{source}: labelling {chosen.count:,} of {counted(chosen.seen, 'solution')}, those of "
        "which the reward model was most mistaken or unsure"
    )
    return chosen


def _writer(name: str, option: str) -> Any:
    from rsdecode.core.types import Role

    if name not in (Role.DRAFT.value, Role.TARGET.value):
        raise ConfigError(f"{option} {name!r}: must be draft or target")
    return Role(name)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ConfigError(f"--temperatures {text!r}: must be numbers, such as 0.7,1") from None
