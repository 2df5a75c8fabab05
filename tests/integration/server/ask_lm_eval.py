"""lm-evaluation-harness on a task of its own: answers by chat or by text, likelihoods. JSON.

Usage: ask_lm_eval.py BASE_URL chat|completions|likelihood REPEATS PROBLEMS
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

base_url, kind, repeats, problems = sys.argv[1:]
os.environ["OPENAI_API_KEY"] = "none"
folder = Path(tempfile.mkdtemp())
(folder / "problems.json").write_text(
    "".join(json.dumps(problem) + "\n" for problem in json.loads(problems))
)
task = {
    "task": "sums",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": str(folder / "problems.json")}},
    "test_split": "test",
    "doc_to_text": "{{question}}",
    "repeats": int(repeats),
}
if kind == "likelihood":
    task |= {
        "output_type": "multiple_choice",
        "doc_to_choice": "{{[answer, wrong]}}",
        "doc_to_target": 0,
        "metric_list": [{"metric": "acc"}],
    }
else:
    task |= {
        "output_type": "generate_until",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {
            "until": ["Question:"],
            "do_sample": int(repeats) > 1,
            "temperature": 2.0 if int(repeats) > 1 else 0.0,
            "max_gen_toks": 200,
        },
        "metric_list": [{"metric": "exact_match"}],
    }
chat = kind == "chat"
path = "chat/completions" if chat else "completions"
results = simple_evaluate(
    model="local-chat-completions" if chat else "local-completions",
    model_args={"model": "rsd", "base_url": f"{base_url}/{path}", "num_concurrent": 4},
    tasks=[task],
    task_manager=TaskManager(),
    apply_chat_template=chat,
    log_samples=True,
    bootstrap_iters=0,
)
samples = results["samples"]["sums"]
print(
    json.dumps(
        {
            "responses": [sample["resps"] for sample in samples],
            "results": {k: v for k, v in results["results"]["sums"].items() if k != "alias"},
        },
        default=str,
    )
)
