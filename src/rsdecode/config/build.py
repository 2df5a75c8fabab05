"""Builds the runtime of a `RunConfig`: the models and the decoding method."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rsdecode.config.before_loading import (
    check_model,
    check_reward,
    check_threads,
    gguf_file,
    model_place,
)
from rsdecode.config.methods import build_named_method, check_models
from rsdecode.config.schema import RunConfig
from rsdecode.config.served import reward_settings
from rsdecode.config.specs import (
    GATES,
    ModelSpec,
    SpecKind,
    parse_model_spec,
    parse_reward_spec,
)
from rsdecode.core.errors import ConfigError, RsdError
from rsdecode.core.protocols import Closeable, LanguageModel, Models, RewardModel
from rsdecode.core.types import Message, Problem, Role
from rsdecode.methods import Method

if TYPE_CHECKING:
    from rsdecode.backends.transformers.load import LoadOptions
    from rsdecode.backends.vllm_server import Watcher
    from rsdecode.config.vllm import VllmServers

EXTRAS = {
    "gguf": "gguf",
    "accelerate": "gguf",
    "xllamacpp": "llamacpp",
    "httpx2": "http",
    "tenacity": "http",
    "torch": "local",
    "transformers": "local",
    "safetensors": "local",
    "peft": "peft",
}
"""Which extra of the package brings a library."""


def build_method(config: RunConfig) -> Method:
    """The decoding method.

    Raises:
        ConfigError: the settings contradict each other.
    """
    return build_named_method(config.method, config)


def build_problem(
    config: RunConfig,
    question: str,
    *,
    id: str = "0",
    answer: str | None = None,
    before: Sequence[Message] = (),
) -> Problem:
    """A question with the configured system message.

    Args:
        config: of the run.
        question: its text.
        id: of the problem.
        answer: the reference.
        before: what was said before it; a system message at its start takes the place of ours.
    """
    system = config.system_prompt
    first = bool(system) and not (before and before[0].role == "system")
    head = [Message("system", system)] if system and first else []
    return Problem(id, (*head, *before, Message("user", question)), answer)


def build_models(
    config: RunConfig, methods: Sequence[Method] | None = None, watcher: Watcher | None = None
) -> Models:
    """Load the models that methods need, each spec once; the caller closes them.

    Args:
        config: what to load.
        methods: that share the models; the configuration's own by default.
        watcher: is told what servers do that are started.

    Raises:
        ConfigError: a spec names nothing that can be built here, or the models do not go together.
        ModelLoadError: a model cannot be loaded. What was loaded before it is closed.
    """
    methods = [build_method(config)] if methods is None else methods
    roles = config.with_gates(role for method in methods for role in method.roles)
    builder = ModelBuilder(config, roles, watcher)
    builder.check()
    try:
        models = Models(
            draft=builder.writer(Role.DRAFT) if Role.DRAFT in roles else None,
            target=builder.writer(Role.TARGET) if Role.TARGET in roles else None,
            reward=builder.reward() if Role.REWARD in roles else None,
        )
        for method in methods:
            check_models(config, method, models)
    except BaseException:
        builder.close()
        raise
    return models


class ModelBuilder:
    """Loads the models of a configuration one by one; two roles with one spec share a model.

    Args:
        config: names the models.
        roles: those that will be asked for; None for those of the configured method.
        watcher: is told what servers do that are started.
        given: drafts and targets that are there already, for rewards that read them.

    Raises:
        ConfigError: this machine has fewer cores than threads are asked for.
    """

    def __init__(
        self,
        config: RunConfig,
        roles: Iterable[Role] | None = None,
        watcher: Watcher | None = None,
        given: Mapping[Role, LanguageModel] | None = None,
    ) -> None:
        check_threads(config)
        self._config = config
        self._roles = config.models_needed if roles is None else config.with_gates(roles)
        self._watcher = watcher
        self._given = dict(given or {})
        self._started: VllmServers | None = None
        self._writers: dict[ModelSpec, LanguageModel] = {}
        self._reward: RewardModel | None = None

    def check(self) -> None:
        """Tell what is wrong with any of the models before the first is loaded.

        Raises:
            ConfigError: files, functions or settings are missing.
            ModelLoadError: the family's weights are missing.
        """
        for role in filter(self._roles.__contains__, Role):
            if role is Role.REWARD:
                with _named(role, self._config.reward.spec):
                    check_reward(self._config)
            elif role not in self._given:
                with _named(role, self._spec(role)):
                    check_model(parse_model_spec(self._spec(role)))

    def writer(self, role: Role) -> LanguageModel:
        """The draft or the target."""
        spec = self._spec(role)
        with _named(role, spec):
            return self._language_model(parse_model_spec(spec), role)

    def reward(self) -> RewardModel:
        """The reward model."""
        if self._reward is None:
            spec = self._config.reward.spec
            with _named(Role.REWARD, spec):
                check_reward(self._config)
                reward = self._calibrated(self._reward_model(parse_reward_spec(spec)))
                self._reward = self._with_gate_of_thoughts(reward)
        return self._reward

    def _with_gate_of_thoughts(self, model: RewardModel) -> RewardModel:
        """The reward model, and beside it the one that judges thoughts, if there is such."""
        gate = self._config.thinking.gate
        if gate is None:
            return model
        from rsdecode.rewards.parted import PartedReward

        return PartedReward(model, self._reward_model(parse_reward_spec(gate)))

    def _calibrated(self, model: RewardModel) -> RewardModel:
        """The reward model, with its calibration if it has one."""
        path = self._config.reward.calibration
        if path is None:
            return model
        from rsdecode.rewards.calibrated import CalibratedReward, read_calibration

        return CalibratedReward(model, read_calibration(path, self._config.reward.spec))

    def close(self) -> None:
        """Close everything that was loaded."""
        for model in (self._reward, *self._writers.values()):
            if isinstance(model, Closeable):
                model.close()
        if self._started is not None:
            self._started.close()

    @property
    def _servers(self) -> VllmServers:
        """The vLLM servers of the run; none is started before a model behind one is built."""
        from rsdecode.config.vllm import VllmServers

        if self._started is None:
            self._started = VllmServers(self._config, self._roles, self._watcher)
        return self._started

    def _spec(self, role: Role) -> str:
        return self._config.draft if role is Role.DRAFT else self._config.target

    def _language_model(self, spec: ModelSpec, role: Role) -> LanguageModel:
        if spec not in self._writers:
            self._writers[spec] = self._load_language_model(spec, role)
        return self._writers[spec]

    def _load_language_model(self, spec: ModelSpec, role: Role) -> LanguageModel:
        if spec.kind is SpecKind.SCRIPTED:
            from rsdecode.backends.scripted import load_script

            return load_script(spec.target)[0]
        if spec.kind is SpecKind.HTTP:
            from rsdecode.config.served import served_language_model

            return served_language_model(spec, role, self._config)
        if spec.kind is SpecKind.VLLM:
            return self._servers.language_model(spec, role)
        if spec.kind is SpecKind.GGUF and not self._config.llamacpp.dequantise:
            from rsdecode.config.llama_cpp import language_model

            file = gguf_file(spec)
            return language_model(file, self._config, self._uses(spec), self._watcher)
        from rsdecode.backends.transformers.model import load_model

        options = self._options(self._uses(spec))
        if self._config.writers_are_abacus:  # they have no switches, as `warnings_of` says
            options = dataclasses.replace(options, template=self._config.prompt.template)
        if spec.kind is SpecKind.GGUF:
            file = gguf_file(spec)
            for library in ("gguf", "accelerate"):  # which transformers reads the file with
                importlib.import_module(library)
            return load_model(str(file.parent), options, gguf_file=file.name)
        return load_model(model_place(spec), options)

    def _reward_model(self, spec: ModelSpec) -> RewardModel:
        if spec.kind in GATES:
            return self._gate(spec)
        match spec.kind:
            case SpecKind.CASCADE:
                return self._cascade(spec)
            case SpecKind.VERIFIER:
                from rsdecode.rewards.verifier import VerifierReward
                from rsdecode.rewards.verifier_form import form_named

                model, _, samples, temperature, tokens = asked = spec.verifier
                return VerifierReward(
                    self._language_model(model, Role.REWARD),
                    form_named(asked.asked),
                    samples=samples or 1,
                    temperature=temperature,
                    tokens=tokens,
                )
            case SpecKind.IMPLICIT:
                from rsdecode.rewards.implicit import ImplicitReward

                model, reference, beta, whole = spec.implicit
                pair = (self._language_model(part, Role.REWARD) for part in (model, reference))
                return ImplicitReward(*pair, beta=beta, whole=whole)
            case SpecKind.SCRIPTED:
                from rsdecode.backends.scripted import load_script

                return load_script(spec.target)[1]
            case SpecKind.ARITHMETIC:
                from rsdecode.rewards.arithmetic import ArithmeticReward

                return ArithmeticReward()
            case SpecKind.PYTHON:
                from rsdecode.rewards.function import FunctionReward

                return FunctionReward(spec.target)
            case SpecKind.JUDGE:
                return self._judge(spec)
            case SpecKind.HTTP:
                from rsdecode.config.served import served_reward_model

                return served_reward_model(spec, self._config)
            case SpecKind.VLLM:
                return self._servers.reward_model(spec)
            case SpecKind.GGUF:
                from rsdecode.config.llama_cpp import reward_model

                file = gguf_file(spec)
                return reward_model(file, self._config, self._watcher)
            case _:
                from rsdecode.rewards.load import load_reward_model

                kind, settings = self._config.reward.kind, reward_settings(self._config)
                return load_reward_model(model_place(spec), self._options(), kind, settings)

    def _gate(self, spec: ModelSpec) -> RewardModel:
        from rsdecode.rewards import gates

        reads, options = spec.gate
        named = parse_model_spec(self._spec(reads))
        model = self._given.get(reads) or self._language_model(named, reads)
        how: Any = options.get("how", "mean")
        pooling = gates.Pooling(how, float(options.get("length", 1.0)))
        match spec.kind:
            case SpecKind.LIKELIHOOD:
                temperature = float(options.get("temperature", 1.0))
                return gates.LikelihoodReward(model, pooling, temperature)
            case SpecKind.CONFIDENCE:
                return gates.ConfidenceReward(model, pooling)
            case _:
                return gates.AgreementReward(model, int(options.get("tokens", 0)))

    def _cascade(self, spec: ModelSpec) -> RewardModel:
        from rsdecode.rewards.gates import CascadeReward

        bounds = self._config.reward.bounds
        assert bounds is not None  # see `check_reward`
        first, second = (self._reward_model(part) for part in spec.parts)
        return CascadeReward(first, second, *bounds)

    def _judge(self, spec: ModelSpec) -> RewardModel:
        from rsdecode.rewards.judge import JudgeReward

        return JudgeReward(self._language_model(spec.judge, Role.REWARD))

    def _uses(self, spec: ModelSpec) -> int:
        """How many roles a language model plays."""
        config = self._config
        specs = [parse_model_spec(config.draft), parse_model_spec(config.target)]
        parts = parse_reward_spec(config.reward.spec).parts
        specs += [grader for part in parts for grader in part.graders]
        return max(1, specs.count(spec))

    def _options(self, uses: int = 1) -> LoadOptions:
        """Each role that a model plays has a sequence of its own for every problem."""
        from rsdecode.backends.transformers.load import LoadOptions

        engine, plain = self._config.engine, self._config.prompt.plain
        options = LoadOptions(
            device=engine.device,
            dtype=engine.dtype,
            slots=engine.slots * uses,
            max_context=engine.max_context,
            threads=engine.threads,
            cuda_graphs=engine.cuda_graphs,
            template=self._config.template_arguments,
        )
        if plain is None:
            return options
        return dataclasses.replace(options, plain_prompt=plain)


@contextmanager
def _named(role: Role, spec: str) -> Generator[None]:
    """Say which role and spec an error is about, and how to get a library that is missing."""
    try:
        yield
    except ImportError as error:
        library = (error.name or "").partition(".")[0]
        if library not in EXTRAS:
            if spec.startswith("python:"):
                raise ConfigError(f"{role}: {spec} cannot be imported: {error}") from error
            raise
        raise ConfigError(
            f"{role} {spec} needs {library}, which is not installed: "
            f"pip install 'rsdecode[{EXTRAS[library]}]'"
        ) from error
    except RsdError as error:
        if str(error).startswith(tuple(f"{role}: " for role in Role)):
            raise  # the plan of all servers knows better whose they are
        raise type(error)(f"{role}: {error}") from error
