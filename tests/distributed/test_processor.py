"""A batch of rows comes back with its answers, however the rows are cut into batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rsdecode.core.errors import InputError
from rsdecode.distributed import RSDProcessor

SCRIPT = {"generate": {"*": ["2 + 2 = 4.\n\n", "So \\boxed{4}."]}, "score": {"*": [0.9, 0.9]}}


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "m.json").write_text(json.dumps(SCRIPT))
    spec = f"scripted:{tmp_path}/m.json"
    return {"draft": spec, "target": spec, "reward": spec}


def test_answers_beside_the_columns(settings: dict[str, Any]) -> None:
    process = RSDProcessor(**settings, id="key")
    batch = process({"question": ["2 + 2?", "Again?"], "key": [7, 8]})
    process.close()
    assert batch["answer"] == ["4", "4"]
    assert batch["key"] == [7, 8]
    assert batch["stop_reason"] == ["eos", "eos"]
    assert batch["acceptance"] == [1.0, 1.0]
    assert [json.loads(record)["id"] for record in batch["record"]] == ["7", "8"]


def test_equal_questions_have_equal_ids_in_any_batch(settings: dict[str, Any]) -> None:
    process = RSDProcessor(**settings, question="q")
    together = process({"q": ["a?", "b?"]})
    alone = process({"q": ["b?"]})
    process.close()
    ids = [json.loads(record)["id"] for record in (*together["record"], *alone["record"])]
    assert ids[1] == ids[2] != ids[0]


def test_a_missing_column_is_named(settings: dict[str, Any]) -> None:
    process = RSDProcessor(**settings)
    with pytest.raises(InputError, match="no column 'question' in the data \\(it has prompt\\)"):
        process({"prompt": ["a?"]})
    process.close()
