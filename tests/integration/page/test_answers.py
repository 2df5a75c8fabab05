"""Asking, watching, comparing: on answers that are written in advance."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.page.fake_server import STEPS, Draft, Event, FakeServer, answer

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.integration


@pytest.fixture
def opened(page: Page, server: FakeServer) -> Page:
    page.goto(server.url)
    page.locator("#solve:enabled").wait_for()
    return page


def solve(page: Page, threshold: str | None = None) -> None:
    if threshold is not None:
        page.locator("#threshold").fill(threshold)
    page.get_by_role("button", name="Solve").click()
    done(page).wait_for()


def done(page: Page) -> Locator:
    return page.locator("article.run[data-state=done]")


def steps(page: Page) -> Locator:
    return page.locator("article.run > ol.steps").first.locator("> li")


def total(page: Page, name: str) -> str:
    return page.locator(".totals > div", has_text=name).first.locator("dd").first.inner_text()


def until_step(count: int, pause: float = 30.0) -> Any:
    """An answer that stands still after so many steps."""

    def reply(request: dict[str, Any]) -> Iterator[Event | float]:
        decided = 0
        for event in answer(request):
            yield event
            decided += event["rsd"]["event"] == "decided"
            if decided == count and event["rsd"]["event"] == "delta":
                yield pause

    return reply


def test_the_page_says_which_models_it_serves(opened: Page) -> None:
    assert opened.locator("#model-draft").inner_text() == "abacus:draft"
    assert opened.locator("#model-target").inner_text() == "abacus:target"
    assert opened.locator("#model-reward").inner_text() == "abacus:prm"
    assert "only know word problems" in opened.locator("#language").inner_text()
    assert opened.locator("#question").input_value().startswith("Ben has 24 buttons.")


def test_a_question_is_asked_with_its_settings(opened: Page, server: FakeServer) -> None:
    opened.locator("#question").fill("What is 2 + 2?")
    opened.get_by_text("More settings").click()
    opened.get_by_label("Seed").fill("7")
    opened.get_by_label("Temperature").fill("0.6")
    solve(opened, "0.55")
    [asked] = server.requests
    assert asked["messages"] == [{"role": "user", "content": "What is 2 + 2?"}]
    assert asked["rsd"] == {"method": "rsd", "threshold": 0.55, "trace": "deltas"}
    assert (asked["seed"], asked["temperature"], asked["stream"]) == (7, 0.6, True)
    assert "max_tokens" not in asked


def test_steps_show_writer_reward_and_text(opened: Page) -> None:
    solve(opened)
    assert [item.get_attribute("class") for item in steps(opened).all()] == [
        "step draft",
        "step target",
        "step draft",
        "step draft",
    ]
    assert "reward 0.97" in steps(opened).nth(0).locator(".who").inner_text().replace("\n", " ")
    assert "draft’s reward 0.12" in steps(opened).nth(1).locator(".reward").inner_text()
    assert steps(opened).nth(1).locator(".written").last.inner_text().startswith("Taking away 19")
    assert opened.locator(".answer strong").inner_text() == "50"
    assert total(opened, "FLOPs saved") == "70 %"
    assert total(opened, "Accepted") == "75 %"
    assert total(opened, "Time") == "0.4 s"
    assert total(opened, "Tokens") == "100"


def test_a_bar_is_as_long_as_the_reward_and_has_the_threshold(opened: Page) -> None:
    solve(opened)
    for place, draft in enumerate(STEPS):
        gauge = steps(opened).nth(place).locator(".gauge")
        whole, fill, line = (
            box
            for part in (gauge, gauge.locator("i"), gauge.locator("b"))
            if (box := part.bounding_box()) is not None
        )
        assert fill["width"] / whole["width"] == pytest.approx(draft.reward, abs=0.03)
        middle = line["x"] + line["width"] / 2 - whole["x"]
        assert middle / whole["width"] == pytest.approx(0.7, abs=0.02)


def test_steps_appear_as_they_are_decided(opened: Page, server: FakeServer) -> None:
    server.reply = until_step(1)
    opened.get_by_role("button", name="Solve").click()
    writing = opened.locator("li.writing")
    writing.get_by_text("Taking away", exact=False).wait_for()
    assert steps(opened).count() == 1
    assert "is writing" in writing.inner_text()
    assert total(opened, "Accepted") == "100 %"
    assert not opened.locator(".answer").is_visible()
    first = float(total(opened, "Time").removesuffix(" s"))
    opened.wait_for_timeout(300)
    assert float(total(opened, "Time").removesuffix(" s")) > first
    opened.get_by_role("button", name="Stop").click()


def test_a_draft_that_is_rejected_is_struck_out_while_the_target_writes(
    opened: Page, server: FakeServer
) -> None:
    def reply(request: dict[str, Any]) -> Iterator[Event | float]:
        for event in answer(request):
            yield event
            if event["rsd"].get("role") == "target":
                yield 30.0

    server.reply = reply
    opened.get_by_role("button", name="Solve").click()
    opened.locator(".provisional.replaced").wait_for()
    texts = opened.locator("li.writing .provisional").all_inner_texts()
    assert "DRAFT" in texts[0].upper()
    assert "0.12" in texts[0]
    assert "TARGET" in texts[1].upper()
    opened.get_by_role("button", name="Stop").click()


def test_a_draft_that_is_cut_is_not_said_to_be_scored(opened: Page, server: FakeServer) -> None:
    def reply(request: dict[str, Any]) -> Iterator[Event | float]:
        for event in answer(request):
            if event["rsd"]["event"] == "proposed":
                event["rsd"]["finish_reason"] = "step_limit"
            if event["rsd"]["event"] != "scored":
                yield event
            if event["rsd"].get("role") == "target":
                yield 30.0

    server.reply = reply
    opened.locator("#threshold").fill("0.99")
    opened.get_by_role("button", name="Solve").click()
    opened.locator(".provisional.replaced").wait_for()
    texts = opened.locator("li.writing .provisional").all_inner_texts()
    assert "was cut at its limit" in texts[0]
    assert "TARGET" in texts[1].upper()
    opened.get_by_role("button", name="Stop").click()


def test_provisional_text_is_gone_when_the_answer_has_ended(opened: Page) -> None:
    solve(opened)
    assert opened.locator("li.writing, .provisional").count() == 0


def test_the_slider_changes_acceptance(opened: Page) -> None:
    seen = {}
    for threshold in ("0.1", "0.7", "0.9", "1"):
        solve(opened, threshold)
        seen[threshold] = total(opened, "Accepted")
    assert seen == {"0.1": "100 %", "0.7": "75 %", "0.9": "50 %", "1": "0 %"}


def test_moving_the_slider_says_what_would_change(opened: Page) -> None:
    solve(opened)
    preview = opened.locator(".preview")
    assert not preview.is_visible()
    opened.locator("#threshold").fill("0.9")
    assert "step 3 would be the first" in preview.inner_text()
    assert steps(opened).nth(2).locator(".turned").inner_text() == "rejected at 0.90"
    assert steps(opened).nth(0).locator(".gauge u").is_visible()
    opened.locator("#threshold").fill("0.1")
    assert "let through" in steps(opened).nth(1).locator(".turned").inner_text()
    opened.locator("#threshold").fill("0.75")
    assert "every draft here would be decided as it was" in preview.inner_text()
    opened.locator("#threshold").fill("0.7")
    assert not preview.is_visible()


def test_compare_shows_draft_rsd_and_target_side_by_side(opened: Page, server: FakeServer) -> None:
    opened.get_by_role("button", name="Compare").click()
    done(opened).nth(2).wait_for()
    assert sorted(request["rsd"]["method"] for request in server.requests) == [
        "draft",
        "rsd",
        "target",
    ]
    assert len({request["messages"][0]["content"] for request in server.requests}) == 1
    boxes = [box for run in done(opened).all() if (box := run.bounding_box())]
    assert len({round(box["y"]) for box in boxes}) == 1
    assert len({round(box["x"]) for box in boxes}) == 3
    rows = opened.locator(".comparison tbody tr").all_inner_texts()
    assert [[cell.strip() for cell in row.split("\t")[:3]] for row in rows] == [
        ["Draft alone", "60", "0.05×"],
        ["RSD", "50", "0.30×"],
        ["Target alone", "50", "1.00×"],
    ]
    assert opened.locator(".sentence").inner_text() == (
        "RSD gives the answer of the target alone with 0.30× its FLOPs."
    )


def test_a_rejected_draft_unfolds(opened: Page) -> None:
    solve(opened)
    draft = steps(opened).nth(1).locator("details.rejected")
    assert not draft.locator("del").is_visible()
    draft.locator("summary").focus()
    opened.keyboard.press("Enter")
    assert draft.locator("del").is_visible()
    assert "Taking away 19 leaves" in draft.locator("del").inner_text()


def test_stop_ends_an_answer_and_keeps_what_there_is(opened: Page, server: FakeServer) -> None:
    server.reply = until_step(2)
    opened.get_by_role("button", name="Solve").click()
    steps(opened).nth(1).wait_for()
    opened.get_by_role("button", name="Stop").click()
    opened.locator("article.run[data-state=stopped]").wait_for()
    assert steps(opened).count() == 2
    assert opened.locator(".answer").inner_text() == "Stopped: there is no answer."
    assert opened.get_by_role("button", name="Solve").is_visible()
    assert not opened.locator("#notice").inner_text()


def test_an_answer_that_was_cut_is_not_an_answer(opened: Page, server: FakeServer) -> None:
    def reply(request: dict[str, Any]) -> Iterator[Event]:
        for event in answer(request):
            if event["rsd"]["event"] == "finished":
                event["rsd"] |= {"answer": None, "finish_reason": "length", "note": "Cut."}
            yield event

    server.reply = reply
    solve(opened)
    assert opened.locator(".answer").inner_text().startswith("No answer: it reached the token")
    assert opened.locator(".note-box").inner_text() == "Cut."


def test_a_method_without_steps_shows_its_text(opened: Page, server: FakeServer) -> None:
    def reply(request: dict[str, Any]) -> Iterator[Event]:
        yield {"choices": [{"index": 0, "delta": {"content": "Most samples "}}]}
        yield {"choices": [{"index": 0, "delta": {"content": "say 50."}}]}
        yield list(answer(request))[-1]

    server.reply = reply
    opened.get_by_label("Method").select_option("majority@8")
    solve(opened)
    assert server.requests[0]["rsd"] == {"method": "majority@8", "trace": "deltas"}
    assert opened.locator("li.plain").inner_text() == "Most samples say 50."


def test_several_candidates_are_shown_side_by_side(opened: Page, server: FakeServer) -> None:
    def reply(_: dict[str, Any]) -> Iterator[Event | float]:
        for candidate, text in enumerate(("One way.", "Another way.")):
            event = {"choice": 0, "step": 0, "candidate": candidate, "text": text}
            yield {"rsd": {"event": "delta", "role": "draft", **event}}
        yield 30.0

    server.reply = reply
    opened.get_by_role("button", name="Solve").click()
    opened.get_by_text("Another way.").wait_for()
    assert opened.locator(".provisional .written").all_inner_texts() == ["One way.", "Another way."]
    opened.get_by_role("button", name="Stop").click()


def test_where_chance_decides_the_weight_is_shown_and_nothing_is_foretold(
    opened: Page, server: FakeServer
) -> None:
    def reply(request: dict[str, Any]) -> Iterator[Event]:
        for event in answer(request):
            if event["rsd"]["event"] == "decided":
                event["rsd"]["weight"] = 0.62
            yield event

    server.reply = reply
    solve(opened)
    assert "weight 0.62" in steps(opened).nth(0).inner_text()
    opened.locator("#threshold").fill("0.95")
    assert not opened.locator(".preview").is_visible()


def test_a_weighting_function_without_a_threshold_has_no_slider(
    page: Page, server: FakeServer
) -> None:
    server.info |= {"threshold": None, "weighting": "clipping"}
    page.goto(server.url)
    page.locator("#solve:enabled").wait_for()
    assert page.locator("#threshold").is_disabled()
    assert "clipping" in page.locator("#threshold-note").inner_text()
    solve(page)
    assert server.requests[0]["rsd"] == {"method": "rsd", "trace": "deltas"}


def test_running_totals_where_the_server_counts_flops_as_it_goes(
    opened: Page, server: FakeServer
) -> None:
    def reply(request: dict[str, Any]) -> Iterator[Event | float]:
        for event in answer(request):
            if event["rsd"]["event"] == "decided":
                event["rsd"]["flops"] = {"total": 5e6, "saved": 0.42}
                yield event
                yield 30.0
            yield event

    server.reply = reply
    opened.get_by_role("button", name="Solve").click()
    steps(opened).first.wait_for()
    assert total(opened, "FLOPs saved") == "42 %"
    opened.get_by_role("button", name="Stop").click()


def by_the_paper(request: dict[str, Any]) -> Iterator[Event]:
    """An answer whose FLOPs are counted twice: exactly, 40 % of the target's are saved."""
    for event in answer(request):
        if event["rsd"]["event"] == "finished":
            paper = event["rsd"]["flops"]
            exact = {"draft": 1e6, "rsd": 6e6, "target": 1e7}[request["rsd"]["method"]]
            counts = {"total": exact, "target_alone": 1e7, "saved": 1 - exact / 1e7}
            event["rsd"]["flops"] = counts | {"paper": paper}
        yield event


