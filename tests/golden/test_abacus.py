from __future__ import annotations

import json
import os

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rsdecode.config import RunConfig
from rsdecode.core.types import Problem, Role
from rsdecode.models.abacus import model_path, problems
from tests.golden import record

COMPARED = 100 if "RSD_SLOW" in os.environ else 10


def test_golden_trajectories() -> None:
    expected = [json.loads(line) for line in record.FILE.read_text(encoding="utf-8").splitlines()]
    found = [record.golden(trajectory) for trajectory in record.trajectories()]
    assert len(expected) == len(found) == record.COUNT
    for old, new in zip(expected, found, strict=True):
        rewards = [[step.pop("reward") for step in side["steps"]] for side in (old, new)]
        assert new == old
        assert rewards[1] == pytest.approx(rewards[0], abs=2e-3)
    sources = {step["source"] for trajectory in found for step in trajectory["steps"]}
    assert sources == {"draft", "target"}


@pytest.mark.parametrize("role", [Role.DRAFT, Role.TARGET])
def test_plain_transformers_gives_the_same_greedy_answers(role: Role) -> None:
    """Our engine at batch 32, and `generate` of transformers one by one."""
    config = RunConfig(method=role.value)
    questions = [Problem.ask(p.question, id=p.id) for p in problems("test", limit=COMPARED)]
    solved = record.solve(config, questions)

    tokenizer = AutoTokenizer.from_pretrained(model_path(role.value))
    model = AutoModelForCausalLM.from_pretrained(model_path(role.value), dtype=torch.float32)
    for problem, trajectory in zip(questions, solved, strict=True):
        turns = [{"role": "user", "content": problem.question}]
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False).input_ids
        with torch.inference_mode():
            output = model.generate(ids, do_sample=False, max_new_tokens=1000)
        text = tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
        assert text == trajectory.text, problem.id
