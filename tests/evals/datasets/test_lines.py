from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.core.errors import InputError
from rsdecode.evals.datasets.lines import Question, read_question, read_questions


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"question": " a "}', Question("7", "a")),
        ('{"id": 3, "problem": "a"}', Question("3", "a")),
        ('{"id": "x", "question": "a", "problem": "b"}', Question("x", "a")),
        ('{"Question": "b?", "Body": "a."}', Question("7", "a. b?")),
        ('{"Question": "b?"}', Question("7", "b?")),
        ('{"question": "q", "Body": "not this"}', Question("7", "q")),
        ('{"id": null, "question": "q"}', Question("7", "q")),
        ('{"question": "q", "answer": 4}', Question("7", "q", "4")),
        ('{"question": "q", "answer": 4.5}', Question("7", "q", "4.5")),
        ('{"question": "q", "Answer": 145.0}', Question("7", "q", "145")),
        ('{"question": "q", "answer": "#### 4"}', Question("7", "q", "#### 4")),
        ('{"question": "q", "answer": [1, 2]}', Question("7", "q", "[1, 2]")),
        ('{"question": "\\u00e4"}', Question("7", "ä")),
    ],
)
def test_forms(line: str, expected: Question) -> None:
    assert read_question(line.encode(), 7) == expected


@pytest.mark.parametrize(
    "line",
    [
        b"{", b"null", b"3", b'"text"', b"[]", b"{}", b'{"question": null}', b'{"question": ""}',
        b'{"Question": "q", "Body": 3}', b'{"question": "q", "id": true}',
        b'{"question": "q", "id": ""}', b'{"question": "q", "id": 1.5}', b"\xff", b"[" * 100_000,
        b'{"question": "q", "id": ' + b"9" * 5000 + b"}", b'{"id": "\\udc00", "question": "q"}',
    ],
)  # fmt: skip
def test_what_is_no_question(line: bytes) -> None:
    with pytest.raises(InputError) as error:
        read_question(line, 1)
    assert len(str(error.value)) < 200


@given(
    st.binary(max_size=60)
    | st.text(max_size=60).map(lambda text: f'{{"question": {text}}}'.encode())
)
def test_any_line_is_a_question_or_an_input_error(line: bytes) -> None:
    with suppress(InputError):  # and nothing else
        assert read_question(line, 1).text.strip()


def test_a_file_is_read_as_far_as_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"question": "a"}\r\n\n{\n{"question": "b"}\n{\n')
    questions, bad = read_questions(path, 2)
    assert [(q.id, q.text) for q in questions] == [("1", "a"), ("4", "b")]
    assert [line.number for line in bad] == [3]
    assert [line.number for line in read_questions(path)[1]] == [3, 5]
    assert read_questions(path, 3) == read_questions(path)
