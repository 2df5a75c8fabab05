from __future__ import annotations

import json
from typing import Any

import pytest

from rsdecode.config import config_hash, load_config, resolved
from rsdecode.methods.fallback import GUESS_TOKENS


def hash_with(**overrides: Any) -> str:
    return config_hash(
        load_config(overrides={k.replace("__", "."): v for k, v in overrides.items()})
    )


def test_the_hash_is_sixteen_hex_digits_and_stable() -> None:
    assert len(hash_with()) == 16
    assert int(hash_with(), 16) >= 0
    assert hash_with() == hash_with()


@pytest.mark.parametrize(
    "change",
    [
        {"weighting__threshold": 0.71},
        {"draft": "hf:a/b"},
        {"reward__spec": "arithmetic"},
        {"method": "target"},
        {"limits__max_tokens": 4095},
        {"sampling__draft__temperature": 0.1},
        {"boundary": "newline"},
        {"budget": 0.2},
        {"prompt__system": "x"},
        {"prompt__template": {"enable_thinking": False}},
        {"engine__dtype": "float32"},
        {"engine__max_context": 64},
    ],
)
def test_what_decides_an_answer_changes_the_hash(change: dict[str, Any]) -> None:
    assert hash_with(**change) != hash_with()


@pytest.mark.parametrize(
    "change",
    [
        {"run__seed": 5},
        {"run__concurrency": 1},
        {"run__timeout_s": 9.0},
        {"run__samples": 3},
        {"engine__slots": 2, "engine__threads": 3},
        {"lookahead": 1},
        {"fallback": "verify"},
        {"fallback": "speculate", "guess_tokens": 3},
        {"weighting__threshold": 0.7},
        {"draft": " abacus:draft "},
    ],
)
def test_what_decides_no_answer_does_not(change: dict[str, Any]) -> None:
    assert hash_with(**change) == hash_with()


def test_a_spelled_out_default_is_the_default() -> None:
    kind = {"weighting.kind": "logistic"}
    implicit = config_hash(load_config(overrides=kind))
    assert implicit == config_hash(load_config(overrides=kind | {"weighting.alpha": 10}))


def test_the_guesses_of_speculate_are_spelled_out() -> None:
    assert resolved(load_config())["guess_tokens"] is None
    speculating = resolved(load_config(overrides={"fallback": "speculate"}))
    assert speculating["guess_tokens"] == GUESS_TOKENS


def test_resolved_is_plain_json_with_everything_spelled_out() -> None:
    settings = resolved(load_config(overrides={"draft": "hf:a/b"}))
    assert json.loads(json.dumps(settings)) == settings
    assert "step by step" in settings["prompt"]["system"]
    assert settings["limits"] == {"max_steps": 100, "max_step_tokens": 512, "max_tokens": 4096}
    assert settings["sampling"]["target"] == {"temperature": 0.0, "top_p": 1.0, "top_k": 0}