def test_flops_by_the_paper_and_exactly(opened: Page, server: FakeServer) -> None:
    server.reply = by_the_paper
    solve(opened)
    tile = opened.locator(".totals > div", has_text="FLOPs saved").locator("dd").all_inner_texts()
    assert tile == ["70 %", "exact count 40 %"]
    opened.get_by_role("button", name="Compare").click()
    done(opened).nth(2).wait_for()
    row = opened.locator(".comparison tbody tr").nth(1).locator("td").all_inner_texts()
    assert [cell.strip() for cell in row[:3]] == ["50", "0.30×", "0.60×"]
    assert "with 0.30× its FLOPs (exact count: 0.60×)." in opened.locator(".sentence").inner_text()


def test_the_page_works_behind_a_prefix(page: Page, server: FakeServer) -> None:
    server.prefix = "/tools/rsd"
    page.goto(server.url)
    page.locator("#solve:enabled").wait_for()
    solve(page)
    page.get_by_role("button", name="Share a link").click()
    page.get_by_label("Link to this trajectory").wait_for()
    assert page.url == f"{server.url}#trajectory=t0"


def test_roles_that_a_server_does_without_are_not_shown(page: Page, server: FakeServer) -> None:
    server.info |= {"models": {"target": "hf:a/b"}, "methods": ["target"], "method": "target"}
    page.goto(server.url)
    page.locator("#solve:enabled").wait_for()
    assert page.locator(".roles li:visible").all_inner_texts()[0].startswith("Target")
    assert page.locator(".roles li:visible").count() == 1
    assert not page.get_by_role("button", name="Compare").is_visible()


def test_a_long_answer_keeps_the_page_quick(opened: Page, server: FakeServer) -> None:
    many = tuple(Draft(f"Step \\({n}^2 = {n * n}\\) of many.\n\n", 0.9) for n in range(400))
    server.reply = lambda request: answer(request, many)
    solve(opened)
    assert steps(opened).count() == 400
    started = time.monotonic()
    opened.locator("#threshold").fill("0.95")
    assert "step 1 would be the first" in opened.locator(".preview").inner_text()
    assert time.monotonic() - started < 2
