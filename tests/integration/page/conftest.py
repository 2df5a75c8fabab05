from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.integration.page.fake_server import FakeServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

WANTED = "RSD_TEST_PAGE"
MISSING = "drives a headless Chromium: make test-page"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium of this machine."""
    if WANTED not in os.environ or importlib.util.find_spec("playwright") is None:
        pytest.skip(MISSING)
    path = os.environ.get("RSD_TEST_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), "")
    if not path:
        pytest.skip(f"no browser ({', '.join(BROWSERS)}) is installed: {MISSING}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as started:
        yield started


class Watch:
    """What a page must not do, seen over its life.

    Attributes:
        expects_failures: whether the server is meant to refuse requests, of which Chromium writes
            to the console.
    """

    def __init__(self, host: str) -> None:
        self.expects_failures = False
        self._host = host
        self._console: list[str] = []
        self._elsewhere: list[str] = []

    def attach(self, page: Page) -> None:
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self._console.append(str(error)))
        page.on("request", self._see)

    def check(self) -> None:
        refused = "Failed to load resource"
        heard = [
            text
            for text in self._console
            if not (self.expects_failures and text.startswith(refused))
        ]
        assert not heard
        assert not self._elsewhere

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._console.append(message.text)

    def _see(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("blob", "data") and address.netloc != self._host:
            self._elsewhere.append(request.url)


@pytest.fixture
def watch(server: FakeServer) -> Iterator[Watch]:
    """Fails the test if the page writes an error to its console or asks another host."""
    watching = Watch(urlsplit(server.url).netloc)
    yield watching
    watching.check()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport={"width": 1200, "height": 900}, reduced_motion="reduce")
    made.set_default_timeout(10_000)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext, watch: Watch) -> Page:
    """A tab that has not gone anywhere yet."""
    tab = context.new_page()
    watch.attach(tab)
    return tab
