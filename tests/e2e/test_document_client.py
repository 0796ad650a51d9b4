"""The client from the user's document, in document_client.mjs, against running servers."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, Person
from tests.e2e.server import WebServer, start_together
from tests.node import node

CLIENT = Path(__file__).with_name("document_client.mjs")
SECONDS = 15


class Browser:
    """One client; `shown` is what its user sees at the moment."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.shown: dict[str, Any] = {}
        self.console: list[str] = []

    async def type(self, text: str) -> None:
        """Type this into the field and press Enter."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"type": text}).encode() + b"\n")
        await self._process.stdin.drain()

    async def shows(self, what: Callable[["Browser"], bool]) -> "Browser":
        """Wait until this is so."""
        assert self._process.stdout
        try:
            async with asyncio.timeout(SECONDS):
                while not what(self):
                    line = await self._process.stdout.readline()
                    assert line, "the client ended"
                    news = json.loads(line)
                    self.shown = news.get("shown", self.shown)
                    self.console += [" ".join(news["console"])] if "console" in news else []
        except TimeoutError:
            pytest.fail(f"shows {self.shown}, console {self.console}")
        return self

    async def shows_bubbles(self, *bubbles: list[str]) -> None:
        await self.shows(lambda browser: browser.shown.get("bubbles") == list(bubbles))


@asynccontextmanager
async def browser(server: WebServer, person: Person, history: str) -> AsyncIterator[Browser]:
    process = await asyncio.create_subprocess_exec(
        *(node(), CLIENT, server.url, person.cookie, f"/{person.path}", f"/api/v1/chat/{history}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    try:
        yield Browser(process)
        assert process.stdin
        process.stdin.close()  # closes its socket and ends
        assert await asyncio.wait_for(process.wait(), SECONDS) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_documents_client_chats(cluster: Cluster) -> None:
    ours, theirs = await asyncio.to_thread(start_together, cluster.server("daphne"), cluster.server("uvicorn"))
    (pair,) = await asyncio.to_thread(cluster.make_pairs)
    student, teacher = pair.student, pair.teacher
    async with student.http(ours) as http:
        for text in ("first", "ثانياً"):
            assert (await http.post("chat/my-conversation/messages/", json={"content": text})).status_code == 201
    async with (
        browser(ours, student, "my-conversation/messages/") as one,
        browser(theirs, teacher, f"teacher/{teacher.path}messages/") as two,
    ):
        mine = [["my-message", f"{student.username}: ", text] for text in ("first", "ثانياً", "live")]
        theirs_of_mine = [["other-message", *bubble[1:]] for bubble in mine]
        await one.shows_bubbles(*mine[:2])
        await two.shows_bubbles(*theirs_of_mine[:2])
        for client in (one, two):
            assert client.shown == client.shown | {"status": "Status: Connected", "field": "", "disabled": False}

        await one.type("live")
        await one.shows_bubbles(*mine)
        await two.shows_bubbles(*theirs_of_mine)
        assert one.shown["field"] == ""

        await two.type("seen 😀")
        await two.shows_bubbles(*theirs_of_mine, ["my-message", f"{teacher.username}: ", "seen 😀"])
        await one.shows_bubbles(*mine, ["other-message", f"{teacher.username}: ", "seen 😀"])

        await one.type("x" * 4001)
        refused = "WebSocket server error: Message content is longer than 4000 characters."
        await one.shows(lambda browser: browser.console == [refused])
        assert one.shown["status"] == "Status: Connected"
        assert two.console == []

        await asyncio.to_thread(ours.terminate)
        await one.shows(lambda browser: browser.shown["status"] == "Status: Disconnected")
        assert one.shown["disabled"] is True


async def test_the_documents_client_cannot_send_without_access(cluster: Cluster) -> None:
    server = await asyncio.to_thread(cluster.start)
    pair, other = await asyncio.to_thread(cluster.make_pairs, 2)
    async with browser(server, replace(pair.teacher, path=other.teacher.path), "nothing/") as stranger:
        await stranger.shows(lambda browser: any(line.startswith("WebSocket error:") for line in browser.console))
        assert stranger.shown == {"status": "Status: Disconnected", "bubbles": [], "field": "", "disabled": True}
