from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rsdecode.core.errors import ConfigError, InputError
from rsdecode.core.types import Message
from rsdecode.evals.datasets import load_dataset
from rsdecode.evals.datasets.lines import Question, read_question, read_questions

TURNS = [
    {"role": "user", "content": "What is 1 + 1?"},
    {"role": "assistant", "content": "2"},
]
BEFORE = tuple(Message(turn["role"], turn["content"]) for turn in TURNS)  # type: ignore[arg-type]
NEXT = {"role": "user", "content": "And 2 + 2?"}
SYSTEM = {"role": "system", "content": "Be brief."}


def read(**entry: Any) -> Question:
    return read_question(json.dumps(entry).encode(), 1)


def test_a_conversation_ends_with_the_question() -> None:
    expected = Question("1", "And 2 + 2?", "4", BEFORE)
    assert read(messages=[*TURNS, NEXT], answer=4) == expected
    assert read(messages=TURNS, question="And 2 + 2?", answer=4) == expected
    assert read(messages=[*TURNS, NEXT], question="And 2 + 2?", answer=4) == expected
    assert read(messages=[NEXT]) == Question("1", "And 2 + 2?")
    assert expected.conversation == [*TURNS, NEXT]


def test_contents_in_parts_and_the_developers_role() -> None:
    parts = [{"type": "text", "text": "And"}, {"type": "text", "text": "2 + 2?"}]
    said = {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}
    asked = read(messages=[said, {"role": "user", "content": parts}])
    assert asked == Question("1", "And\n2 + 2?", None, (Message("system", "Be brief."),))


