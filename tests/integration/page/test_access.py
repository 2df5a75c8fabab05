"""For everybody: phones, dark and light, keyboards, screen readers, reduced motion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.page.conftest import Watch
from tests.integration.page.fake_server import Draft, Event, Failure, FakeServer, answer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.integration


@pytest.fixture
def opened(page: Page, server: FakeServer) -> Page:
    page.goto(server.url)
    page.locator("#solve:enabled").wait_for()
    return page


def run(page: Page, button: str = "Solve") -> None:
    page.get_by_role("button", name=button).click()
    page.locator("[data-state=done]").nth(2 if button == "Compare" else 0).wait_for()


def findings(page: Page) -> list[str]:
    """What axe finds that is serious or worse."""
    from axe_playwright_python.sync_playwright import Axe

    violations = Axe().run(page).response["violations"]
    return [
        f"{found['impact']}: {found['help']}: {node['html'][:200]} {node['failureSummary']}"
        for found in violations
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 390])
def test_axe_finds_nothing_serious(page: Page, server: FakeServer, scheme: Any, width: int) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 850})
    page.goto(server.url)
    page.locator("#solve:enabled").wait_for()
    assert not findings(page)
    page.get_by_text("More settings").click()
    run(page)
    page.locator("#threshold").fill("0.9")
    page.locator("details.rejected summary").click()
    page.get_by_role("button", name="Share a link").click()
    page.get_by_label("Link to this trajectory").wait_for()
    assert not findings(page)
    run(page, "Compare")
    assert not findings(page)


def test_axe_finds_nothing_serious_where_formulas_are_wider_than_the_page(
    opened: Page, server: FakeServer
) -> None:
    opened.set_viewport_size({"width": 390, "height": 844})
    wide = "$$" + "+".join(f"x_{{{n}}}" for n in range(60)) + "$$"
    code = "```\n" + "print(1); " * 40 + "\n```"
    server.reply = lambda request: answer(request, (Draft(wide, 0.9), Draft(code, 0.9)))
    opened.locator("#question").fill("Long. " * 300)
    run(opened)
    assert not findings(opened)
    assert opened.locator("ol.steps [tabindex='0']").count() == 2


def test_axe_finds_nothing_serious_while_it_is_written_and_in_messages(
    opened: Page, server: FakeServer, watch: Watch
) -> None:
    watch.expects_failures = True

    def reply(request: dict[str, Any]) -> Iterator[Event | float]:
        for event in answer(request):
            yield event
            if event["rsd"].get("role") == "target":
                yield 30.0

    server.reply = reply
    opened.get_by_role("button", name="Solve").click()
    opened.locator(".provisional.replaced").wait_for()
    assert not findings(opened)
    opened.get_by_role("button", name="Stop").click()
    server.reply = lambda _: Failure(429, "busy", "100")
    opened.get_by_role("button", name="Solve").click()
    opened.locator("#notice .notice").wait_for()
    assert not findings(opened)
    opened.get_by_role("button", name="Stop").click()
    server.key = "sesame"
    opened.reload()
    opened.get_by_role("dialog").wait_for()
    assert not findings(opened)


@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_needs_no_sideways_scrolling(page: Page, server: FakeServer, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    long = r"$$" + "+".join(f"x_{{{n}}}" for n in range(60)) + "$$ " + "y" * 300 + " ```"
    steps = (Draft(long, 0.9), Draft(long, 0.2, long))
    server.reply = lambda request: answer(request, steps)
    page.goto(server.url)
    page.locator("#solve:enabled").wait_for()
    for button in ("Solve", "Compare"):
        run(page, button)
        page.locator("details.rejected summary").first.click()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        outside = page.evaluate(
            """() => [...document.querySelectorAll("button, input, select, textarea, li, h2, dd")]
              .filter((node) => node.checkVisibility() && !node.closest(".scroll"))
              .filter((node) => node.getBoundingClientRect().right > innerWidth)
              .map((node) => node.outerHTML.slice(0, 80))"""
        )
        assert not outside
    heights = [
        (box["height"], button.inner_text())
        for button in page.locator("main button:visible").all()
        if (box := button.bounding_box())
    ]
    assert min(heights)[0] >= 40, min(heights)


def brightness(page: Page) -> float:
    """Of the page's background, from 0 to 255."""
    return page.evaluate(
        """() => {
          const canvas = document.createElement("canvas").getContext("2d");
          canvas.fillStyle = getComputedStyle(document.body).backgroundColor;
          canvas.fillRect(0, 0, 1, 1);
          return Math.max(...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3));
        }"""
    )


