from __future__ import annotations

import builtins
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from rsdecode.cli.main import main
from rsdecode.evals.report.excerpts import MAX_TEXT, ExcerptSource, choose
from tests.evals.report.runs import write_run

EVIL = "</script><img src=x onerror=alert(1)>$\\frac$`|"
VOID = {"meta", "link", "img", "input", "br", "hr", "use", "path"}


class Page(HTMLParser):
    """Checks that every element is closed; collects ids, links, table cells and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.cells: list[list[str]] = []
        self.scripts: list[str] = []
        self.text = text
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name == "id":
                self.ids.append(str(value))
            if name in ("src", "href", "xlink:href"):
                self.links.append(str(value))
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1][-1] += data
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, ("draft", "target", "rsd", "rsd@0.4"), data=EVIL)
    assert main(["report", str(folder), "--paper", "--trajectories", "30"]) == 0
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_the_page_stands_alone(page: Page) -> None:
    assert all(link.startswith("#") for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert page.tags.count("figure") == 5
    assert "default-src 'none'" in page.text


def test_texts_of_the_results_stay_texts(page: Page) -> None:
    assert "img" not in page.tags
    assert page.tags.count("script") == 2
    entries = json.loads(page.scripts[0])
    assert {entry["data"] for entry in entries} == {EVIL}
    assert "<b>three</b>" in entries[0]["steps"][0]["text"]
    assert "innerHTML" not in page.scripts[1]


def test_the_tables_say_what_the_numbers_say(folder: Path, page: Page) -> None:
    numbers = json.loads((folder / "report.json").read_text())
    results = {row[0]: row for row in page.cells if len(row) == 12}
    costs = {row[0]: row for row in page.cells if len(row) == 14}
    for method in numbers["datasets"][0]["methods"]:
        row, cost = results[method["label"]], costs[method["label"]]
        accuracy = [method[key] for key in ("accuracy", "accuracy_low", "accuracy_high")]
        assert _numbers(row[2]) == [round(100 * value, 1) for value in accuracy]
        if method["to_target"] is not None:
            difference = method["to_target"]["difference"].values()
            assert _numbers(row[3]) == [round(100 * value, 1) for value in difference]
            assert float(row[4]) == pytest.approx(method["to_target"]["p_value"], rel=5e-3)
        for place, key in enumerate(
            ("acceptance_rate", "token_acceptance_rate", "draft_alone", "truncation_rate"), 5
        ):
            expected = [] if method[key] is None else [round(100 * method[key], 1)]
            assert _numbers(row[place]) == expected
        assert [int(text.replace(",", "")) for text in cost[1:4]] == list(method["tokens"].values())
        for rule, first in (("paper", 4), ("exact", 9)):
            totals = [*(part[rule] for part in method["flops_by_role"].values())]
            totals.append(method["flops"][rule])
            shown = [float(text) * method["answers"] for text in cost[first : first + 4]]
            assert shown == pytest.approx(totals, rel=6e-3)
            assert float(cost[first + 4][:-1]) == pytest.approx(
                method["relative_flops"][rule], abs=6e-4
            )


def test_markdown_and_its_pictures(folder: Path) -> None:
    text = (folder / "report.md").read_text(encoding="utf-8")
    files = re.findall(r"\]\((report-pictures/[^)]+\.svg)\)", text)
    assert len(files) == 5
    for file in files:
        root = ElementTree.parse(folder / file).getroot()
        assert root.tag.endswith("}svg")
    outside = re.sub(r"(`{3,})\n.*?\n\1", "", text, flags=re.DOTALL)
    assert re.findall(r"(?<!\\)[<>|`$]img", outside) == []
    assert "\\<img" in outside
    assert "The paper's Table 2 has nothing on" in text
    assert "run.json" in text


def test_what_is_left_out_is_said(folder: Path, page: Page) -> None:
    entries = json.loads(page.scripts[0])
    assert 0 < len(entries) <= 30
    note = f"{len(entries)} of 80 trajectories; {80 - len(entries)} are left out"
    assert note in (folder / "report.html").read_text(encoding="utf-8")


def record(problem: str, correct: bool, text: str = "x") -> dict[str, Any]:
    step = {"source": "draft", "text": text, "reward": None, "weight": None, "accepted": True}
    return {
        "id": problem,
        "sample": 0,
        "question": "q",
        "reference": "1",
        "grade": {"correct": correct, "extracted": "1", "reference": "1", "rule": "exact"},
        "stop_reason": "eos",
        "error": None,
        "seconds": 1.0,
        "steps": [{**step, "rejected": []}],
    }


def test_whole_problems_are_chosen_disputed_ones_in_turn() -> None:
    right = [record(str(i), True) for i in range(6)]
    mixed = [record(str(i), i not in (3, 5)) for i in range(6)]
    chosen = choose([ExcerptSource("d", "a", right), ExcerptSource("d", "b", mixed)], 7)
    assert [(e["id"], e["method"]) for e in chosen.entries] == [
        (problem, method) for problem in ("3", "0", "5") for method in "ab"
    ]
    assert chosen.total == 12
    two = choose([ExcerptSource("d", "a", right), ExcerptSource("e", "a", right)], 4).entries
    assert [e["data"] for e in two] == ["d", "d", "e", "e"]
    assert choose([ExcerptSource("d", "a", right)], 0).entries == []


def test_long_texts_are_cut_and_say_so() -> None:
    [entry] = choose(
        [ExcerptSource("d", "a", [record("0", True, "y" * (MAX_TEXT + 5))])], 1
    ).entries
    assert entry["steps"][0]["text"].endswith("y [... 5 more characters]")


def test_the_papers_rows_stand_beside_ours(tmp_path: Path) -> None:
    write_run(tmp_path, ("target", "rsd"), data="gsm8k", count=3)
    assert main(["report", str(tmp_path), "--paper", "--no-pictures"]) == 0
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    rows = {row[0]: row[2] for row in page.cells if len(row) == 3}
    assert rows["target"] == "95.7 (target, 7B), 95.8 (target, 72B)"
    assert "96.7 (RSD, delta 0.7, 7B/72B/7B)" in rows["rsd"]


def test_a_missing_library_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, ("target",), count=1)
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["report", str(tmp_path)]) == 2
    assert "pip install 'rsdecode[report]'" in capsys.readouterr().err


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"[-+]?\d+\.\d+", text)]
