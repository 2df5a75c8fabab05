"""What people are told where something goes wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.page.conftest import Watch
from tests.integration.page.fake_server import Cut, Event, Failure, FakeServer, answer

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.integration


@pytest.fixture
def opened(page: Page, server: FakeServer, watch: Watch) -> Page:
    watch.expects_failures = True
    page.goto(server.url)
    page.locator("#solve:enabled").wait_for()
    return page


def ask(page: Page) -> None:
    page.get_by_role("button", name="Solve").click()


def notice(page: Page) -> str:
    page.locator("#notice .notice").wait_for()
    return page.locator("#notice p").inner_text()


@pytest.mark.parametrize(
    ("status", "message"),
    [(400, "max_tokens: 9000 is above the context"), (404, "no model"), (500, "a model died")],
)
def test_the_message_of_the_server_is_shown(
    opened: Page, server: FakeServer, status: int, message: str
) -> None:
    server.reply = lambda _: Failure(status, message)
    ask(opened)
    assert notice(opened) == message
    assert opened.locator("article.run").get_attribute("data-state") == "failed"


def test_trying_again_asks_the_same(opened: Page, server: FakeServer) -> None:
    server.reply = lambda _: Failure(500, "a model died")
    opened.locator("#threshold").fill("0.33")
    ask(opened)
    notice(opened)
    server.reply = answer
    opened.get_by_role("button", name="Try again").click()
    opened.locator("[data-state=done]").wait_for()
    assert server.requests[0] == server.requests[1]
    assert opened.locator("#notice .notice").count() == 0


def test_an_error_within_the_stream(opened: Page, server: FakeServer) -> None:
    def reply(request: dict[str, Any]) -> Iterator[Event]:
        yield from list(answer(request))[:12]
        yield {"error": {"message": "the target is gone", "type": "server_error"}}

    server.reply = reply
    ask(opened)
    assert notice(opened) == "the target is gone"
    assert opened.locator("ol.steps > li.draft").count() == 1


def test_a_connection_that_breaks_keeps_what_arrived(opened: Page, server: FakeServer) -> None:
    def reply(request: dict[str, Any]) -> Iterator[Event | Cut]:
        for event in answer(request):
            yield event
            if event["rsd"]["event"] == "decided":
                yield Cut()

    server.reply = reply
    ask(opened)
    assert "connection to the server was lost" in notice(opened)
    assert opened.locator("ol.steps > li.draft").count() == 1
    assert opened.locator("li.writing").count() == 0


def test_a_stream_that_ends_without_an_end_is_told(opened: Page, server: FakeServer) -> None:
    server.reply = lambda request: iter(list(answer(request))[:-1])
    ask(opened)
    assert "without saying how it ended" in notice(opened)


def test_a_server_that_is_gone(opened: Page, server: FakeServer) -> None:
    opened.route("**/v1/**", lambda route: route.abort())
    ask(opened)
    assert "cannot be reached" in notice(opened)


def test_a_server_that_is_not_there_yet_can_be_tried_again(
    page: Page, server: FakeServer, watch: Watch
) -> None:
    watch.expects_failures = True
    page.route("**/rsd/info", lambda route: route.abort())
    page.goto(server.url)
    assert "cannot be reached" in notice(page)
    assert page.locator("#solve").is_disabled()
    page.unroute("**/rsd/info")
    page.get_by_role("button", name="Try again").click()
    page.locator("#solve:enabled").wait_for()


def test_a_busy_server_is_asked_again_after_the_time_it_named(
    opened: Page, server: FakeServer
) -> None:
    times: list[float] = []

    def reply(request: dict[str, Any]) -> Failure | Iterator[Event]:
        times.append(time.monotonic())
        return Failure(429, "64 answers wait", "2") if len(times) == 1 else answer(request)

    server.reply = reply
    ask(opened)
    text = notice(opened)
    assert "The server is busy: 64 answers wait. Next" in text
    assert "Next try in 2 s." in text
    opened.locator("[data-state=done]").wait_for()
    assert 1.8 <= times[1] - times[0] < 8
    assert opened.locator("#notice .notice").count() == 0


def test_waiting_ends_with_stop_or_at_once(opened: Page, server: FakeServer) -> None:
    server.reply = lambda _: Failure(503, "draining", "100")
    ask(opened)
    notice(opened)
    opened.get_by_role("button", name="Stop").click()
    opened.locator("[data-state=stopped]").wait_for()
    assert opened.locator("#notice .notice").count() == 0
    ask(opened)
    notice(opened)
    server.reply = answer
    opened.get_by_role("button", name="Try now").click()
    opened.locator("[data-state=done]").wait_for()


def test_a_comparison_waits_once(opened: Page, server: FakeServer) -> None:
    server.reply = lambda _: Failure(429, "busy", "50")
    opened.get_by_role("button", name="Compare").click()
    notice(opened)
    assert opened.locator("#notice .notice").count() == 1
    server.reply = answer
    opened.get_by_role("button", name="Try now").click()
    opened.locator("[data-state=done]").nth(2).wait_for()


def test_a_key_is_asked_for_and_sent_and_not_kept(opened: Page, server: FakeServer) -> None:
    server.key = "sesame"
    opened.reload()
    prompt = opened.get_by_role("dialog")
    prompt.get_by_label("Key").fill("wrong")
    prompt.get_by_role("button", name="Use it").click()
    opened.get_by_text("this key is not known").wait_for()
    prompt.get_by_label("Key").fill("sesame")
    opened.keyboard.press("Enter")
    opened.locator("#solve:enabled").wait_for()
    ask(opened)
    opened.locator("[data-state=done]").wait_for()
    stored = opened.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
    assert "sesame" not in stored
    assert "sesame" not in opened.content()


def test_a_server_that_only_guards_answers_asks_before_the_first(
    page: Page, server: FakeServer, watch: Watch
) -> None:
    server.info["auth"] = True
    page.goto(server.url)
    page.locator("#solve:enabled").wait_for()
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("dialog").get_by_label("Key").fill("sesame")
    page.get_by_role("button", name="Use it").click()
    page.locator("[data-state=done]").nth(2).wait_for()


def test_no_key_no_answer(opened: Page, server: FakeServer) -> None:
    server.key = "sesame"
    ask(opened)
    opened.get_by_role("button", name="Cancel").click()
    assert "needs a key" in notice(opened)


def test_an_empty_question_is_not_sent(opened: Page, server: FakeServer) -> None:
    opened.locator("#question").fill("  ")
    ask(opened)
    opened.wait_for_timeout(200)
    assert not server.requests
    assert opened.evaluate("document.activeElement.id") == "question"


def test_a_bad_setting_that_is_folded_away_is_unfolded(opened: Page, server: FakeServer) -> None:
    opened.get_by_text("More settings").click()
    opened.get_by_label("Temperature").fill("99")
    opened.get_by_text("More settings").click()
    ask(opened)
    opened.get_by_label("Temperature").wait_for()
    assert opened.evaluate("document.activeElement.id") == "temperature"
    assert not server.requests
