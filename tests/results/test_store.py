from __future__ import annotations

import errno
import fcntl
import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.core.errors import ConfigError
from rsdecode.results.lines import as_line, parse_lines
from rsdecode.results.store import (
    Meta,
    ResultSet,
    Shard,
    Store,
    merge_result_sets,
    read_result_sets,
)

META = Meta("abacus:test", "rsd@0.5", "0123456789abcdef", {"a": 1}, {}, "0.1.0", 0, 4)
IDS = ["a", "ü\n", "c", "d"]


def result(id: str, sample: int = 0, **changes: Any) -> dict[str, Any]:
    made = {"id": id, "sample": sample, "text": id + ': 1, "crc": "00000000"}'}
    return made | {"stop_reason": "eos", "error": None} | changes


WHOLE = b"".join(as_line(result(id)) for id in IDS)


def run(folder: Path, meta: Meta = META, ids: list[str] = IDS) -> set[str]:
    """Do what is left; returns the ids that were done before."""
    with Store(folder, Shard.parse(meta.shard) if meta.shard else None) as store:
        file = store.cell(meta)
        done = {id for id, _ in file.done}
        file.begin({"draft": {"parameters": 7}, "target": None, "reward": None})
        for id in ids:
            if id not in done:
                file.append(result(id))
        file.close()
    return done


def lines_file(folder: Path, meta: Meta = META) -> Path:
    return folder / "cells" / f"{meta.name}.jsonl"


def records(folder: Path) -> list[dict[str, Any]]:
    [cell] = read_result_sets(folder)
    return cell.records


def test_a_line_is_json_and_its_last_entry_the_crc_of_the_rest() -> None:
    line = as_line(result("ü"))
    assert line.endswith(b"\n")
    record = json.loads(line)
    crc = record.pop("crc")
    assert list(json.loads(line))[-1] == "crc"
    assert record == result("ü")
    assert crc == f"{zlib.crc32(json.dumps(record).encode()):08x}"


def test_a_cell_is_described_and_read_back(tmp_path: Path) -> None:
    assert run(tmp_path) == set()
    [cell] = read_result_sets(tmp_path)
    shapes = {"draft": {"parameters": 7}, "target": None, "reward": None}
    assert cell == ResultSet(replace(META, shapes=shapes), sorted(map(result, IDS), key=by_id))
    assert lines_file(tmp_path).name == "abacus-test--rsd@0.5--0123456789abcdef.jsonl"
    assert run(tmp_path) == set(IDS)
    assert lines_file(tmp_path).read_bytes() == WHOLE


