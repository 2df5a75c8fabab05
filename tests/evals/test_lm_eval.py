"""RSD in the lm-evaluation-harness; skipped where the extra `lm-eval` is not installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rsdecode.cli.main import main

TASK = """
task: abacus_sample
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["<|im_end|>"], do_sample: false, max_gen_toks: 400}
filter_list:
  - name: boxed
    filter:
      - {function: regex, regex_pattern: 'boxed\\{([^}]*)\\}'}
      - {function: take_first}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""

SCRIPT = {
    "generate": {"*": ["Let us see.\n\n", "It is 4. Question: why?\n\n", "\\boxed{4}."]},
    "score": {"*": [0.9, 0.9, 0.9]},
}


def test_the_command_names_the_missing_library(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.delitem(sys.modules, "rsdecode.evals.lm_eval", raising=False)
    assert main(["lm-eval", "--tasks", "gsm8k"]) == 2
    assert "pip install 'rsdecode[lm-eval]'" in capsys.readouterr().err


def request(text: str, index: int = 0, **settings: Any) -> SimpleNamespace:
    return SimpleNamespace(args=(text, settings), task_name="t", doc_id=index, idx=0)


def scripted(tmp_path: Path, **overrides: Any) -> Any:
    pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")
    from rsdecode.evals.lm_eval import RSDModel

    (tmp_path / "m.json").write_text(json.dumps(SCRIPT))
    model = f"scripted:{tmp_path}/m.json"
    return RSDModel(draft=model, target=model, **{"reward.spec": model}, **overrides)


def test_texts_end_before_the_first_stop(tmp_path: Path) -> None:
    model = scripted(tmp_path)
    whole = "".join(SCRIPT["generate"]["*"])
    asked = [
        request("q", 0, until=[]),
        request("q", 1, until=["Question:", "4"]),
        request("q", 2, until="Let"),
        request("q", 2, until="Let"),
        request("q", 3, until=["never"], max_gen_toks=3),
    ]
    texts = model.generate_until(asked)
    assert texts == [whole, "Let us see.\n\nIt is ", "", "", "Let us see.\n\n"]


def test_chats_keep_their_messages(tmp_path: Path) -> None:
    model = scripted(tmp_path)
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    text = model.apply_chat_template([*turns, {"role": "user", "content": "c"}])
    [problem] = model._problems([request(text)])
    assert [message.content for message in problem.messages] == ["a", "b", "c"]
    with pytest.raises(NotImplementedError, match="gen_prefix"):
        model.apply_chat_template(turns, add_generation_prompt=False)


def test_likelihoods_are_refused(tmp_path: Path) -> None:
    model = scripted(tmp_path)
    for call in (model.loglikelihood, model.loglikelihood_rolling):
        with pytest.raises(NotImplementedError, match="generation tasks"):
            call([])


@pytest.mark.integration
def test_a_task_from_a_file_over_the_embedded_family(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")
    pytest.importorskip("torch")
    from rsdecode.models.abacus import problems

    data = tmp_path / "abacus.jsonl"
    asked = problems("test", levels=[1], limit=8)
    lines = [json.dumps({"question": p.question, "answer": p.answer}) for p in asked]
    data.write_text("\n".join(lines))
    (tmp_path / "abacus.yaml").write_text(TASK.replace("DATA", str(data)))
    (tmp_path / "run.yaml").write_text("engine: {device: cpu}\n")
    arguments = ["--model_args", f"config={tmp_path}/run.yaml", "--include_path", str(tmp_path)]
    out = ["--tasks", "abacus_sample", "--output_path", str(tmp_path / "out")]
    assert main(["lm-eval", "--model", "rsd", *arguments, *out]) == 0
    [results] = (tmp_path / "out").rglob("results_*.json")
    [score] = [
        value
        for key, value in json.loads(results.read_text())["results"]["abacus_sample"].items()
        if key.startswith("exact_match,")
    ]
    assert score >= 0.5