def test_dark_and_light_follow_the_system_and_can_be_chosen(page: Page, server: FakeServer) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(server.url)
    assert brightness(page) < 64
    page.emulate_media(color_scheme="light")
    assert brightness(page) > 200
    page.get_by_role("button", name="Theme").click()
    assert brightness(page) < 64
    page.reload()
    assert page.get_by_role("button", name="Theme").inner_text() == "Theme: dark"
    assert brightness(page) < 64


def test_everything_can_be_done_with_a_keyboard(opened: Page, server: FakeServer) -> None:
    order: list[str] = []
    for _ in range(14):
        opened.keyboard.press("Tab")
        order.append(
            opened.evaluate("document.activeElement.id || document.activeElement.className")
        )
    wanted = ["skip", "theme", "question", "example", "method", "threshold", "compare", "solve"]
    assert [name for name in dict.fromkeys(order) if name in wanted] == wanted
    opened.locator("#threshold").focus()
    opened.keyboard.press("ArrowRight")
    assert opened.locator("#threshold-value").inner_text() == "0.71"

    def reply(request: dict[str, Any]) -> Iterator[Event | float]:
        yield from list(answer(request))[:9]
        yield 30.0

    server.reply = reply
    opened.locator("#solve").focus()
    opened.keyboard.press("Enter")
    opened.locator("li.writing").wait_for()
    assert opened.evaluate("document.activeElement.id") == "stop"
    opened.keyboard.press("Enter")
    opened.locator("[data-state=stopped]").wait_for()
    assert opened.evaluate("document.activeElement.id") == "solve"
    opened.locator("#question").focus()
    opened.keyboard.press("Control+Enter")
    opened.locator("[data-state=running]").wait_for()
    assert opened.evaluate("document.activeElement.id") == "question"
    opened.keyboard.press("Escape")
    opened.locator("[data-state=stopped]").wait_for()


def test_screen_readers_hear_steps_and_the_answer_once(opened: Page) -> None:
    opened.evaluate(
        """() => {
          window.heard = [];
          const status = document.getElementById("status");
          new MutationObserver(() => window.heard.push(status.textContent))
            .observe(status, { childList: true });
        }"""
    )
    run(opened)
    heard = opened.evaluate("window.heard")
    assert heard[0] == "Step 1 by the draft, reward 0.97."
    assert heard[1] == "Step 2 by the target, the draft’s reward 0.12."
    assert heard[-1] == (
        "RSD: answer 50. 3 of 4 steps by the draft. 70 % of the target’s FLOPs saved."
    )
    assert len(heard) == 5


def test_rewards_say_where_the_threshold_is(opened: Page) -> None:
    run(opened)
    said = opened.locator("ol.steps > li .reward").all_text_contents()
    assert said[0] == "reward 0.97, not below the threshold 0.70"
    assert said[1] == "draft’s reward 0.12, below the threshold 0.70"


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_motion_is_reduced_where_it_is_asked_for(
    browser: Browser, server: FakeServer, motion: Any
) -> None:
    with browser.new_context(reduced_motion=motion) as context:
        page = context.new_page()
        page.goto(server.url)
        page.locator("#solve:enabled").wait_for()
        page.evaluate("document.addEventListener('animationstart', () => (window.moved = true))")
        run(page)
        page.wait_for_timeout(100)
        assert bool(page.evaluate("window.moved")) == (motion == "no-preference")


def test_the_step_that_is_written_stays_in_view_until_one_scrolls(
    page: Page, server: FakeServer
) -> None:
    page.set_viewport_size({"width": 800, "height": 500})

    def reply(request: dict[str, Any]) -> Iterator[Event | float]:
        for event in answer(request, (Draft("a line\n" * 6, 0.9),) * 12):
            yield event
            yield 0.01

    server.reply = reply
    page.goto(server.url)
    page.locator("#solve:enabled").wait_for()
    run(page)
    at = page.evaluate("scrollY")
    assert at > 800
    page.mouse.wheel(0, -10_000)
    page.wait_for_function("() => scrollY === 0")
    page.get_by_role("button", name="Solve").click()
    page.locator("ol.steps > li").nth(3).wait_for()
    page.mouse.move(400, 300)
    page.mouse.wheel(0, -10_000)
    page.locator("[data-state=done]").wait_for()
    assert page.evaluate("scrollY") < 400
