"""Texts of models: mathematics is typeset, and nothing in them is ever markup."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.page.conftest import Watch
from tests.integration.page.fake_server import Draft, Event, Failure, FakeServer, answer

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.integration

MARKUP = "<b id='mark'>bold</b><img src=x onerror='window.hit=1'><script>window.hit=1</script>"


@pytest.fixture
def opened(page: Page, server: FakeServer) -> Page:
    page.goto(server.url)
    page.locator("#solve:enabled").wait_for()
    return page


def show(page: Page, server: FakeServer, *texts: str) -> list[str]:
    """The steps as they look when the models write these texts."""
    steps = tuple(Draft(text, 0.9) for text in texts)
    server.reply = lambda request: answer(request, steps)
    page.get_by_role("button", name="Solve").click()
    page.locator("[data-state=done]").wait_for()
    return page.locator("ol.steps > li .written").all_inner_texts()


def test_markup_of_models_and_servers_stays_text(
    page: Page, server: FakeServer, watch: Watch
) -> None:
    watch.expects_failures = True
    server.info |= {"examples": [MARKUP, MARKUP], "note": MARKUP, "version": MARKUP}
    server.info |= {"models": dict.fromkeys(("draft", "target", "reward"), MARKUP)}
    server.info |= {"methods": ["rsd", MARKUP]}

    def reply(request: dict[str, Any]) -> Iterator[Event]:
        steps = (Draft(MARKUP, 0.9), Draft(f"${MARKUP}$", 0.1, f"**{MARKUP}** `{MARKUP}`"))
        for event in answer(request, steps):
            if event["rsd"]["event"] == "finished":
                event["rsd"] |= {"answer": MARKUP, "note": MARKUP}
            yield event

    server.reply = reply
    page.goto(server.url)
    page.locator("#solve:enabled").wait_for()
    page.get_by_role("button", name="Solve").click()
    page.locator("[data-state=done]").wait_for()
    assert page.locator("ol.steps > li .written").first.inner_text() == MARKUP
    assert page.locator(".answer strong").inner_text() == MARKUP
    server.reply = lambda _: Failure(400, MARKUP)
    page.get_by_role("button", name="Solve").click()
    page.locator("#notice .notice").wait_for()
    assert page.locator("#notice p").inner_text() == MARKUP
    assert page.locator("#mark, main img, main script").count() == 0
    assert page.evaluate("window.hit") is None


@pytest.mark.parametrize(
    "tex",
    [
        r"\href{javascript:window.hit=1}{x}",
        r"\url{http://example.invalid}",
        r"\includegraphics{http://example.invalid/x.png}",
        r"\htmlId{mark}{x}",
        r"\htmlStyle{position:fixed}{x}",
        r"\htmlData{a=b}{x}",
    ],
)
def test_mathematics_opens_nothing(opened: Page, server: FakeServer, tex: str) -> None:
    show(opened, server, f"See ${tex}$ here.")
    assert opened.locator("ol.steps a, ol.steps img, #mark, ol.steps [data-a]").count() == 0
    assert opened.locator("ol.steps [style*=fixed]").count() == 0


def test_mathematics_without_end_is_shown_as_written(opened: Page, server: FakeServer) -> None:
    bomb = r"\def\a{\b\b\b\b\b\b\b\b}\def\b{\c\c\c\c\c\c\c\c}\def\c{\d\d\d\d\d\d\d\d}\a"
    [text, huge] = show(opened, server, f"It is ${bomb}$.", r"$\rule{9999em}{9999em}$")
    assert bomb in text
    assert opened.locator("ol.steps code").first.is_visible()
    box = opened.locator("ol.steps > li").nth(1).bounding_box()
    assert box is not None
    assert box["height"] < 600, huge


def test_mathematics_is_typeset_and_can_be_read_as_written(
    opened: Page, server: FakeServer
) -> None:
    text = (
        r"So \(x^2\), $$\frac{1}{2}$$ and \boxed{\frac{3}{4}}: \begin{aligned} a &= b \end{aligned}"
    )
    show(opened, server, text)
    assert opened.locator("ol.steps .katex").count() == 4
    assert opened.locator("ol.steps math").count() == 4
    opened.get_by_label("typeset mathematics").uncheck()
    assert opened.locator("ol.steps .katex").count() == 0
    assert opened.locator("ol.steps > li .written").inner_text() == text


def test_words_in_mathematics_stay_on_one_line(opened: Page, server: FakeServer) -> None:
    """As language models write units; text may break anywhere, boxes of mathematics may not."""
    show(
        opened,
        server,
        r"\[ \frac{2}{2} = 1 \text{ bolt of white fiber} \] and $3 \text{ bolts}$.",
    )
    for words in opened.locator("ol.steps .katex-html .text").all():
        box = words.bounding_box()
        assert box is not None
        assert box["height"] < 40, words.inner_text()


def test_typesetting_can_be_chosen_before(opened: Page, server: FakeServer) -> None:
    show(opened, server, "$x$")
    opened.get_by_label("typeset mathematics").uncheck()
    assert show(opened, server, "$y$") == ["$y$"]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("It costs $5 and then $6.", []),
        ("from $5 to 7$ a day", ["5 to 7"]),
        ("between $5/$6 each", []),
        ("$ x $ and $y $", []),
        (r"\$5 and $x$", ["x"]),
        (r"$a\$b$", [r"a\$b"]),
        ("$$x$$ and $y$", ["x", "y"]),
        ("$$x", []),
        (r"\(a\) \[b\]", ["a", "b"]),
        (r"\(a", []),
        (r"a \\[2pt] b", []),
        (r"\boxed{a{b}c} d", [r"\boxed{a{b}c}"]),
        (r"\boxed{a", []),
        (r"\boxed{\}} x", [r"\boxed{\}}"]),
        ("\\begin{align*}\na\n\\end{align*}!", ["\\begin{align*}\na\n\\end{align*}"]),
        (r"\begin{verbatim}a\end{verbatim}", []),
        ("$a\n\nb$", []),
        ("$$ $$", []),
        ("", []),
        ("\\", []),
        ("$", []),
    ],
)
def test_where_mathematics_begins_and_ends(opened: Page, text: str, pieces: list[str]) -> None:
    found = opened.evaluate(
        """async (text) => (await import("/page/mathematics.js")).pieces(text)""", text
    )
    assert "".join(piece["text"] for piece in found) == text
    assert [piece["tex"] for piece in found if piece["kind"] != "text"] == pieces


def test_a_little_markdown(opened: Page, server: FakeServer) -> None:
    show(opened, server, "## Step 1: **Add**\n2 * 3 * 4 and **so** `x**y`\n```\n**no** $x$\n```")
    step = opened.locator("ol.steps > li .written")
    assert step.locator("strong").all_inner_texts() == ["Step 1: Add", "so"]
    assert step.locator("code").all_inner_texts() == ["x**y", "```\n**no** $x$\n```"]
    assert "2 * 3 * 4" in step.inner_text()


def test_events_are_read_however_they_are_cut(opened: Page) -> None:
    body = 'data: {"a": "é"}\r\n\r\n: note\n\ndata:two\ndata: lines\n\nid: 4\rdata: x\r\rdata: cut'
    found = opened.evaluate(
        """async (body) => {
          const { eventData } = await import("/page/sse.js");
          const bytes = new TextEncoder().encode(body);
          const seen = [];
          for (let size = 1; size <= bytes.length; size += 1) {
            const stream = new ReadableStream({
              start(control) {
                for (let at = 0; at < bytes.length; at += size)
                  control.enqueue(bytes.slice(at, at + size));
                control.close();
              },
            });
            const data = [];
            for await (const item of eventData(stream)) data.push(item);
            seen.push(JSON.stringify(data));
          }
          return [...new Set(seen)].map(JSON.parse);
        }""",
        body,
    )
    assert found == [['{"a": "é"}', "two\nlines", "x"]]
