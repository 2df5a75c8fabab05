from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.core.errors import ConfigError
from rsdecode.results.output_file import OutputFile, RunKey

RUN = RunKey("abc", 0)


def result(id: str, **changes: Any) -> dict[str, Any]:
    made = {"question": f"{id}?", "id": id, "sample": 0, "stop_reason": "eos"}
    return made | {"config_hash": "abc", "seed": 0} | changes


def stored(path: Path, *results: dict[str, Any]) -> bytes:
    file = OutputFile(path)
    file.begin()
    for one in results:
        file.append(one)
    file.close()
    return path.read_bytes()


def test_what_is_appended_is_done(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    stored(path, result("a"), result("b", sample=1), result("ü\n"))
    file = OutputFile(path)
    assert file.done(RUN, {}) == {("a", 0), ("b", 1), ("ü\n", 0)}
    file.close()


@given(cut=st.integers(min_value=0, max_value=400))
def test_wherever_a_file_is_cut_whole_lines_stay(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "o.jsonl"
    whole = stored(path, result("a"), result("b"), result("c"))
    path.write_bytes(whole[: max(len(whole) - cut, 0)])
    lines = path.read_bytes().count(b"\n")
    file = OutputFile(path)
    done = file.done(RUN, {})
    assert lines <= len(done) <= lines + 1
    file.begin()
    for id in ("a", "b", "c"):
        if (id, 0) not in done:
            file.append(result(id))
    file.close()
    assert path.read_bytes() == whole


def test_files_without_checksums_are_read_and_get_them(tmp_path: Path) -> None:
    """As earlier versions wrote them."""
    path = tmp_path / "o.jsonl"
    results = [result("a"), result("ü", stop_reason="error"), result("c", text="ä")]
    old = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in results)
    path.write_text(old + '{"id": "d", "sam', encoding="utf-8")
    file = OutputFile(path)
    assert file.done(RUN, {}) == {("a", 0), ("c", 0)}
    file.begin()
    file.append(result("ü"))
    file.close()
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [record.pop("crc") is not None for record in records] == [True] * 3
    assert records == [results[0], results[2], result("ü")]
    assert "ä" in path.read_text(encoding="utf-8")


def test_damaged_lines_are_done_again_and_kept_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    lines = stored(path, result("a"), result("b"), result("c")).splitlines(keepends=True)
    lines[1] = lines[1].replace(b"eos", b"eox")
    path.write_bytes(b"".join(lines))
    file = OutputFile(path)
    assert (file.found.damaged, file.found.foreign) == ([2], [])
    assert file.done(RUN, {}) == {("a", 0), ("c", 0)}
    file.begin()
    file.close()
    assert path.read_bytes() == lines[0] + lines[2]
    assert (tmp_path / "o.jsonl.damaged").read_bytes() == lines[1]


def test_nothing_changes_before_begin(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    torn = stored(path, result("a"), result("b", stop_reason="error"))[:-5]
    path.write_bytes(torn)
    for overwrite in (False, True):
        OutputFile(path, overwrite=overwrite).close()
        assert path.read_bytes() == torn


def test_only_one_may_write(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    stored(path, result("a", stop_reason="error"))
    first = OutputFile(path)
    for _ in range(2):  # before and after the file is replaced by its repaired copy
        with pytest.raises(ConfigError, match="being written by another"):
            OutputFile(path)
        first.begin()
    first.close()
    OutputFile(path).close()


@pytest.mark.parametrize(
    ("other", "part"),
    [
        ({"config_hash": "xyz"}, "config_hash 'xyz', here 'abc'"),
        ({"seed": 4}, "seed 4, here 0"),
        ({"question": "else"}, "another question of id 'a'"),
        ({"config_hash": "xyz", "stop_reason": "error"}, "config_hash"),
    ],
)
def test_other_runs_are_refused(tmp_path: Path, other: dict[str, Any], part: str) -> None:
    path = tmp_path / "o.jsonl"
    stored(path, result("a", **other))
    file = OutputFile(path)
    with pytest.raises(ConfigError, match=part):
        file.done(RUN, {"a": "a?"})
    file.close()


def test_questions_that_are_not_asked_now_stay(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    before = stored(path, result("a"), result("b"))
    file = OutputFile(path)
    assert file.done(RUN, {"a": "a?"}) == {("a", 0), ("b", 0)}
    file.begin()
    file.close()
    assert path.read_bytes() == before
