from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rsdecode.backends.llama_cpp import LlamaCppOptions
from rsdecode.config import RunConfig, load_config
from rsdecode.config.build import ModelBuilder, build_method, build_models, build_problem
from rsdecode.core.budget import Budget
from rsdecode.core.errors import ConfigError, ModelLoadError, OutOfMemory, RsdError
from rsdecode.core.protocols import LanguageModel, RewardModel
from rsdecode.core.types import Message, Role
from rsdecode.core.weighting import BinaryStep, Clipping, Constant, Logistic, Sigmoidal
from rsdecode.methods import RSD, Single
from rsdecode.methods.fallback import Fallback


def config(**overrides: Any) -> RunConfig:
    return load_config(overrides={k.replace("__", "."): v for k, v in overrides.items()})


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"generate": {"*": ["Done."]}, "score": {"*": [0.5]}}))
    return f"scripted:{path}"


class Closing:
    """Stands for a loaded model."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = 0

    async def generate(self, requests: Any) -> list[Any]:
        return []

    async def choose(self, requests: Any) -> list[Any]:
        return []

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Closing, dict[str, Any]]]:
    """Replaces the local loader: a folder called "broken" cannot be loaded."""
    models: list[tuple[Closing, dict[str, Any]]] = []

    def load_model(path: str, options: Any, *, gguf_file: str | None = None) -> Closing:
        if path.endswith("broken"):
            raise ModelLoadError(f"cannot load {path!r}")
        if path.endswith("huge"):
            raise OutOfMemory(f"{path!r} does not fit")
        model = Closing(path)
        models.append((model, {"options": options, "gguf_file": gguf_file}))
        return model

    module = ModuleType("rsdecode.backends.transformers.model")
    module.load_model = load_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return models


def test_rsd_takes_over_every_setting() -> None:
    method = build_method(
        config(
            candidates=3,
            boundary="newline",
            limits__max_steps=4,
            limits__max_step_tokens=5,
            limits__max_tokens=6,
            sampling__draft__temperature=0.5,
            sampling__target__top_k=7,
            budget=0.25,
            weighting__threshold=0.6,
        )
    )
    assert isinstance(method, RSD)
    limits = method.limits
    assert (limits.max_steps, limits.max_step_tokens, limits.max_tokens) == (4, 5, 6)
    assert method.boundary.stops == ("\n",)
    assert (method.draft_sampling.temperature, method.target_sampling.temperature) == (0.5, 0.0)
    assert (method.draft_sampling.top_k, method.target_sampling.top_k) == (0, 7)
    assert method.candidates == 3
    assert method.budget == Budget(0.25, 0.6)


def test_the_fallback_reaches_the_method_or_is_refused() -> None:
    for settings, fallback in (
        ({}, Fallback("decode")),
        ({"fallback": "verify"}, Fallback("verify")),
        ({"fallback": "speculate"}, Fallback("speculate")),
        ({"fallback": "speculate", "guess_tokens": 3}, Fallback("speculate", 3)),
    ):
        method = build_method(config(**settings))
        assert isinstance(method, RSD)
        assert method.fallback == fallback
    with pytest.raises(ConfigError, match="guess_tokens has no effect on fallback verify"):
        config(fallback="verify", guess_tokens=3)


def test_lookahead_reaches_the_method_or_is_refused() -> None:
    method = build_method(config(lookahead=1))
    assert isinstance(method, RSD)
    assert method.lookahead == 1
    with pytest.raises(ConfigError, match="conflicts with 2 candidates"):
        build_method(config(lookahead=1, candidates=2, sampling__draft__temperature=0.5))


@pytest.mark.parametrize("role", ["draft", "target"])
def test_single_methods_need_one_model(role: str) -> None:
    temperature = {f"sampling__{role}__temperature": 0.9}
    method = build_method(config(method=role, **temperature))
    assert isinstance(method, Single)
    assert method.roles == {Role(role)}
    assert method.sampling.temperature == 0.9


@pytest.mark.parametrize(
    ("kind", "parameters", "expected"),
    [
        ("step", {"threshold": 0.4}, BinaryStep(0.4)),
        ("constant", {"p": 0.2}, Constant(0.2)),
        ("clipping", {}, Clipping()),
        ("sigmoidal", {}, Sigmoidal()),
        ("logistic", {"threshold": 0.4}, Logistic(10.0, 0.4)),
        ("logistic", {"alpha": 2.5}, Logistic(2.5, 0.7)),
    ],
)
def test_weightings(kind: str, parameters: dict[str, float], expected: object) -> None:
    settings = {f"weighting__{name}": value for name, value in parameters.items()}
    method = build_method(config(weighting__kind=kind, **settings))
    assert isinstance(method, RSD)
    assert method.weighting == expected


def test_problems_carry_the_system_prompt() -> None:
    family = build_problem(config(), "2 + 2?", id="7", answer="4")
    assert (family.id, family.question, family.answer) == ("7", "2 + 2?", "4")
    assert [message.role for message in family.messages] == ["user"]
    other = build_problem(config(draft="hf:a/b"), "2 + 2?")
    assert [message.role for message in other.messages] == ["system", "user"]


def test_scripted_models(script: str) -> None:
    models = build_models(config(draft=script, target=script, reward__spec=script))
    assert isinstance(models.draft, LanguageModel)
    assert isinstance(models.reward, RewardModel)
    assert models.draft is models.target


def test_only_the_roles_of_the_method_are_built(script: str) -> None:
    models = build_models(config(method="target", target=script, draft="hf:/nowhere/at/all"))
    assert models.draft is None
    assert models.reward is None
    assert models.target is not None


def test_local_models_get_the_engines_options(
    loaded: list[tuple[Closing, dict[str, Any]]], tmp_path: Path
) -> None:
    gguf = tmp_path / "m.gguf"
    gguf.touch()
    models = build_models(
        config(
            method="draft",
            draft=f"gguf:{gguf}",
            llamacpp__dequantise=True,
            engine__slots=3,
            engine__dtype="bfloat16",
            engine__max_context=99,
            prompt__plain="Q: {question}",
        )
    )
    [(model, given)] = loaded
    assert models.draft is model
    assert (model.name, given["gguf_file"]) == (str(tmp_path), "m.gguf")
    options = given["options"]
    assert (options.slots, options.dtype, options.max_context) == (3, "bfloat16", 99)
    assert options.plain_prompt == "Q: {question}"


def test_gguf_files_run_on_llama_cpp_and_roles_share_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[LlamaCppOptions] = []

    def load(path: Path, options: LlamaCppOptions, watcher: object) -> Closing:
        assert path == gguf
        started.append(options)
        return Closing("native")

    gguf = tmp_path / "m.gguf"
    gguf.touch()
    monkeypatch.setattr("rsdecode.config.llama_cpp.load_llama_cpp", load)
    spec = f"gguf:{gguf}"
    builder = ModelBuilder(
        config(
            draft=spec,
            target=spec,
            reward__spec=f"judge:{spec}",
            llamacpp__slots=2,
            llamacpp__threads=1,
            engine__max_context=99,
            engine__device="cpu",
        )
    )
    assert builder.writer(Role.DRAFT) is builder.writer(Role.TARGET)
    builder.reward()
    [options] = started
    assert (options.slots, options.threads, options.max_context) == (6, 1, 99)
    assert options.gpu_layers == 0


def test_gguf_without_llama_cpp_names_the_extra_and_the_other_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gguf = tmp_path / "m.gguf"
    gguf.touch()
    monkeypatch.setattr("rsdecode.backends.llama_cpp.serve.BINDING", "no_such_binding")
    with pytest.raises(ConfigError, match=r"rsdecode\[llamacpp\].*--dequantise"):
        build_models(config(method="draft", draft=f"gguf:{gguf}"))


def test_one_spec_is_loaded_once(loaded: list[tuple[Closing, dict[str, Any]]]) -> None:
    builder = ModelBuilder(config(draft="hf:a/b", target="hf:a/b"))
    assert builder.writer(Role.DRAFT) is builder.writer(Role.TARGET)
    assert len(loaded) == 1
    builder.close()
    assert loaded[0][0].closed == 1


def test_a_judge_shares_the_targets_weights(
    loaded: list[tuple[Closing, dict[str, Any]]], script: str
) -> None:
    models = build_models(
        config(draft=script, target="hf:a/b", reward__spec="judge:hf:a/b", engine__slots=3)
    )
    assert len(loaded) == 1
    assert loaded[0][1]["options"].slots == 6  # a sequence for each problem in each role
    assert models.reward is not None
    models.close()
    assert loaded[0][0].closed >= 1


def test_a_judge_must_give_probabilities(script: str) -> None:
    with pytest.raises(ConfigError, match="probabilities"):
        build_models(config(draft=script, target=script, reward__spec=f"judge:{script}"))


def test_a_later_failure_closes_what_was_loaded(
    loaded: list[tuple[Closing, dict[str, Any]]], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    with pytest.raises(ModelLoadError, match="target: cannot load"):
        build_models(config(draft="hf:a/b", target=f"hf:{broken}", reward__spec="arithmetic"))
    assert [model.closed for model, _ in loaded] == [1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reward.spec": "cascade:agreement,arithmetic"}, "needs its bounds: --reward-bounds"),
        ({"reward.spec": "python:no_such_module:f"}, "there is no module 'no_such_module'"),
        ({"reward.spec": "python:json:no_such"}, "has no function 'no_such'"),
        ({"thinking.gate": "python:json:no_such"}, "has no function 'no_such'"),
        ({"reward.calibration": "no.json"}, "'no.json': cannot be read: No such file"),
        ({"reward.spec": "judge:hf:./no/folder"}, "reward: hf:./no/folder: there is no such"),
    ],
)
def test_what_no_model_is_needed_for_is_told_before_any_is_loaded(
    loaded: list[tuple[Closing, dict[str, Any]]], settings: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=r"^reward: ") as raised:
        build_models(load_config(overrides={"draft": "hf:a/b", "target": "hf:a/c", **settings}))
    assert message in str(raised.value)
    with pytest.raises(ConfigError, match=r"^target: hf:./no/folder"):
        build_models(load_config(overrides={"draft": "hf:a/b", "target": "hf:./no/folder"}))
    assert loaded == []


def test_out_of_memory_keeps_its_type_and_names_the_role(
    loaded: list[tuple[Closing, dict[str, Any]]],
) -> None:
    with pytest.raises(OutOfMemory, match="draft: 'a/huge' does not fit"):
        build_models(config(method="draft", draft="hf:a/huge"))


def test_the_family_without_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Path:
        raise FileNotFoundError("no weights: reinstall rsdecode")

    monkeypatch.setattr("rsdecode.models.abacus.model_path", missing)
    with pytest.raises(ModelLoadError, match="draft: no weights: reinstall"):
        build_models(config())


@pytest.mark.parametrize("role", ["draft", "target", "reward__spec"])
def test_a_model_to_be_served_that_is_nowhere_is_named_with_its_role(role: str) -> None:
    with pytest.raises(RsdError, match=rf"^{role.partition('__')[0]}: .*'a/b'"):
        build_models(config(**{role: "vllm:a/b"}))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hf:/nowhere/model", "no such folder"),
        ("hf:./nowhere", "no such folder"),
        ("hf:a/b/c", "no such folder"),
        ("gguf:/nowhere.gguf", "no such file"),
        ("gguf:/", "is not a file"),
        ("scripted:/nowhere.json", "no such file"),
    ],
)
def test_missing_places(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"draft: .*{message}"):
        build_models(config(method="draft", draft=spec))


@pytest.mark.parametrize(
    ("library", "extra"), [("torch", "local"), ("transformers", "local"), ("gguf", "gguf")]
)
def test_a_missing_library_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str, extra: str
) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "rsdecode" and name.endswith("transformers.model"):
            raise ModuleNotFoundError(f"No module named {library!r}", name=library)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError) as error:
        build_models(config(method="draft", draft="hf:a/b"))
    assert f"pip install 'rsdecode[{extra}]'" in str(error.value)


def test_a_system_message_of_the_questions_own_takes_the_place_of_ours() -> None:
    ours = config(prompt__system="ours")
    said = (Message("user", "a"), Message("assistant", "b"))
    own = (Message("system", "own"), *said)
    question = Message("user", "q")
    assert build_problem(ours, "q").messages == (Message("system", "ours"), question)
    assert build_problem(ours, "q", before=said).messages == (
        Message("system", "ours"),
        *said,
        question,
    )
    assert build_problem(ours, "q", before=own).messages == (*own, question)
