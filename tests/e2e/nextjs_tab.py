"""The Next.js application in browser tabs of its users."""

import logging
import re
from dataclasses import dataclass, field

from playwright.async_api import Browser, BrowserContext, Page, WebSocket, expect

from tests.e2e.cluster import Person
from tests.e2e.seed import PASSWORD

logger = logging.getLogger(__name__)

SECONDS = 20
COMPILED_SECONDS = 60  # `next dev` compiles a page when it is asked for
expect.set_options(timeout=SECONDS * 1000)
# What the browser itself says of a request that failed; the application's own words are not among them.
NETWORK = re.compile(r"^(Failed to load resource|WebSocket connection to)")


@dataclass
class Tab:
    """The application in one tab; `console` is what was said there, warnings and errors only."""

    page: Page
    url: str
    console: list[str] = field(default_factory=list)
    sockets: list[WebSocket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(SECONDS * 1000)
        self.page.on("console", lambda said: self._on_console(said.text) if said.type in {"warning", "error"} else None)
        self.page.on("pageerror", lambda error: self._on_console(str(error)))
        self.page.on("websocket", lambda socket: self.sockets.append(socket) if "/ws/chat/" in socket.url else None)
        self.texts = self.page.locator("ol > li > p")
        self.bubbles = self.page.locator("ol > li")
        self.field = self.page.get_by_role("textbox", name="Message")
        self.problem = self.page.locator("main").get_by_role("alert")
        self.presence = self.page.locator(".presence")
        self.connection = self.page.locator("main [role=status]")

    async def open(self) -> "Tab":
        await self.page.goto(self.url, timeout=COMPILED_SECONDS * 1000)
        return self

    async def sign_in(self, person: Person, password: str = PASSWORD) -> "Tab":
        await self.page.get_by_label("User name").fill(person.username)
        await self.page.get_by_label("Password").fill(password)
        await self.page.get_by_role("button", name="Sign in").click()
        return self

    async def choose(self, student: Person) -> "Tab":
        await self.page.get_by_role("link", name=student.username).click()
        return self

    async def is_connected(self) -> "Tab":
        await expect(self.connection).to_have_text("Connected")
        return self

    async def write(self, *texts: str) -> None:
        for text in texts:
            await self.field.fill(text)
            await self.field.press("Enter")

    async def shows(self, texts: list[str]) -> None:
        await expect(self.texts).to_have_text(texts)

    def _on_console(self, text: str) -> None:
        self.console.append(text)
        logger.info("%s: %s", self.page.url, text)

    @property
    def own_lines(self) -> list[str]:
        """What the application said in the console."""
        return [text for text in self.console if not NETWORK.match(text)]


class Tabs:
    """Browsers of people who have nothing in common."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.contexts: list[BrowserContext] = []
        self.opened: list[Tab] = []

    async def open_tab(self, url: str, context: BrowserContext | None = None) -> Tab:
        """One more tab, of a browser of its own unless one is given."""
        if context is None:
            context = await self._browser.new_context(locale="en-GB")
            self.contexts.append(context)
        self.opened.append(Tab(await context.new_page(), url))
        return await self.opened[-1].open()

    async def close(self) -> None:
        for context in self.contexts:
            await context.close()
