"""How a reward model was trained to be read: its mark, its separator, its good and bad outputs.

What the user gives wins; then what the checkpoint tells; then what belongs to the kind. Where none
of them says it, loading is refused: rewards are never read at a guessed place or label.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from rsdecode.core.errors import ConfigError, ModelLoadError
from rsdecode.rewards.calibration import Calibration
from rsdecode.rewards.chunks import At, parse_at
from rsdecode.rewards.detect import RewardKind, last_part

SKYWORK_MARK = "\n"
QWEN_MARK = "<extra_0>"
SHEPHERD_MARK = "ки"
VERSA_MARK, VERSA_LEAD = " \n\n\n\n", " \n\n"
PURE_SEPARATOR = "\n\n"
PLUS, MINUS = "+", "-"
SECTION = "rsd_reward"
"""Key of config.json under which a checkpoint may say all of it."""


@dataclass(frozen=True, slots=True)
class RewardSettings:
    """What is known of a reward model's format; None for what is not.

    Attributes:
        mark: text that ends each step, at which the reward is read.
        separator: the same of token classifiers, by the name that their trainer uses.
        good: the sign, or the label, of right steps.
        bad: that of wrong ones.
        at: where a chunk of tokens is read (see `chunks.At`).
        calibration: of readings inside steps to probabilities, where the checkpoint has one.
        lead: text between question and first step; None for what the format has.
        system: the system message before the question; None for what the format has.
        trl: whether TRL's PRMTrainer made the checkpoint, whose label 1 is the right step.
        warnings: settings that contradict the checkpoint.
    """

    mark: str | None = None
    separator: str | None = None
    good: str | None = None
    bad: str | None = None
    at: At | None = None
    calibration: Calibration | None = None
    lead: str | None = None
    system: str | None = None
    trl: bool = False
    warnings: tuple[str, ...] = ()

    def given(self) -> dict[str, str]:
        """The settings that are known."""
        return {name: getattr(self, name) for name in SETTINGS if getattr(self, name) is not None}


READ_AT_TOKENS = (
    RewardKind.VALUE_HEAD,
    RewardKind.QWEN_PRM,
    RewardKind.TOKEN_CLASSIFIER,
    RewardKind.PURE,
)
"""Kinds whose heads give a reading at every token."""
SETTINGS = ("mark", "separator", "good", "bad")
USED: Mapping[RewardKind, tuple[str, ...]] = {
    RewardKind.VALUE_HEAD: ("mark",),
    RewardKind.QWEN_PRM: ("mark", "good", "bad"),
    RewardKind.TOKEN_CLASSIFIER: ("separator", "good", "bad"),
    RewardKind.PURE: ("separator", "good", "bad"),
    RewardKind.PLUS_MINUS: ("mark", "good", "bad"),
    RewardKind.PLUS_MINUS_CHAT: ("good", "bad"),
    RewardKind.PLUS_MINUS_RAW: ("mark", "good", "bad"),
    RewardKind.OUTCOME: ("good", "bad"),
    RewardKind.REWARD_HEAD: (),
}
"""The settings that each kind reads; any other is an error."""
_DEFAULTS: Mapping[RewardKind, RewardSettings] = {
    RewardKind.QWEN_PRM: RewardSettings(mark=QWEN_MARK),
    RewardKind.PURE: RewardSettings(separator=PURE_SEPARATOR),
    RewardKind.PLUS_MINUS: RewardSettings(good=PLUS, bad=MINUS),
    RewardKind.PLUS_MINUS_CHAT: RewardSettings(good=PLUS, bad=MINUS),
    RewardKind.PLUS_MINUS_RAW: RewardSettings(mark=VERSA_MARK, good=PLUS, bad=MINUS),
}
_PUBLISHED: Mapping[str, RewardSettings] = {
    "math-psa": RewardSettings(mark=" \n\n\n\n\n", good=" +", bad=" -", lead=" "),
    "reasonflux-prm-7b": RewardSettings(system=""),
}
"""What belongs to a published model, by the last part of its name in lower case."""
_WANTED = {RewardKind.VALUE_HEAD: "mark", RewardKind.TOKEN_CLASSIFIER: "separator"}
"""What ends a step, of kinds whose checkpoints do not all agree on it."""
_ALIASES = {
    "mark": ("step_mark", "step_tag", "step_token"),
    "separator": ("step_separator",),
    "good": ("good_token", "good_label"),
    "bad": ("bad_token", "bad_label"),
}
"""Other keys of config.json that say it."""


def settle(
    kind: RewardKind, given: RewardSettings, config: Any, trained: Path | None, name: str
) -> RewardSettings:
    """All that is needed to read a reward model of a kind.

    Args:
        kind: of the reward model.
        given: by the user.
        config: its config.json.
        trained: its training_args.bin, if it has one.
        name: of the model, for messages.

    Raises:
        ConfigError: a setting that the kind does not read.
        ModelLoadError: nothing tells how steps are marked.
    """
    if unused := sorted(set(given.given()) - set(USED[kind])):
        flags = ", ".join(f"reward.{name} (--reward-{name})" for name in unused)
        raise ConfigError(
            f"{flags} has no effect on a {kind} reward model, which reads "
            f"{' and '.join(USED[kind]) or 'no setting'}: leave it out, or name another "
            "--reward-kind"
        )
    told = _of_config(config)
    separator = _of_trainer(trained)
    parts = _DEFAULTS.get(kind, RewardSettings()).given()
    published = _PUBLISHED.get(last_part(name).lower(), RewardSettings())
    parts |= {key: text for key, text in published.given().items() if key in USED[kind]}
    if kind is RewardKind.VALUE_HEAD and _is_skywork(config):
        parts["mark"] = SKYWORK_MARK
    if separator is not None:
        told = {"separator": separator} | told
    parts |= told | given.given()
    known: dict[str, Any] = {n: parts[n] for n in USED[kind] if parts.get(n) is not None}
    overruled = tuple(
        f"reward.{name} {text!r} is set, but the checkpoint tells {told[name]!r}: leave it out, "
        "unless the checkpoint is wrong"
        for name, text in given.given().items()
        if told.get(name, text) != text
    )
    at, calibration = _chunks(kind, given, config, name)
    settled = replace(
        RewardSettings(
            at=at,
            calibration=calibration,
            lead=published.lead,
            system=published.system,
            trl=separator is not None,
        ),
        warnings=overruled,
        **known,
    )
    wanted = _WANTED.get(kind)
    if wanted and getattr(settled, wanted) is None:
        raise ModelLoadError(_untold(wanted, name))
    return settled


def _chunks(
    kind: RewardKind, given: RewardSettings, config: Any, name: str
) -> tuple[At | None, Calibration | None]:
    """Where chunks are read, and the map of these readings to probabilities.

    Raises:
        ConfigError: the kind has no reading at every token.
        ModelLoadError: what config.json says is of no use.
    """
    if given.at in ("token", "lowest") and kind not in READ_AT_TOKENS:
        raise ConfigError(
            f"reward.at {given.at!r} (--reward-at) needs a reading at every token, which a {kind} "
            f"reward model has not: it belongs to {', '.join(READ_AT_TOKENS)}; leave it out"
        )
    section: Any = getattr(config, SECTION, None)
    stated: Any = cast("dict[str, Any]", section).get("chunks") if isinstance(section, dict) else {}
    try:
        at = parse_at(stated["at"]) if stated else None
        calibration = Calibration.of(stated["calibration"]) if stated else None
    except (KeyError, TypeError, ValueError) as error:
        raise ModelLoadError(
            f"{SECTION}.chunks in the config.json of {name!r} is of no use ({error!r}): it must "
            'have "at" and "calibration": {"readings": [...], "probabilities": [...]}'
        ) from error
    chosen = at if given.at == "auto" else given.at
    return chosen, calibration if chosen == at else None


def _of_config(config: Any) -> dict[str, str]:
    """What config.json says."""
    section: Any = getattr(config, SECTION, None)
    stated = cast("dict[str, Any]", section) if isinstance(section, dict) else {}
    for setting, keys in _ALIASES.items():
        for key in keys:
            if getattr(config, key, None) is not None:
                stated = {setting: getattr(config, key), **stated}
    return {name: str(stated[name]) for name in SETTINGS if stated.get(name) is not None}


def _of_trainer(path: Path | None) -> str | None:
    r"""The `step_separator` in the training_args.bin that TRL's PRMTrainer leaves.

    The file is a pickle, of which only the names and strings are looked at: nothing in it is run.
    """
    if path is None or not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
        data = archive.read(pickles[0]) if pickles else b"."
    strings: list[str] = []
    memo: dict[int, str] = {}
    by_trl = False
    for op, argument, _ in pickletools.genops(data):
        if op.name in ("GLOBAL", "STACK_GLOBAL"):
            by_trl |= "PRMConfig" in str(argument) or "PRMConfig" in strings[-2:]
        elif "UNICODE" in op.name:
            strings.append(str(argument))
        elif op.name in ("BINPUT", "LONG_BINPUT", "PUT") and strings:
            memo[int(cast(Any, argument))] = strings[-1]
        elif op.name in ("BINGET", "LONG_BINGET", "GET"):
            strings.append(memo.get(int(cast(Any, argument)), ""))
    if not by_trl or "step_separator" not in strings[:-1]:
        return None
    return strings[strings.index("step_separator") + 1]


def _is_skywork(config: Any) -> bool:
    return any(str(a).endswith("ForPrmModel") for a in config.architectures or ())


def _untold(setting: str, name: str) -> str:
    usual = {
        "mark": r"'\n' for models trained as Skywork-o1-Open-PRM was",
        "separator": r"'\n' is TRL's default, '\n\n' is frequent",
    }
    return (
        f"neither the config.json of {name!r} nor a training_args.bin beside it says which text "
        f"ended each step in its training: give it with --reward-{setting} (reward.{setting}; "
        f"{usual[setting]}), or write {SECTION!r}: {{{setting!r}: ...}} into config.json"
    )
