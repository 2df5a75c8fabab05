from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.config.specs import ModelSpec, SpecKind, parse_model_spec, parse_reward_spec
from rsdecode.core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "kind", "target"),
    [
        ("abacus:draft", SpecKind.ABACUS, "draft"),
        ("abacus:target", SpecKind.ABACUS, "target"),
        ("hf:Qwen/Qwen2.5-Math-1.5B", SpecKind.HF, "Qwen/Qwen2.5-Math-1.5B"),
        ("hf:C:/models/x", SpecKind.HF, "C:/models/x"),
        ("gguf:/models/x.gguf", SpecKind.GGUF, "/models/x.gguf"),
        ("vllm:org/name", SpecKind.VLLM, "org/name"),
        ("http://h:8000/v1#name", SpecKind.HTTP, "http://h:8000/v1#name"),
        ("https://h/v1#org/name", SpecKind.HTTP, "https://h/v1#org/name"),
        ("scripted:a b.json", SpecKind.SCRIPTED, "a b.json"),
        ("  hf:x ", SpecKind.HF, "x"),
    ],
)
def test_model_forms(text: str, kind: SpecKind, target: str) -> None:
    spec = parse_model_spec(text)
    assert (spec.kind, spec.target) == (kind, target)
    assert str(spec) == text.strip()
    assert parse_model_spec(str(spec)) == spec


@pytest.mark.parametrize(
    "text",
    [
        "abacus:prm",
        "hf:Skywork/prm",
        "arithmetic",
        "judge:hf:org/name",
        "judge:http://h/v1#n",
        "python:pkg.mod:Cls.f",
    ],
)
def test_reward_forms(text: str) -> None:
    assert str(parse_reward_spec(text)) == text


def test_a_judge_names_its_model() -> None:
    assert parse_reward_spec("judge:gguf:x.gguf").judge == ModelSpec(SpecKind.GGUF, "x.gguf")


@pytest.mark.parametrize(
    "text", ["", "foo", "foo:bar", "hf:", "hf", ":x", "arithmetic:x", "judge:", "http:x", "python:"]
)
def test_an_unknown_spec_lists_the_forms(text: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown model spec .*hf:ID_OR_PATH.*python:MODULE"):
        parse_reward_spec(text)


@pytest.mark.parametrize("text", ["http://host:1/v1", "https://", "http://h/v1#", "http:// #x"])
def test_a_url_without_a_model_says_how_to_name_it(text: str) -> None:
    with pytest.raises(ConfigError, match="#NAME"):
        parse_model_spec(text)


@pytest.mark.parametrize("text", ["python:mod", "python:mod:", "python:a b:f", "python:m:f:g"])
def test_a_function_needs_module_and_name(text: str) -> None:
    with pytest.raises(ConfigError, match="python:MODULE:FUNCTION"):
        parse_reward_spec(text)


def test_did_you_mean(tmp_path: Path) -> None:
    script = tmp_path / "s.json"
    script.write_text("{}")
    guesses = {
        "Qwen/Qwen2.5": "hf:Qwen/Qwen2.5",
        str(tmp_path): f"hf:{tmp_path}",
        "models/x.GGUF": "gguf:models/x.GGUF",
        str(script): f"scripted:{script}",
        "target": "abacus:target",
    }
    for text, guess in guesses.items():
        with pytest.raises(ConfigError) as error:
            parse_model_spec(text)
        assert f"did you mean {guess}?" in str(error.value)
    with pytest.raises(ConfigError) as error:
        parse_model_spec("nothing like a model")
    assert "did you mean" not in str(error.value)


@pytest.mark.parametrize("text", ["arithmetic", "judge:hf:x", "python:a:b", "abacus:prm"])
def test_a_reward_is_no_language_model(text: str) -> None:
    with pytest.raises(ConfigError, match="as the reward"):
        parse_model_spec(text)


@pytest.mark.parametrize("text", ["abacus:target", "judge:abacus:prm"])
def test_a_language_model_is_no_reward(text: str) -> None:
    with pytest.raises(ConfigError, match=r"judge:|as the reward"):
        parse_reward_spec(text)


@given(st.text(max_size=30))
def test_any_text_is_a_spec_or_a_config_error(text: str) -> None:
    for parse in (parse_model_spec, parse_reward_spec):
        with suppress(ConfigError):  # and nothing else
            spec = parse(text)
            assert parse(str(spec)) == spec
