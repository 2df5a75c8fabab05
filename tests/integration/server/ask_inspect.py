"""An inspect_ai evaluation of 20 problems of the embedded family. Prints JSON."""

from __future__ import annotations

import json
import os
import sys
import tempfile

from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

base_url, problems = sys.argv[1:]
os.environ |= {"RSD_BASE_URL": base_url, "RSD_API_KEY": "none"}
samples = [
    Sample(input=problem["question"], target=f"\\boxed{{{problem['answer']}}}")
    for problem in json.loads(problems)
]
task = Task(dataset=MemoryDataset(samples), solver=generate(), scorer=includes())
[log] = eval(
    task,
    model="openai-api/rsd/rsd",
    temperature=0,
    seed=0,
    display="none",
    log_dir=tempfile.mkdtemp(),
)
usage = next(iter(log.stats.model_usage.values()))
print(
    json.dumps(
        {
            "status": log.status,
            "samples": len(log.samples or []),
            "accuracy": log.results.scores[0].metrics["accuracy"].value if log.results else None,
            "output_tokens": usage.output_tokens,
            "input_tokens": usage.input_tokens,
            "total_tokens": usage.total_tokens,
        }
    )
)