@given(cut=st.integers(min_value=0, max_value=len(WHOLE)))
def test_wherever_a_file_is_cut_the_results_are_the_same_in_the_end(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    run(folder)
    lines_file(folder).write_bytes(WHOLE[:cut])
    whole = WHOLE[:cut].count(b"\n")
    [torn] = read_result_sets(folder)  # a reader takes what is whole
    assert len(torn.records) in (whole, whole + 1)
    assert {r["id"] for r in torn.records} == run(folder)
    assert lines_file(folder).read_bytes() == WHOLE


@given(at=st.integers(min_value=0, max_value=len(WHOLE) - 1), bits=st.integers(1, 255))
def test_a_damaged_byte_costs_its_line_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, at: int, bits: int
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    run(folder)
    damaged = WHOLE[:at] + bytes([WHOLE[at] ^ bits]) + WHOLE[at + 1 :]
    lines_file(folder).write_bytes(damaged)
    lost = 2 if WHOLE[at] == ord("\n") and at < len(WHOLE) - 1 else 1  # two lines run together
    assert len(IDS) - lost <= len(run(folder)) <= len(IDS)
    assert records(folder) == sorted(map(result, IDS), key=by_id)


def test_damaged_lines_are_reported_with_their_numbers(tmp_path: Path) -> None:
    run(tmp_path)
    lines = WHOLE.splitlines(keepends=True)
    lines[1] = lines[1].replace(b"eos", b"eox")
    found = parse_lines(b"".join(lines)[:-9])
    assert [r["id"] for r in found.records] == ["a", "c"]
    assert (found.damaged, found.torn) == ([2], True)
    lines_file(tmp_path).write_bytes(b"".join(lines)[:-9])
    [cell] = read_result_sets(tmp_path)
    assert (len(cell.records), cell.damaged) == (2, 2)


@pytest.mark.parametrize("reason", ["error", "cancelled"])
def test_failures_are_tried_again_and_not_doubled(tmp_path: Path, reason: str) -> None:
    with Store(tmp_path) as store:
        file = store.cell(META)
        file.begin({})
        file.append(result("a", stop_reason=reason))
        file.append(result("c"))
        file.close()
    assert records(tmp_path) == [result("a", stop_reason=reason), result("c")]
    assert run(tmp_path) == {"c"}
    assert records(tmp_path) == sorted(map(result, IDS), key=by_id)


def test_nothing_changes_before_begin(tmp_path: Path) -> None:
    run(tmp_path)
    lines_file(tmp_path).write_bytes(WHOLE[:-3])
    with Store(tmp_path) as store:
        file = store.cell(META)
        assert file.found.torn
        with pytest.raises(RuntimeError, match="begin"):
            file.append(result("x"))
        file.close()
    assert lines_file(tmp_path).read_bytes() == WHOLE[:-3]


def test_only_one_process_writes_into_a_folder(tmp_path: Path) -> None:
    first = Store(tmp_path)
    for shard in (None, Shard(1, 2)):
        with pytest.raises(ConfigError, match="being written by another"):
            Store(tmp_path, shard)
    first.close()
    with (
        Store(tmp_path, Shard(1, 2)),
        Store(tmp_path, Shard(2, 2)),
        pytest.raises(ConfigError, match="shard 1/2"),
    ):
        Store(tmp_path, Shard(1, 2))
    with Store(tmp_path, Shard(1, 2)), pytest.raises(ConfigError, match="being written"):
        Store(tmp_path)
    Store(tmp_path).close()


def test_shards_are_merged_and_their_answers_are_not_done_again(tmp_path: Path) -> None:
    one, two = replace(META, shard="1/2"), replace(META, shard="2/2")
    run(tmp_path, one, IDS[::2])
    assert run(tmp_path, two, IDS[1::2]) == set(IDS[::2])
    assert records(tmp_path) == sorted(map(result, IDS), key=by_id)
    assert run(tmp_path, META) == set(IDS)  # the whole run finds nothing to do
    [cell] = read_result_sets(tmp_path)
    assert (len(cell.records), cell.meta.shard) == (4, None)


def test_cells_of_several_folders_are_merged(tmp_path: Path) -> None:
    run(tmp_path / "a", replace(META, shard="1/2"), IDS[::2])
    run(tmp_path / "b", replace(META, shard="2/2", problems=9), IDS[1::2])
    run(tmp_path / "b", replace(META, method="draft"), IDS)
    cells = read_result_sets(tmp_path / "a", tmp_path / "b")
    assert {cell.meta.method: len(cell.records) for cell in cells} == {"rsd@0.5": 4, "draft": 4}
    assert next(c.meta.problems for c in cells if c.meta.method == "rsd@0.5") == 9


def test_a_finished_answer_beats_a_failed_one() -> None:
    failed, good = result("a", stop_reason="error"), result("a")
    for order in ([failed, good], [good, failed], [failed, good, failed]):
        assert merge_result_sets([ResultSet(META, [r]) for r in order]).records == [good]


def test_what_was_asked_for_before_is_not_forgotten(tmp_path: Path) -> None:
    run(tmp_path, replace(META, problems=9))
    run(tmp_path, replace(META, problems=4))
    assert read_result_sets(tmp_path)[0].meta.problems == 9


def test_names_are_safe_for_file_systems() -> None:
    wild = replace(META, data="gsm8k@/a b/../c?*:.jsonl", method="best-of-8:min" + "x" * 300)
    assert "/" not in wild.name
    assert set(wild.name) <= set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._,@=+-"
    )
    assert len(wild.name) < 160


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "a/b", "1/2/3", "-1/2"])
def test_bad_shards(text: str) -> None:
    with pytest.raises(ConfigError, match="must be i/n"):
        Shard.parse(text)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_share_out_the_problems(count: int) -> None:
    shards = [Shard.parse(f"{i}/{count}") for i in range(1, count + 1)]
    assert [sum(shard.takes(at) for shard in shards) for at in range(20)] == [1] * 20


def test_folders_that_hold_no_results(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no results"):
        read_result_sets(tmp_path)
    run(tmp_path)
    (tmp_path / "cells" / f"{META.name}.json").write_text('{"data": 1}')
    with pytest.raises(ConfigError, match="does not describe results"):
        read_result_sets(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot be written"):
        Store(tmp_path / "file")


def by_id(record: dict[str, Any]) -> str:
    return str(record["id"])


def test_without_flock_too_only_one_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with Store(tmp_path) as store:
        assert store.warning is not None
        for shard in (None, Shard(1, 2)):
            with pytest.raises(ConfigError, match="being written by another rsd, process"):
                Store(tmp_path, shard)
    with Store(tmp_path, Shard(1, 2)), Store(tmp_path, Shard(2, 2)):
        for shard in (None, Shard(1, 2)):
            with pytest.raises(ConfigError, match="being written by another rsd, process"):
                Store(tmp_path, shard)
    assert run(tmp_path) == set()
    assert run(tmp_path) == set(IDS)


def test_shards_that_begin_at_the_same_moment_all_run(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda i: Store(tmp_path, Shard(i, 8)), range(1, 9)))
    with pytest.raises(ConfigError, match="being written"):
        Store(tmp_path)
    for store in stores:
        store.close()
    Store(tmp_path).close()
