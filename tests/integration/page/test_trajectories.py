"""Trajectories leave the page as files and links, and come back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.page.conftest import Watch
from tests.integration.page.fake_server import Event, FakeServer, answer

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.integration

DROP = """([name, text]) => {
  const data = new DataTransfer();
  data.items.add(new File([text], name));
  const options = { dataTransfer: data, cancelable: true, bubbles: true };
  for (const kind of ["dragenter", "dragover", "drop"])
    window.dispatchEvent(new DragEvent(kind, options));
}"""


@pytest.fixture
def opened(page: Page, server: FakeServer) -> Page:
    page.goto(server.url)
    page.locator("#solve:enabled").wait_for()
    return page


def run(page: Page, button: str = "Solve") -> None:
    page.get_by_role("button", name=button).click()
    page.locator("[data-state=done]").nth(2 if button == "Compare" else 0).wait_for()


def drop(page: Page, text: str, name: str = "a.json") -> None:
    page.evaluate(DROP, [name, text])


def downloaded(page: Page) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename.startswith("rsd-ben-has-24-buttons")
    return Path(download.value.path()).read_text(encoding="utf-8")


def looks(page: Page) -> list[str]:
    return page.locator("#runs").all_inner_texts()


@pytest.mark.parametrize("button", ["Solve", "Compare"])
def test_a_downloaded_trajectory_is_shown_as_it_was(
    opened: Page, server: FakeServer, button: str
) -> None:
    run(opened, button)
    before, text = looks(opened), downloaded(opened)
    opened.reload()
    opened.locator("#solve:enabled").wait_for()
    drop(opened, text)
    opened.locator("[data-state=done]").first.wait_for()
    assert looks(opened) == before
    assert not opened.locator("#drop").is_visible()
    assert json.loads(downloaded(opened)) == json.loads(text)
    assert len(server.requests) == (1 if button == "Solve" else 3)


def test_a_file_can_also_be_chosen(opened: Page, tmp_path: Path) -> None:
    run(opened)
    path = tmp_path / "a.json"
    path.write_text(downloaded(opened), encoding="utf-8")
    opened.locator("#question").fill("another question")
    with opened.expect_file_chooser() as chooser:
        opened.get_by_role("button", name="Open a trajectory").click()
    chooser.value.set_files(path)
    opened.get_by_role("heading", name="RSD", exact=True).wait_for()
    assert opened.locator("#question").input_value().startswith("Ben has 24")


def test_the_question_of_an_answer_is_shown_where_the_form_has_another(opened: Page) -> None:
    run(opened)
    assert not opened.locator("#asked").is_visible()
    opened.locator("#question").fill("another question")
    assert opened.locator("#asked").inner_text().startswith("Ben has 24 buttons.")


def test_a_stopped_answer_is_kept_as_such(opened: Page, server: FakeServer) -> None:
    def reply(request: dict[str, Any]) -> Iterator[Event | float]:
        for event in answer(request):
            yield event
            if event["rsd"]["event"] == "decided":
                yield 30.0

    server.reply = reply
    opened.get_by_role("button", name="Solve").click()
    opened.locator("ol.steps > li.draft").first.wait_for()
    drop(opened, "{}")
    opened.get_by_text("Stop the running answer before").wait_for()
    opened.get_by_role("button", name="Stop").click()
    opened.locator("[data-state=stopped]").wait_for()
    text = downloaded(opened)
    assert json.loads(text)["runs"][0]["finished"] is None
    drop(opened, text)
    assert opened.locator(".answer").inner_text() == "Stopped: there is no answer."


def record() -> dict[str, Any]:
    """A line of `rsd solve`, by the embedded family."""
    import rsdecode
    from rsdecode.results.records import trajectory_to_record

    question = (
        "Olga has 74 cards. The number of cards grows to 6 times as many. Olga splits the cards "
        "equally into 4 boxes and keeps one box. What is the final number of cards?"
    )
    with rsdecode.load() as rsd:
        solved = rsd.solve(question)
    return trajectory_to_record(solved, shapes={}, config_hash="")


def test_a_line_of_rsd_solve_can_be_dropped(opened: Page) -> None:
    value = record()
    for text in (json.dumps(value), f"{json.dumps(value)}\n{json.dumps(value)}\n"):
        drop(opened, text, "answers.jsonl")
        opened.locator("[data-state=done]").wait_for()
        assert opened.locator(".answer strong").inner_text() == value["answer"]
        assert opened.locator("ol.steps > li").count() == len(value["steps"])
        assert opened.locator("details.rejected").count() == sum(
            len(step["rejected"]) for step in value["steps"]
        )
        opened.reload()
        opened.locator("#solve:enabled").wait_for()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no", "It is not JSON."),
        ("", "It is not JSON."),
        ("3", "neither downloaded from this page nor written by rsd solve"),
        ("null", "neither downloaded from this page nor written by rsd solve"),
        ("[]", "neither downloaded from this page nor written by rsd solve"),
        ('{"format": "rsdecode.trajectory/9"}', "of a format that this page does not know"),
        ('{"format": "rsdecode.trajectory/1", "runs": []}', "It holds no runs."),
        ('{"format": "rsdecode.trajectory/1", "runs": [null]}', "It holds no steps."),
        (
            '{"format": "rsdecode.trajectory/1", "runs": [{"steps": [{}]}]}',
            "Its step 1 has no text.",
        ),
    ],
)
def test_what_is_no_trajectory_is_refused_with_a_reason(
    opened: Page, text: str, message: str
) -> None:
    drop(opened, text, "b.json")
    said = opened.locator("#notice p")
    said.wait_for()
    assert said.inner_text().startswith("b.json cannot be opened.")
    assert message in said.inner_text()


def test_values_of_wrong_types_in_a_file_do_no_harm(opened: Page) -> None:
    step = {"text": "a", "source": [], "reward": "x", "weight": {}, "tokens": "9", "rejected": [3]}
    finished = {"answer": 3, "finish_reason": [], "seconds": "x", "tokens": 3, "flops": "no"}
    run = {"request": {"method": 3, "threshold": "x"}, "steps": [step], "finished": finished}
    value = {"format": "rsdecode.trajectory/1", "question": 3, "models": [], "runs": [run]}
    drop(opened, json.dumps(value))
    opened.locator("[data-state=done]").wait_for()
    assert opened.locator("ol.steps > li .written").last.inner_text() == "a"


def test_a_link_shows_the_trajectory_to_others(opened: Page, server: FakeServer) -> None:
    run(opened, "Compare")
    before = looks(opened)
    opened.get_by_role("button", name="Share a link").click()
    field = opened.get_by_label("Link to this trajectory")
    field.wait_for()
    link = field.input_value()
    assert link == f"{server.url}#trajectory=t0"
    assert opened.url == link
    opened.goto("about:blank")
    opened.goto(link)
    opened.locator("[data-state=done]").nth(2).wait_for()
    assert looks(opened) == before
    run(opened)
    assert "#" not in opened.url


def test_a_link_to_nothing(page: Page, server: FakeServer, watch: Watch) -> None:
    watch.expects_failures = True
    page.goto(f"{server.url}#trajectory=gone")
    page.get_by_text("is not stored on this server").wait_for()
    page.locator("#solve:enabled").wait_for()


def test_links_need_storage(page: Page, server: FakeServer) -> None:
    server.info["storage"] = False
    page.goto(server.url)
    page.locator("#solve:enabled").wait_for()
    run(page)
    assert page.get_by_role("button", name="Download").is_visible()
    assert not page.get_by_role("button", name="Share a link").is_visible()


def test_a_link_behind_a_key(page: Page, server: FakeServer, watch: Watch) -> None:
    watch.expects_failures = True
    page.goto(server.url)
    page.locator("#solve:enabled").wait_for()
    run(page)
    page.get_by_role("button", name="Share a link").click()
    page.get_by_label("Link to this trajectory").wait_for()
    link = page.url
    server.key = "sesame"
    page.goto("about:blank")
    page.goto(link)
    page.get_by_role("dialog").get_by_label("Key").fill("sesame")
    page.get_by_role("button", name="Use it").click()
    page.locator("[data-state=done]").wait_for()
