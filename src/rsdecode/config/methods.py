"""Builds a decoding method from its name and a configuration."""

from __future__ import annotations

from rsdecode.config.method_names import MethodName
from rsdecode.config.resolve import DEFAULT_ALPHA, settled
from rsdecode.config.schema import RunConfig, SamplingConfig
from rsdecode.config.specs import GATES, SpecKind, parse_reward_spec
from rsdecode.config.thinking import ThinkingConfig
from rsdecode.config.weighting import load_weighting
from rsdecode.core.budget import Budget
from rsdecode.core.errors import ConfigError, RsdError
from rsdecode.core.limits import Limits
from rsdecode.core.protocols import MayNotAssess, MayNotContinue, Models, ReadsDraft
from rsdecode.core.requests import Sampling
from rsdecode.core.segment import parse_boundary
from rsdecode.core.types import Role
from rsdecode.core.weighting import BinaryStep, Clipping, Constant, Logistic, Sigmoidal, Weighting
from rsdecode.methods import (
    GSI,
    RSD,
    Beam,
    BestOfN,
    Majority,
    Method,
    ProcessBestOfN,
    Single,
    Speculative,
    require,
)
from rsdecode.methods.fallback import GUESS_TOKENS, Fallback
from rsdecode.methods.thinking import Thinking

STEPWISE = (RSD, GSI, Beam, ProcessBestOfN)
"""Methods that have models continue answers."""
SCORES_OTHERS = (BestOfN,)
"""Methods that have steps scored which are not as the draft wrote them."""


def build_named_method(name: str, config: RunConfig) -> Method:
    """The method that `name` stands for, whatever the configuration's own method is.

    What the name leaves open is taken from the configuration (see `resolve.settled`).

    Raises:
        ConfigError: the name is not known, or settings contradict each other.
    """
    config = settled(config.model_copy(update={"method": name}))
    try:
        return _build(config.method_name, config)
    except RsdError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


def check_models(config: RunConfig, method: Method, models: Models) -> None:
    """Check that the models are all there and go together.

    Raises:
        ConfigError: they do not; names the specs.
    """
    try:
        require(method, models)
    except ConfigError as error:
        raise ConfigError(f"draft {config.draft}, target {config.target}: {error}") from error
    if Role.REWARD in method.roles:
        _check_reward(config, method, models)
    if isinstance(method, STEPWISE):
        for role in sorted(method.roles - {Role.REWARD}):
            model = models.language_model(role)
            if isinstance(model, MayNotContinue):
                _check_steps(role, model)


def _check_reward(config: RunConfig, method: Method, models: Models) -> None:
    """Check that draft and target can give the reward that is read off them.

    Raises:
        ConfigError: they cannot, or the method has steps scored that the draft did not write.
    """
    reward, spec = models.reward, parse_reward_spec(config.reward.spec)
    if isinstance(reward, ReadsDraft) and reward.reads_draft and isinstance(method, SCORES_OTHERS):
        raise ConfigError(
            f"{spec} knows only steps as the draft wrote them, but {type(method).__name__} has "
            "others scored: use rsd, process-best-of-N or beam@N, or another reward"
        )
    gate = config.thinking.gate
    for part in (*spec.parts, *(() if gate is None else parse_reward_spec(gate).parts)):
        model = models.draft if part.kind is SpecKind.CONFIDENCE else models.target
        if part.kind in GATES and isinstance(model, MayNotAssess):
            with_logprobs = part.kind is SpecKind.CONFIDENCE
            check = model.check_logprobs if with_logprobs else model.check_assesses
            try:
                check()
            except ConfigError as error:
                raise ConfigError(f"reward {part}: {error}") from error


def _check_steps(role: Role, model: MayNotContinue) -> None:
    try:
        model.check_steps()
    except ConfigError as error:
        raise ConfigError(f"{role}: {error}") from error


def _build(name: MethodName, config: RunConfig) -> Method:
    """The method of a settled configuration."""
    boundary, limits = parse_boundary(config.boundary), Limits(**config.limits.model_dump())
    draft, target = _sampling(config.sampling.draft), _sampling(config.sampling.target)
    aggregation = str(name.options.get("aggregation"))
    thinking = _thinking(name, config)
    match name.kind:
        case "rsd":
            threshold = config.weighting.threshold
            return RSD(
                weighting=_weighting(config),
                budget=None if config.budget is None else Budget(config.budget, threshold),
                candidates=config.candidates,
                lookahead=config.lookahead,
                fallback=_fallback(config),
                boundary=boundary,
                limits=limits,
                draft_sampling=draft,
                target_sampling=target,
                thinking=thinking,
            )
        case "majority":
            return Majority(name.count, boundary, limits, draft, config.answer.marks, thinking)
        case "best-of":
            return BestOfN(name.count, aggregation, boundary, limits, draft, thinking)
        case "process-best-of":
            return ProcessBestOfN(name.count, boundary, limits, draft, thinking)
        case "beam":
            expansions = int(name.options["expansions"])
            return Beam(name.count, expansions, aggregation, boundary, limits, draft, thinking)
        case "gsi":
            beta, threshold = float(name.options["beta"]), float(name.options["threshold"])
            return GSI(name.count, beta, threshold, boundary, limits, draft, target, thinking)
        case "speculative":
            return Speculative(name.count, boundary, limits, target, thinking)
        case _:
            role = Role(name.kind)
            sampling = draft if role is Role.DRAFT else target
            return Single(role, boundary, limits, sampling, thinking)


def _fallback(config: RunConfig) -> Fallback:
    return Fallback(config.fallback, config.guess_tokens or GUESS_TOKENS)


def _thinking(name: MethodName, config: RunConfig) -> Thinking | None:
    """What is done with thoughts; nothing where all writers are of the family, which has none."""
    writers = name.roles - {Role.REWARD}
    if config.thinking == ThinkingConfig() and len(config.family_writers) == len(writers):
        return None
    reward = parse_reward_spec(config.reward.spec)
    target = name.kind in ("rsd", "gsi")
    return config.thinking.policy(config.answer.marks, reward, target=target)


def _weighting(config: RunConfig) -> Weighting:
    """The weighting function.

    Raises:
        ConfigError: a Python function cannot be imported.
    """
    options = config.weighting
    match options.kind:
        case "step":
            return BinaryStep(options.threshold)
        case "constant":
            return Constant(options.p if options.p is not None else 1.0)
        case "clipping":
            return Clipping()
        case "sigmoidal":
            return Sigmoidal()
        case "logistic":
            return Logistic(options.alpha or DEFAULT_ALPHA, options.threshold)
        case _:
            return load_weighting(options.kind)


def _sampling(config: SamplingConfig) -> Sampling:
    return Sampling(config.temperature, config.top_p, config.top_k)
