"""The commands on real, tiny and random checkpoints: the whole way from a spec to a record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rsdecode.config import load_config
from rsdecode.config.build import build_models

from .conftest import Rsd, read_lines, write_lines

pytest.importorskip("transformers")

SHORT = ("--max-tokens", "48", "--max-step-tokens", "12", "--boundary", "tokens:6")
SAMPLED = ("--temperature", "1.0", "--system", "", "--device", "cpu", "--dtype", "float32")


@pytest.fixture
def checkpoints(tmp_path: Path) -> list[str]:
    """Options that name a draft, a target and a value-head reward model."""
    from tests.rewards.tiny import save_causal, save_value_head

    causal, *_ = save_causal(tmp_path / "causal")
    reward, *_ = save_value_head(tmp_path / "prm")
    return ["--draft", f"hf:{causal}", "--target", f"hf:{causal}", "--reward", f"hf:{reward}"]


def test_questions_are_solved_and_paid_for(
    rsd: Rsd, checkpoints: list[str], tmp_path: Path
) -> None:
    source = write_lines(tmp_path / "in.jsonl", *({"question": f"{i} + 1?"} for i in range(3)))
    given = (*checkpoints, *SHORT, *SAMPLED, "--threshold", "0.5")
    result = rsd("solve", "--input", source, "--output", "out.jsonl", *given)
    assert result.code == 0, result.err
    records = read_lines(tmp_path / "out.jsonl")
    assert len(records) == 3
    for record in records:
        usage = record["usage"]
        assert usage["draft"]["decoded_tokens"] > 0
        assert usage["reward"]["prefill_tokens"] > 0
        assert record["flops"]["paper"] > 0
        assert record["flops"]["exact"] > 0
    assert "".join(step["text"] for step in records[0]["steps"]) == records[0]["text"]
    again = rsd("solve", "--input", source, "--json", "--concurrency", 1, *given)
    by_id = {record["id"]: record["text"] for record in again.records}
    assert by_id == {record["id"]: record["text"] for record in records}


def test_a_judge_shares_the_targets_weights(rsd: Rsd, checkpoints: list[str]) -> None:
    target = checkpoints[3]
    options = {"draft": target, "target": target, "reward.spec": f"judge:{target}"}
    models = build_models(load_config(overrides=options))
    assert models.draft is models.target
    models.close()
    judged = (*checkpoints[:4], "--reward", f"judge:{target}", *SHORT, *SAMPLED)
    [record] = rsd("solve", "1 + 1?", "--json", *judged).records
    assert record["stop_reason"] != "error"
    assert record["usage"]["reward"]["prefill_tokens"] > 0


def test_doctor_describes_each_role(rsd: Rsd, checkpoints: list[str]) -> None:
    result = rsd("doctor", "--json", *checkpoints)
    assert result.code == 0, result
    found = json.loads(result.out)
    assert found["same_vocabulary"] is True
    draft = found["roles"]["draft"]
    assert {"model", "tokenizer", "prompt", "end of sequence", "context", "trial"} <= set(draft)
    assert found["roles"]["reward"]["kind"] == "value-head"
    assert "--max-tokens 4096 do not fit" in found["warnings"][-1]


def test_doctor_reports_each_broken_checkpoint(
    rsd: Rsd, checkpoints: list[str], tmp_path: Path
) -> None:
    (tmp_path / "causal" / "model.safetensors").unlink()
    (tmp_path / "prm" / "tokenizer.json").unlink()
    result = rsd("doctor", "--json", *checkpoints)
    assert result.code == 1
    roles = [failure.partition(":")[0] for failure in json.loads(result.out)["failures"]]
    assert roles == ["draft", "target", "reward"]


def test_a_question_beyond_the_context_fails_alone(
    rsd: Rsd, checkpoints: list[str], tmp_path: Path
) -> None:
    source = write_lines(
        tmp_path / "in.jsonl", {"question": "1 + 1?"}, {"question": "long " * 3000}
    )
    given = (*checkpoints, *SHORT, *SAMPLED)
    result = rsd("solve", "--input", source, "--output", "out.jsonl", *given)
    assert result.code == 1
    assert "problem '2': the question is" in result.err
    reasons = {r["id"]: r["stop_reason"] for r in read_lines(tmp_path / "out.jsonl")}
    assert reasons["2"] == "error"
    assert reasons["1"] != "error"
