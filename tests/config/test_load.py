from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rsdecode.config import RunConfig, load_config
from rsdecode.config.resolve import settled
from rsdecode.config.schema import STEP_BY_STEP
from rsdecode.core.errors import ConfigError
from rsdecode.models.abacus import model_path


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def failure(path: Path | None = None, **kwargs: Any) -> str:
    with pytest.raises(ConfigError) as error:
        load_config(path, **kwargs)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_defaults_are_the_paper_on_the_shipped_family() -> None:
    config = load_config()
    assert (config.method, config.draft, config.target) == ("rsd", "abacus:draft", "abacus:target")
    assert config.reward.spec == "abacus:prm"
    assert (config.weighting.kind, config.weighting.threshold) == ("step", 0.7)
    limits = config.limits
    assert (limits.max_steps, limits.max_step_tokens, limits.max_tokens) == (100, 512, 4096)
    assert (config.run.concurrency, config.run.samples, config.run.seed) == (32, 1, 0)


def test_file_then_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, "limits: {max_steps: 5, max_tokens: 60}\nrun:\n  seed: 3\n")
    config = load_config(path, {"limits.max_steps": 7, "run.samples": 2})
    assert (config.limits.max_steps, config.limits.max_tokens) == (7, 60)
    assert (config.run.seed, config.run.samples) == (3, 2)


def test_an_option_wins_over_the_threshold_in_the_files_method(tmp_path: Path) -> None:
    path = write(tmp_path, "method: rsd@0.5\n")
    assert settled(load_config(path)).weighting.threshold == 0.5
    config = settled(load_config(path, {"weighting.threshold": 0.9}))
    assert (config.method, config.weighting.threshold) == ("rsd", 0.9)
    path = write(tmp_path, "method: rsd:candidates=3:weighting=logistic:alpha=4\n")
    warm = {"sampling.draft.temperature": 1.0}
    config = settled(load_config(path, {"candidates": 2, "weighting.alpha": 5.0} | warm))
    assert (config.candidates, config.weighting.kind, config.weighting.alpha) == (2, "logistic", 5)
    with pytest.raises(ConfigError, match=r"--threshold 0\.9 and --method rsd@0\.4: give one"):
        load_config(
            path,
            {"method": "rsd@0.4", "weighting.threshold": 0.9},
            {"weighting.threshold": "--threshold"},
        )


def test_a_calibration_is_found_beside_the_file_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "reward: {spec: arithmetic, calibration: own.calibration.json}\n"
    path, beside = write(tmp_path, text), tmp_path / "own.calibration.json"
    assert load_config(path).reward.calibration == "own.calibration.json", "as it is written"
    beside.write_text("{}")
    monkeypatch.chdir("/")
    assert load_config(path).reward.calibration == str(beside)


