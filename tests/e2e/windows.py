"""Browser windows of people who use the page; any complaint of the browser is a fault."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, ViewportSize, expect

from tests.e2e.cluster import Person
from tests.e2e.server import ROOT, WebServer

ARTIFACTS = ROOT / "artifacts"
PHONE: ViewportSize = {"width": 360, "height": 740}
DESK: ViewportSize = {"width": 1280, "height": 800}
LOCALES = {"ar": "ar-EG", "en": "en-GB"}
SOON = 10_000  # ms until something must be seen
# What a browser writes by itself where a server is away, or says that nobody is signed in.
NETWORK = re.compile(r"net::ERR_|WebSocket connection to .* failed|the server responded with a status of (401|403)")
# And where somebody leaves a conversation again before its socket is open.
LEFT = re.compile("WebSocket is closed before the connection is established")

expect.set_options(timeout=SOON)


@dataclass(eq=False)
class Window:
    """One page of one browser context; `faults` is what the browser complained of."""

    page: Page
    server: WebServer
    faults: list[str] = field(default_factory=list)
    may_fail: re.Pattern[str] | None = None  # complaints that a test expects

    def __post_init__(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.faults.append(f"{error}\n{error.stack}"))

    def _heard(self, message: ConsoleMessage) -> None:
        expected = LEFT.search(message.text) or (self.may_fail and self.may_fail.search(message.text))
        if message.type in {"error", "warning"} and not expected:
            self.faults.append(f"{message.type}: {message.text}")

    @property
    def context(self) -> BrowserContext:
        return self.page.context

    def get(self, selector: str) -> Locator:
        return self.page.locator(selector)

    @property
    def bubbles(self) -> Locator:
        return self.get(".message .text")

    @property
    def rows(self) -> Locator:
        return self.get("#conversations .name")

    async def open(self, path: str = "/") -> "Window":
        await self.page.goto(f"{self.server.url}{path}")
        return self

    async def tab(self, path: str = "/") -> "Window":
        """Another tab of the same person."""
        return await Window(await self.context.new_page(), self.server, self.faults, self.may_fail).open(path)

    async def sign_in(self, username: str, password: str) -> None:
        await self.page.fill("#username", username)
        await self.page.fill("#password", password)
        await self.page.press("#password", "Enter")

    async def connected(self) -> "Window":
        """Wait until a conversation is shown as it stands now."""
        await expect(self.get("#draft")).to_be_visible()
        await self.page.wait_for_selector("#beginning:not(.is-busy), .message", state="attached")
        await expect(self.get("#conversation-connection")).to_be_hidden()
        return self

    async def say(self, text: str) -> None:
        await self.page.fill("#draft", text)
        await self.page.click("#send")

    async def texts(self) -> list[str]:
        """All messages, oldest first."""
        return await self.bubbles.all_text_contents()

    async def states(self) -> list[str]:
        """How far each message has come, in words; "" for the other side's."""
        return await self.get(".message .state").all_text_contents()

    async def shoot(self, name: str) -> None:
        """Keep a picture."""
        ARTIFACTS.mkdir(exist_ok=True)
        await self.page.screenshot(path=ARTIFACTS / f"{name}.png", animations="disabled")

    async def hurry(self) -> None:
        """Behave as if the network came back: there is no waiting for the next try."""
        await self.page.evaluate("dispatchEvent(new Event('online'))")

    async def hide(self, is_hidden: bool = True) -> None:
        """Behave as if somebody looks elsewhere."""
        state = "hidden" if is_hidden else "visible"
        await self.page.evaluate(
            """(state) => {
                Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
                Object.defineProperty(document, "hidden", { value: state === "hidden", configurable: true });
                document.dispatchEvent(new Event("visibilitychange"));
            }""",
            state,
        )


class Windows:
    """Opens windows of one browser on one server."""

    def __init__(self, browser: Browser, server: WebServer) -> None:
        self.browser, self.server = browser, server
        self.opened: list[Window] = []

    async def new(
        self, person: Person | None = None, *, lang: str = "en", size: ViewportSize | None = None, **options: Any
    ) -> Window:
        """A window of somebody, signed in where one is given; nothing is loaded yet."""
        context = await self.browser.new_context(
            locale=LOCALES[lang], viewport=size or DESK, reduced_motion="reduce", **options
        )
        context.set_default_timeout(SOON)
        if person:
            await context.add_cookies([{"name": "sessionid", "value": person.session_key, "url": self.server.url}])
        window = Window(await context.new_page(), self.server)
        self.opened.append(window)
        return window

    async def of(self, person: Person, path: str = "/", **options: Any) -> Window:
        """A window in which somebody's page is loaded."""
        return await (await self.new(person, **options)).open(path)


@asynccontextmanager
async def windows(browser: Browser, server: WebServer) -> AsyncIterator[Windows]:
    """Windows that close in the end, when none of them may have had a fault."""
    made = Windows(browser, server)
    try:
        yield made
        faults = [fault for window in made.opened for fault in window.faults]
        assert not faults, faults
    finally:
        await asyncio.gather(*(window.context.close() for window in made.opened))
