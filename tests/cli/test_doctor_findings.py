"""`rsd doctor` finds what would otherwise only show in a table, or never."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from . import checkpoints
from .conftest import Rsd

pytest.importorskip("transformers")

SHORT = ("--max-tokens", "1024")
SYSTEM = ("--system", "Please think.")
EXACT = ("--reward", "arithmetic")
ENDS = checkpoints.PLAIN.replace("END", "{{ eos_token }}")
LABELS = {0: "incorrect", 1: "correct"}


def diagnose(rsd: Rsd, *options: object, code: int = 0) -> dict[str, Any]:
    result = rsd("doctor", "--json", *SHORT, *options)
    assert result.code == code, result
    found: dict[str, Any] = json.loads(result.out)
    return found


def warnings(rsd: Rsd, *options: object) -> list[str]:
    return list(diagnose(rsd, *options)["warnings"])


def test_nothing_is_wrong_with_the_family(rsd: Rsd) -> None:
    found = diagnose(rsd)
    assert found["warnings"] == []
    facts = found["roles"]["draft"]
    assert facts["trial"] == "wrote 'Adding 30 gives 12 + 30 = 42 apples.\\n\\n'"
    assert facts["then"] == "wrote 'The answer is \\\\boxed{42}.'"
    assert facts["control tokens in a question"] == "are read as text"


def test_a_template_that_refuses_the_system_role(rsd: Rsd, tmp_path: Path) -> None:
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    draft = checkpoints.writer(tmp_path / "draft", refuses + ENDS)
    [warning] = warnings(rsd, "--draft", draft, *SYSTEM, *EXACT)
    assert warning.startswith("draft: ")
    assert "the chat template refuses system messages: their text goes before" in warning
    assert warnings(rsd, "--draft", draft, "--system", "", *EXACT) == []


def test_a_template_that_drops_the_system_message(rsd: Rsd, tmp_path: Path) -> None:
    drops = ENDS.replace("{{ m.content }}", "{% if m.role != 'system' %}{{ m.content }}{% endif %}")
    spec = checkpoints.writer(tmp_path / "draft", drops)
    [warning, same] = warnings(rsd, "--draft", spec, "--target", spec, *SYSTEM, *EXACT)
    assert "the chat template drops system messages" in warning
    assert same.startswith("target: ")


def test_a_turn_that_ends_with_an_unlisted_token(rsd: Rsd, tmp_path: Path) -> None:
    template = checkpoints.PLAIN.replace("END", "<|pad|>")
    draft = checkpoints.writer(tmp_path / "draft", template)
    [warning] = warnings(rsd, "--draft", draft, *EXACT)
    assert "the chat template ends turns with <|pad|>, which the checkpoint" in warning
    assert '"eos_token_id": [478, 479]' in warning


def test_an_argument_that_no_template_mentions(rsd: Rsd) -> None:
    given = ("--template", "enable_thinking=false", "--template", "messages_=3")
    first, second = warnings(rsd, *given)
    assert first.startswith("draft: ")
    assert "prompt.template sets enable_thinking, messages_, which the chat template" in first
    assert second.startswith("target: ")


def test_a_reward_model_in_order(rsd: Rsd, tmp_path: Path) -> None:
    found = diagnose(rsd, "--reward", checkpoints.classifier(tmp_path / "prm", labels=LABELS))
    assert found["warnings"] == []
    assert found["roles"]["reward"]["trial"].startswith("reward 0.98")


def test_inverted_labels(rsd: Rsd, tmp_path: Path) -> None:
    labels = {0: "correct", 1: "incorrect"}
    reward = checkpoints.classifier(tmp_path / "prm", labels=labels)
    [warning] = warnings(rsd, "--reward", reward)
    assert "no less reward (1.000) than the right" in warning
    assert "labels may be inverted" in warning


def test_a_wrong_separator(rsd: Rsd, tmp_path: Path) -> None:
    """Trained with blank lines as TRL's examples are, read at line ends as TRL's default is."""
    reward = checkpoints.classifier(tmp_path / "prm", separator="\n\n", labels=LABELS)
    [warning] = warnings(rsd, "--reward", reward)
    assert "hardly less reward" in warning
    assert "separator" in warning
    assert warnings(rsd, "--reward", reward, "--reward-separator", "\n\n") == []


def test_a_reward_model_with_a_short_context(rsd: Rsd, tmp_path: Path) -> None:
    reward = checkpoints.classifier(tmp_path / "prm", labels=LABELS, context=700)
    [warning] = warnings(rsd, "--reward", reward)
    assert "do not fit the context of reward (700)" in warning
    assert "set --max-tokens 444" in warning
    assert warnings(rsd, "--reward", reward, "--max-tokens", "444") == []


def test_warnings_are_shown_and_do_not_fail(rsd: Rsd, tmp_path: Path) -> None:
    reward = checkpoints.classifier(tmp_path / "prm", labels=LABELS, context=700)
    shown = rsd("doctor", *SHORT, "--reward", reward)
    assert shown.code == 0
    assert "\nwarning: a question and an answer of --max-tokens 1024 do not fit" in shown.out
    assert shown.out.endswith("nothing would fail; what is to be set is in the warnings\n")


def test_results_keep_what_the_models_noted(rsd: Rsd, tmp_path: Path) -> None:
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    draft = checkpoints.writer(tmp_path / "draft", refuses + ENDS)
    options = ("--draft", draft, "--max-tokens", "40", *SYSTEM)
    asked = ("--data", "abacus:test", "--limit", "1", "--out", "out", "--methods", "draft")
    for _ in range(2):  # the second run has nothing left to do
        result = rsd("eval", *asked, *options)
        assert result.code == 0, result
        [meta] = [json.loads(path.read_text()) for path in Path("out/cells").glob("*.json")]
        [note] = meta["notes"]
        assert "refuses system messages: their text goes before the question" in note
    solved = rsd("solve", "Ada has 3 pens.", "--json", "--method", "draft", *options)
    assert solved.err.count("refuses system messages: their text goes before the question") == 1
    report = rsd("report", "out")
    assert report.code == 0, report
    assert "their text goes before the question" in Path("out/report.md").read_text()