@pytest.mark.parametrize("text", ["", "# nothing\n", "limits:\n"])
def test_an_empty_file_is_all_defaults(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    if text == "limits:\n":
        assert "limits" in failure(path)
        assert load_config(path, {"limits.max_steps": 2}).limits.max_steps == 2
    else:
        assert load_config(path) == RunConfig()


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_config().limits.max_steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("treshold: 0.5", ["unknown key 'treshold'", "'weighting.threshold'"]),
        ("weighting: {treshold: 0.5}", ["'weighting.treshold'", "did you mean 'threshold'"]),
        ("threshold: 0.5", ["unknown key 'threshold'", "did you mean 'weighting.threshold'"]),
        ("limits: {zzz: 1}", ["'limits.zzz'", "known keys are max_steps, max_step_tokens"]),
        ("sampling: {draft: {temp: 1}}", ["'sampling.draft.temp'", "'temperature'"]),
        ("sampling: {reward: {top_p: 1}}", ["'sampling.reward'", "draft, target"]),
    ],
)
def test_unknown_keys_name_the_place_and_close_names(
    tmp_path: Path, text: str, parts: list[str]
) -> None:
    message = failure(write(tmp_path, text))
    if text.startswith("treshold"):
        parts = parts[:1]
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("weighting: {threshold: 1.5}", ["weighting.threshold 1.5", "a number in [0, 1]"]),
        ("weighting: {threshold: .nan}", ["weighting.threshold nan", "[0, 1]"]),
        ("weighting: {threshold: high}", ["weighting.threshold 'high'", "[0, 1]"]),
        ("limits: {max_tokens: -1}", ["limits.max_tokens -1", "at least 1"]),
        ("limits: {max_steps: 1.5}", ["limits.max_steps 1.5", "whole number"]),
        ("limits: 5", ["limits 5", "section with the keys max_steps"]),
        ("budget: 1.01", ["budget 1.01", "[0, 1]"]),
        ("sampling: {draft: {temperature: -0.1}}", ["sampling.draft.temperature -0.1", ">= 0"]),
        ("sampling: {draft: {temperature: .inf}}", ["sampling.draft.temperature inf", ">= 0"]),
        ("sampling: {target: {top_p: 0}}", ["sampling.target.top_p 0", "(0, 1]"]),
        ("sampling: {target: {top_k: -1}}", ["sampling.target.top_k -1", ">= 0"]),
        ("method: beam", ["method 'beam'", "beam@4"]),
        ("engine: {dtype: int4}", ["engine.dtype 'int4'", "auto, float32"]),
        ("engine: {max_context: 1}", ["engine.max_context 1", "at least 2"]),
        ("run: {timeout_s: 0}", ["run.timeout_s 0", "above 0"]),
        ("boundary: tokens:0", ["boundary", "'tokens:0'", "separator:TEXT"]),
        ("weighting: {kind: linear}", ["weighting.kind 'linear'", "sigmoidal", "python:"]),
        ("weighting: {kind: python:x}", ["weighting.kind", "python:MODULE:FUNCTION"]),
        ("weighting: {kind: constant}", ["constant weighting needs p"]),
        ("weighting: {alpha: 3}", ["alpha has no effect on the step weighting", "logistic"]),
        ("weighting: {kind: clipping, threshold: 0.1}", ["threshold has no effect", "clipping"]),
        ("budget: 0.3\nweighting: {kind: logistic}", ["budget", "conflicts", "logistic"]),
        ("candidates: 4", ["candidates 4", "sampling.draft.temperature"]),
        ("prompt: {plain: Solve this.}", ["prompt.plain", "{question}"]),
        ("draft: nonsense", ["draft", "'nonsense'", "hf:ID_OR_PATH"]),
        ("reward: {spec: nonsense}", ["reward.spec", "'nonsense'", "arithmetic"]),
        ("a: 1\nbudget: 7\n", ["unknown key 'a'", "budget 7"]),
    ],
)
def test_wrong_values_name_key_value_and_remedy(
    tmp_path: Path, text: str, parts: list[str]
) -> None:
    message = failure(write(tmp_path, text))
    assert "run.yaml" in message
    assert all(part in message for part in parts), message


def test_an_override_is_called_by_its_option() -> None:
    message = failure(
        overrides={"weighting.threshold": 1.5}, names={"weighting.threshold": "--threshold"}
    )
    assert message == "--threshold 1.5: must be a number in [0, 1]"


def test_a_rule_between_options_names_them() -> None:
    given = {"weighting.kind": "constant", "weighting.threshold": 0.5}
    names = {"weighting.kind": "--weighting", "weighting.threshold": "--threshold"}
    assert failure(overrides=given, names=names).startswith("--weighting --threshold: threshold")


def test_another_weighting_leaves_the_files_parameters_behind(tmp_path: Path) -> None:
    path = write(tmp_path, "weighting: {kind: logistic, alpha: 4, threshold: 0.6}")
    weighting = load_config(path, {"weighting.kind": "step"}).weighting
    assert (weighting.kind, weighting.threshold, weighting.alpha) == ("step", 0.6, None)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"a: [1\n", "not valid YAML"),
        (b"method: rsd\nmethod: draft\n", "'method' is given twice (line 2)"),
        (b"- 1\n- 2\n", "expected keys and values"),
        (b"just text", "expected keys and values"),
        (b"method: \xff\n", "not UTF-8"),
        (b"a: !!python/object:os.system {}\n", "not valid YAML"),
    ],
)
def test_unreadable_files(tmp_path: Path, data: bytes, part: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(data)
    message = failure(path)
    assert part in message
    assert "run.yaml" in message


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert "there is no such file" in failure(tmp_path / "no.yaml")
    assert "cannot be read" in failure(tmp_path)


def test_system_prompt_is_the_papers_except_for_the_family() -> None:
    assert load_config().system_prompt is None
    assert load_config(overrides={"draft": "hf:a/b"}).system_prompt == STEP_BY_STEP
    for prefix in ("hf", "vllm"):
        places = {role: f"{prefix}:{model_path(role)}" for role in ("draft", "target")}
        assert load_config(overrides=places).system_prompt is None
    own = {"draft": "hf:a/b", "method": "target"}
    assert load_config(overrides=own).system_prompt is None
    assert load_config(overrides={"prompt.system": "Be brief."}).system_prompt == "Be brief."
    assert load_config(overrides={"draft": "hf:a/b", "prompt.system": ""}).system_prompt is None
