"""The page on `rsd serve` itself, with the embedded family."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

import rsdecode
from tests.integration.page.conftest import Watch

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.integration

pytest.importorskip("rsdecode.server.app", reason="needs rsdecode[server]", exc_type=ImportError)

TOO_LONG_S = 120


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    """`rsd serve` on a free port; its address."""
    log = folder / "log"
    command = [sys.executable, "-m", "rsdecode", "serve", "--port", "0", *options]
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            yield _address(log, process)
        finally:
            process.terminate()
            process.wait(30)


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    until = time.monotonic() + TOO_LONG_S
    while time.monotonic() < until and process.poll() is None:
        text = log.read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"the page is at (http://[\w.:]+/)", text):
            return found[1]
        time.sleep(0.1)
    raise AssertionError(f"rsd serve did not start: {log.read_text(encoding='utf-8')}")


@pytest.fixture(scope="module")
def address(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("serve")
    with serving(folder, "--storage", str(folder / "stored")) as url:
        yield url


@pytest.fixture
def watch(address: str) -> Iterator[Watch]:
    watching = Watch(urlsplit(address).netloc)
    yield watching
    watching.check()


@pytest.fixture
def page(context: BrowserContext, watch: Watch, address: str) -> Page:
    context.set_default_timeout(60_000)
    tab = context.new_page()
    watch.attach(tab)
    tab.goto(address)
    tab.locator("#solve:enabled").wait_for()
    return tab


def run(page: Page, button: str = "Solve") -> None:
    page.get_by_role("button", name=button).click()
    page.locator("[data-state=done]").nth(2 if button == "Compare" else 0).wait_for()


def writers(page: Page) -> list[str]:
    return page.locator("article.run > ol.steps").first.locator(".who > b").all_inner_texts()


def test_answers_are_those_of_rsd_solve(page: Page) -> None:
    with rsdecode.load() as rsd:
        for place in range(page.locator(".example").count()):
            page.locator(".example").nth(place).click()
            run(page)
            solved = rsd.solve(page.locator("#question").input_value())
            assert [who.lower() for who in writers(page)] == [s.source for s in solved.steps]
            assert page.locator(".answer strong").inner_text() == solved.answer
            assert page.locator("details.rejected").count() == sum(
                len(step.rejected) for step in solved.steps
            )


def test_the_first_example_shows_a_rejected_draft(page: Page) -> None:
    run(page)
    assert "TARGET" in [who.upper() for who in writers(page)]
    page.locator("details.rejected summary").first.click()
    assert page.locator("details.rejected del").first.inner_text()


def test_the_slider_changes_who_writes(page: Page) -> None:
    seen: list[int] = []
    for threshold in ("0", "0.7", "1"):
        page.locator("#threshold").fill(threshold)
        run(page)
        seen.append([who.lower() for who in writers(page)].count("draft"))
    assert seen[0] > seen[1] > seen[2]


def test_the_totals_are_there(page: Page) -> None:
    run(page)
    values = page.locator(".totals dd:not(.small)").all_inner_texts()
    assert re.fullmatch(r"−?\d+ %", values[0])
    assert re.fullmatch(r"\d+ %", values[1])
    assert re.fullmatch(r"\d+\.\d s", values[2])
    assert int(values[3]) > 50


def test_compare(page: Page) -> None:
    run(page, "Compare")
    rows = page.locator(".comparison tbody tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows] == ["Draft alone", "RSD", "Target alone"]
    assert "1.00×" in rows[2]
    assert page.locator(".sentence").inner_text()


def test_provisional_text_comes_before_the_step(page: Page) -> None:
    page.evaluate(
        """() => {
          window.seen = new Set();
          const look = () => {
            for (const item of document.querySelectorAll(".provisional .written"))
              if (item.textContent) window.seen.add(item.textContent);
          };
          new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
        }"""
    )
    run(page)
    shown: list[str] = page.evaluate("[...window.seen]")
    steps = page.locator("ol.steps > li .written").all_inner_texts()
    assert any(step.startswith(text) and step != text for step in steps for text in shown)


def test_every_method_can_be_asked(page: Page) -> None:
    for method in page.locator("#method option").all():
        name = method.get_attribute("value")
        assert name is not None
        page.locator("#method").select_option(name)
        run(page)
        assert page.locator(".answer strong").inner_text()


def test_a_question_that_the_family_cannot_read_is_told(page: Page) -> None:
    page.locator("#question").fill("How many bananas does Zoe photograph?")
    run(page)
    assert "bananas" in page.locator(".note-box").inner_text()


def test_stop_and_ask_again(page: Page) -> None:
    page.locator("#method").select_option("target")
    page.get_by_role("button", name="Solve").click()
    page.get_by_role("button", name="Stop").click()
    page.locator("[data-state=stopped]").wait_for()
    run(page)


def test_a_question_beyond_the_context_is_told(page: Page, watch: Watch) -> None:
    watch.expects_failures = True
    page.locator("#question").fill("Ben has 24 buttons. " * 5000)
    page.get_by_role("button", name="Solve").click()
    page.locator("#notice .notice").wait_for()
    assert "context" in page.locator("#notice p").inner_text()


def test_share_by_link(page: Page) -> None:
    run(page, "Compare")
    before = page.locator("#runs").inner_text()
    page.get_by_role("button", name="Share a link").click()
    page.get_by_label("Link to this trajectory").wait_for()
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    page.locator("[data-state=done]").nth(2).wait_for()
    assert page.locator("#runs").inner_text() == before


def test_a_server_with_keys(
    context: BrowserContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("tester a-key-of-tests-0123456789\n", encoding="utf-8")
    os.chmod(keys, 0o600)
    context.set_default_timeout(60_000)
    with serving(tmp_path, "--keys", str(keys)) as url:
        page = context.new_page()
        page.goto(url)
        page.locator("#solve:enabled, dialog[open]").first.wait_for()
        if page.locator("dialog[open]").count() == 0:
            page.get_by_role("button", name="Solve").click()
        prompt = page.get_by_role("dialog")
        prompt.get_by_label("Key").fill("wrong-key")
        page.keyboard.press("Enter")
        page.locator("#key-error:not(:empty)").wait_for()
        prompt.get_by_label("Key").fill("a-key-of-tests-0123456789")
        page.keyboard.press("Enter")
        page.locator("#solve:enabled, [data-state=done]").first.wait_for()
        if page.locator("[data-state=done]").count() == 0:
            run(page)
        assert page.locator(".answer strong").inner_text()