def test_a_system_message_comes_first() -> None:
    brief = Message("system", "Be brief.")
    assert read(question="q", system="Be brief.") == Question("1", "q", None, (brief,))
    assert read(messages=[SYSTEM, *TURNS, NEXT]).before == (brief, *BEFORE)
    assert read(messages=[*TURNS, NEXT], system="Be brief.").before == (brief, *BEFORE)
    assert read(question="q", system="") == read(question="q", system=None) == read(question="q")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"messages": []}, "a list of"),
        ({"messages": "hello"}, "a list of"),
        ({"messages": ["hello"]}, "message 1 must be an object"),
        ({"messages": TURNS}, "must end with a message of the user"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "role 'tool' must be"),
        ({"messages": [{"role": "user", "content": 3}]}, "must be a text"),
        ({"messages": [{"role": "user", "content": []}]}, "must be a text"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "only texts are read"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "only texts are read"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": [1]}]}, "not tool_calls"),
        ({"messages": [NEXT, SYSTEM, NEXT]}, "must be the first"),
        ({"messages": [NEXT], "question": "other"}, "differs from the last"),
        ({"messages": [SYSTEM, NEXT], "system": "x"}, "give one of them"),
        ({"question": "q", "system": 3}, "must be a text"),
        ({"question": "q", "image": "a.png"}, "'image' beside a question"),
        ({"question": "q", "images": ["a.png"]}, "'images' beside"),
        ({"question": "q", "tools": [{}]}, "'tools' beside"),
        ({"question": "q", "image_url": "a.png"}, "'image_url' beside"),
        ({"question": "q", "decoded_image": {"bytes": "x"}}, "'decoded_image' beside"),
        ({"question": "q", "image_1": "a.png"}, "'image_1' beside"),
        ({"question": "q", "audio": "a.wav"}, "'audio' beside"),
        ({"messages": [{"role": "user", "content": " "}]}, "question is empty"),
    ],
)
def test_what_is_refused(entry: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read(**entry)


def test_a_list_in_a_json_file_is_read_like_lines(tmp_path: Path) -> None:
    entries = [{"question": "a", "answer": 1}, {"messages": [*TURNS, NEXT], "answer": 4}, 3]
    path, lines = tmp_path / "q.json", tmp_path / "q.jsonl"
    path.write_text(f"\ufeff\n {json.dumps(entries, indent=1)}")
    lines.write_text("\n".join(map(json.dumps, entries)))
    assert read_questions(path) == read_questions(lines)
    questions, bad = read_questions(path)
    assert [q.text for q in questions] == ["a", "And 2 + 2?"]
    assert [line.number for line in bad] == [3]
    assert read_questions(path, 1)[0] == questions[:1]
    path.write_text(json.dumps(entries[:2]))
    assert [p.question for p in load_dataset(str(path))] == ["a", "And 2 + 2?"]
    path.write_text("[{]")
    with pytest.raises(ConfigError, match="not JSON"):
        read_questions(path)
    path.write_text("\n".join(map(json.dumps, entries[:2])))  # lines, whatever the name
    assert read_questions(path)[0] == questions


def test_keys_that_are_not_read_are_named_with_their_first_line(tmp_path: Path) -> None:
    path, unused = tmp_path / "q.jsonl", dict[str, int]()
    entries = [{"question": "a", "level": 1}, {"question": "b", "level": 2, "topic": "x"}]
    path.write_text("\n".join(map(json.dumps, entries)))
    read_questions(path, unused=unused)
    assert unused == {"level": 1, "topic": 2}


def test_a_file_of_ones_own_for_eval_has_conversations_too(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps({"messages": [SYSTEM, *TURNS, NEXT], "answer": "4"}))
    [problem] = load_dataset(str(path))
    assert problem.messages == (Message("system", "Be brief."), *BEFORE, Message(**NEXT))  # type: ignore[arg-type]
    assert (problem.question, problem.answer) == ("And 2 + 2?", "4")
    path.write_text(json.dumps({"question": "q", "image": "x.png", "answer": "4"}))
    with pytest.raises(ConfigError, match="line 1: 'image' beside a question"):
        load_dataset(str(path))


def test_a_key_without_a_value_is_no_key() -> None:
    assert read(question=None, problem="a", image=None, tools=[]) == Question("1", "a")
    assert read(question=None, messages=[NEXT]) == Question("1", "And 2 + 2?")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("q.csv", 'question,answer\n"1 + 1?",2\n', r"a table; with pandas: read_csv\(FILE\)"),
        ("q.jsonl", 'id,question\n1,"1 + 1?"\n', "seems to hold a table"),
        ("q.tsv", "question\tanswer\n1 + 1?\t2\n", r"read_csv\(FILE, sep='\\t'\)"),
        ("q.txt", "1 + 1?\n2 + 2?\n", r'such as {"question": "How much'),
        ("q.jsonl", '{\n  "question": "1 + 1?"\n}\n', "one object over several lines"),
        ("q.jsonl", '[{"question": "1 + 1?"}]', r"a list, which is read .* \.json"),
        ("q.jsonl", '\ufeff["1 + 1?"]\n', "a list, which is read"),
        ("q.json", '["1 + 1, please?"]', r'such as {"question": "How much'),
    ],
)
def test_a_file_in_another_format_is_told_once(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        read_questions(path)
    assert str(path) in str(caught.value)


def test_one_object_over_several_lines_in_a_json_file(tmp_path: Path) -> None:
    path = tmp_path / "q.json"
    path.write_text(json.dumps({"question": "1 + 1?", "answer": 2}, indent=2))
    assert read_questions(path) == ([Question("1", "1 + 1?", "2")], [])
    path.write_text(json.dumps({"data": [{"question": "1 + 1?"}]}, indent=2))
    [line] = read_questions(path)[1]
    assert "found 'data'" in line.reason
    path.write_text('{"question": "a", "x": "' + "y" * 3000 + '"}\n{"question": "b"}\n')
    assert [q.text for q in read_questions(path)[0]] == ["a", "b"]
    path.write_text('{"question": "a"\n{"question": "b"}\n')  # lines, the first one broken
    questions, bad = read_questions(path)
    assert ([q.text for q in questions], [line.number for line in bad]) == (["b"], [1])
