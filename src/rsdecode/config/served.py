"""Models behind servers that run already: `http(s)://HOST:PORT/v1#NAME`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rsdecode.config.schema import RunConfig
from rsdecode.config.specs import ModelSpec, is_hub_id
from rsdecode.core.errors import ConfigError, ModelLoadError
from rsdecode.core.segment import parse_boundary
from rsdecode.core.types import Role

if TYPE_CHECKING:
    from rsdecode.backends.openai_http import ServedModel
    from rsdecode.backends.openai_http.transport import Transport
    from rsdecode.core.cost import ModelShape
    from rsdecode.core.protocols import RewardModel
    from rsdecode.rewards.settings import RewardSettings


def served_language_model(
    spec: str | ModelSpec,
    role: Role,
    config: RunConfig,
    tokenizer: str | None = None,
    *,
    own: bool = False,
) -> ServedModel:
    """The language model at an address.

    Args:
        spec: its URL, or URLs, and its name.
        role: whose API key and tokenizer are used; the reward's for a judge.
        config: patience, concurrency and the plain prompt.
        tokenizer: folder or hub id; by default the role's of the configuration, or the served name
            where that is a folder here.
        own: whether rsd started the server, which is sent no key.

    Raises:
        ConfigError: the address is none, or a library is missing.
        ModelLoadError: the tokenizer cannot be loaded.
    """
    from rsdecode.backends.openai_http import ServedModel
    from rsdecode.backends.openai_http.rendering import tokenizer_of

    transport = _transport(spec, role, config, own=own)
    name = transport.address.name
    place = tokenizer or tokenizer_place(role, config) or (name if os.path.isdir(name) else None)
    options: dict[str, Any] = {"template": config.template_arguments}
    if config.prompt.plain is not None:
        options["plain_prompt"] = config.prompt.plain
    if place is not None:
        place = os.path.expanduser(place)
        options |= {"tokenizer": tokenizer_of(place), "shape": shape_of(place)}
    return ServedModel(transport, **options)


def served_reward_model(
    spec: str | ModelSpec, config: RunConfig, tokenizer: str | None = None, *, own: bool = False
) -> RewardModel:
    """The reward model at an address of a vLLM server (see `rewards.served`).

    Args:
        spec: its URL, or URLs, and its name.
        config: patience, concurrency and the kind of the reward head.
        tokenizer: folder or hub id with tokenizer and config.json; by default the configuration's,
            or the served name where that is a folder or a hub id.
        own: whether rsd started the server, which is sent no key.

    Raises:
        ConfigError: the address is none, no tokenizer is known, or a library is missing.
        ModelLoadError: the tokenizer cannot be loaded, or the kind of head not be told.
    """
    from rsdecode.rewards.served import load_served_reward

    transport = _transport(spec, Role.REWARD, config, own=own)
    name = transport.address.name
    named = name if os.path.isdir(name) or is_hub_id(name) else None
    place = tokenizer or config.reward.tokenizer or named
    if place is None:
        raise ConfigError(
            f"the reward model {name!r} needs its tokenizer here: give its folder or hub id with "
            "--reward-tokenizer"
        )
    place = os.path.expanduser(place)
    kind, limit = config.reward.kind, config.engine.max_context
    return load_served_reward(transport, place, kind, limit, reward_settings(config))


def reward_settings(config: RunConfig) -> RewardSettings:
    """What the configuration says of the reward model's format."""
    from rsdecode.rewards.settings import RewardSettings

    reward = config.reward
    at = reward.at or ("auto" if parse_boundary(config.boundary).tokens else None)
    return RewardSettings(reward.mark, reward.separator, reward.good, reward.bad, at)


def tokenizer_place(role: Role, config: RunConfig) -> str | None:
    """Where the configuration says that a role's tokenizer is."""
    places = {Role.DRAFT: config.draft_tokenizer, Role.TARGET: config.target_tokenizer}
    return places.get(role, config.reward.tokenizer)


def shape_of(place: str) -> ModelShape | None:
    """The sizes in a config.json beside a tokenizer; None where there is none, or no torch."""
    from rsdecode.text.pretrained import read_config

    try:
        from transformers import AutoModelForCausalLM

        from rsdecode.backends.transformers.load import declared_shape

        return declared_shape(AutoModelForCausalLM, read_config(place))
    except (ImportError, ModelLoadError, ValueError):
        return None


def _transport(
    spec: str | ModelSpec, role: Role, config: RunConfig, *, own: bool = False
) -> Transport:
    from rsdecode.backends.openai_http import HttpSettings, Transport, api_key, parse_address

    settings = HttpSettings(**config.http.model_dump())
    address = parse_address(str(spec))
    return Transport(address, settings, None if own else api_key(role, address))
