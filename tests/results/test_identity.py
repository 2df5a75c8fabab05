from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rsdecode.config import RunConfig
from rsdecode.config.specs import ModelSpec, SpecKind, parse_model_spec, parse_reward_spec
from rsdecode.core.errors import ConfigError
from rsdecode.evals.plan import ABACUS_LIMIT, EvalRequest, plan
from rsdecode.results.identity import describe, model_digest
from rsdecode.results.store import Shard

ABACUS = EvalRequest(("abacus:test:1",), ("rsd",), limit=3)
SEEDED = EvalRequest(("abacus:test:1",), ("rsd",), limit=3, shuffle_seed=5)


def key(
    settings: dict[str, Any] | None = None, asked: EvalRequest = ABACUS, method: str | None = None
) -> str:
    """The key of the one cell that is asked for."""
    if method is not None:
        asked = EvalRequest(asked.data, (method,), asked.limit)
    [task] = plan(RunConfig.model_validate(settings or {}), asked)
    return task.meta.key


@pytest.mark.parametrize(
    "settings",
    [
        {"weighting": {"threshold": 0.5}},
        {"weighting": {"kind": "clipping"}},
        {"budget": 0.2},
        {"lookahead": 1},
        {"boundary": "newline"},
        {"limits": {"max_steps": 7}},
        {"sampling": {"draft": {"temperature": 0.5}}},
        {"prompt": {"system": "Think."}},
        {"prompt": {"plain": "Q: {question}"}},
        {"prompt": {"template": {"enable_thinking": False}}},
        {"target": "hf:nobody/nothing"},
        {"reward": {"spec": "arithmetic"}},
        {"reward": {"kind": "value-head"}},
        {"engine": {"dtype": "bfloat16"}},
        {"run": {"seed": 1}},
        {"vllm": {"target": {"arguments": ["--quantization", "fp8"]}}},
    ],
)
def test_what_changes_results_changes_the_key(settings: dict[str, Any]) -> None:
    assert key(settings) != key()


@pytest.mark.parametrize(
    "form", ["judge:gguf:{0}", "verifier:gguf:{0}", "implicit:gguf:{1},gguf:{0}", "gguf:{0}"]
)
def test_models_of_a_reward_are_known_by_their_content(form: str, tmp_path: Path) -> None:
    def made(first: bytes, folder: str, config: str = "{}") -> str:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        (place / "a.gguf").write_bytes(first)
        (place / "b.gguf").write_bytes(b"reference")
        (place / "config.json").write_text(config)
        return key({"reward": {"spec": form.format(place / "a.gguf", place / "b.gguf")}})

    assert made(b"one", "here") == made(b"one", "there")
    assert made(b"one", "here") != made(b"two", "here")
    beside = made(b"two", "here") != made(b"two", "here", '{"architectures": []}')
    assert beside == form.startswith("gguf:"), "tokenizer, config.json and head lie beside the file"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("implicit:hf:a/b,hf:c/d", "implicit:step:hf:a/b,hf:c/d"),
        ("implicit:hf:a/b,hf:c/d", "implicit:hf:c/d,hf:a/b"),
        ("verifier:hf:a/b", "verifier:samples=4:hf:a/b"),
    ],
)
def test_options_of_a_reward_change_the_key(one: str, other: str) -> None:
    assert key({"reward": {"spec": one}}) != key({"reward": {"spec": other}})


@pytest.mark.parametrize(
    "settings",
    [
        {"run": {"samples": 4, "concurrency": 3, "timeout_s": 9}},
        {"engine": {"slots": 3, "threads": 2}},
        {"http": {"attempts": 2}},
        {"vllm": {"gpus": 2}},
        {"method": "target"},
        {"weighting": {"kind": "step", "threshold": 0.7}},
        {"prompt": {"system": ""}},  # what "auto" means for the embedded family
    ],
)
def test_what_changes_no_result_keeps_the_key(settings: dict[str, Any]) -> None:
    assert key(settings) == key()


@pytest.mark.parametrize(
    "asked",
    [
        EvalRequest(("abacus:test:1",), ("rsd",)),
        EvalRequest(("abacus:test:1",), ("draft", "rsd")[1:], limit=1500),
        EvalRequest(("abacus:test:1",), ("rsd",), limit=3, shard=Shard(2, 3)),
        SEEDED,
    ],
)
def test_more_problems_or_fewer_keep_the_key(asked: EvalRequest) -> None:
    assert key(asked=asked) == key()


def test_a_method_depends_only_on_its_own_models_and_settings() -> None:
    other = {"reward": {"spec": "arithmetic"}, "weighting": {"threshold": 0.1}}
    assert key(other, method="draft") == key(method="draft")
    assert key({"target": "hf:nobody/nothing"}, method="majority@4") == key(method="majority@4")
    assert key({"draft": "hf:nobody/nothing"}, method="draft") != key(method="draft")


def test_methods_never_share_a_key() -> None:
    names = ["draft", "target", "rsd", "rsd@0.5", "rsd@0.7", "best-of-4", "best-of-4:min", "beam@4"]
    asked = EvalRequest(("abacus:test:1", "abacus:test:2"), tuple(names), limit=2)
    keys = [task.meta.key for task in plan(RunConfig(), asked)]
    assert len(set(keys)) == 2 * len(names)


def test_the_content_of_the_data_is_in_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = EvalRequest(("q.jsonl",), ("draft",))
    lines = [{"id": "a", "question": "1 + 1?", "answer": "2"}, {"question": "2?", "answer": "2"}]

    def write() -> str:
        Path("q.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return key(asked=asked)

    first = write()
    assert write() == first
    for change in ({"answer": "3"}, {"question": "1 + 2?"}):
        lines[0] |= change
        assert write() != first


def test_a_part_of_a_file_and_the_whole_share_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"question": f"{n}?", "answer": "2"}) + "\n" for n in range(9)]

    def keys() -> set[str]:
        Path("q.jsonl").write_text("".join(lines))
        asked = [(None, None), (3, None), (20, None), (3, 5), (None, 5)]
        return {key(asked=EvalRequest(("q.jsonl",), ("draft",), *part)) for part in asked}

    before = keys()
    assert len(before) == 1
    lines[-1] = lines[-1].replace("8?", "9?")
    assert keys().isdisjoint(before)


def test_results_of_other_code_have_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr("rsdecode.results.identity.code_version", lambda: "other")
    assert key() != before


def test_models_on_this_machine_are_known_by_their_content(tmp_path: Path) -> None:
    folder, copy = tmp_path / "a", tmp_path / "b"
    for place in (folder, copy):
        place.mkdir()
        (place / "config.json").write_text('{"layers": 2}')
        (place / "model.safetensors").write_bytes(b"header" + bytes(3_000_000))
    digest = model_digest(ModelSpec(SpecKind.HF, str(folder)))
    (copy / "README.md").write_text("another place, another text")
    os.utime(copy / "config.json", (0, 0))
    assert model_digest(ModelSpec(SpecKind.HF, str(copy))) == digest
    for name, data in [
        ("model.safetensors", b"HEADER" + bytes(3_000_000)),
        ("model.safetensors", b"header" + bytes(2_999_999) + b"1"),
        ("model.safetensors", b"header" + bytes(3_000_001)),
        ("tokenizer.json", b"{}"),
    ]:
        before = (copy / name).read_bytes() if (copy / name).exists() else None
        (copy / name).write_bytes(data)
        assert model_digest(ModelSpec(SpecKind.HF, str(copy))) != digest
        if before is not None:
            (copy / name).write_bytes(before)


def test_scripts_and_functions_are_known_by_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    script, module = tmp_path / "s.json", tmp_path / "judging_module.py"
    script.write_text("{}")
    module.write_text("def score(question, steps): return 1.0\n")
    specs = [
        parse_model_spec(f"scripted:{script}"),
        parse_reward_spec("python:judging_module:score"),
    ]
    before = [model_digest(spec) for spec in specs]
    script.write_text("{ }")
    module.write_text("def score(question, steps): return 0.5\n")
    assert all(model_digest(s) != b for s, b in zip(specs, before, strict=True))


def test_what_is_elsewhere_is_known_by_its_name() -> None:
    for spec in ("hf:nobody/nothing", "http://host:1/v1#name", "vllm:nobody/nothing"):
        assert model_digest(parse_model_spec(spec)) == spec
    judge = parse_reward_spec("judge:hf:nobody/nothing")
    assert model_digest(judge) == "judge:hf:nobody/nothing"


def test_a_part_that_says_nothing_of_itself_is_refused() -> None:
    with pytest.raises(TypeError, match="no dataclass"):
        describe(object())


def test_abacus_has_no_end_and_so_a_default_limit() -> None:
    def problems(asked: EvalRequest) -> list[str]:
        return [p.id for p in plan(RunConfig(), asked)[0].problems]

    every = problems(EvalRequest(("abacus:test:1",), ("draft",)))
    assert len(every) == ABACUS_LIMIT
    assert problems(EvalRequest(("abacus:test:1",), ("draft",), limit=30)) == every[:30]
    assert len(problems(EvalRequest(("abacus:test:1",), ("draft",), limit=205))) == 205
    shuffled = problems(EvalRequest(("abacus:test:1",), ("draft",), limit=30, shuffle_seed=1))
    assert len(set(shuffled)) == 30
    assert shuffled != every[:30]
    shards = [
        problems(
            EvalRequest(("abacus:test:1",), ("draft",), limit=30, shuffle_seed=1, shard=Shard(i, 4))
        )
        for i in (1, 2, 3, 4)
    ]
    assert sorted(id for shard in shards for id in shard) == sorted(shuffled)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (EvalRequest(("abacus:nothing",), ("draft",)), "abacus:nothing"),
        (EvalRequest(("abacus:test",), ("draft", "rds")), "unknown method 'rds'"),
        (EvalRequest(("abacus:test",), ("draft", "draft")), "method 'draft' is given twice"),
        (EvalRequest((), ("draft",)), "no data set"),
        (EvalRequest(("abacus:test",), ()), "no method"),
    ],
)
def test_what_cannot_be_asked_for(asked: EvalRequest, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(RunConfig(), asked)
