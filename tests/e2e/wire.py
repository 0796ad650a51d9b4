"""What the end-to-end tests say and hear on a socket of the `websockets` package, and servers started together."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.e2e.cluster import Person
from tests.e2e.server import WebServer

# A new socket is looked at once more after a second; that must not hide an event that it missed.
SETTLED_SECONDS = 1.3


def start_together(*servers: WebServer) -> tuple[WebServer, ...]:
    """Start them all at once: most of the time a start takes is spent in imports."""
    with ThreadPoolExecutor() as threads:
        return tuple(threads.map(WebServer.start, servers))


def until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Look again and again for what happens in other processes; `what` is wrong where it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


async def say(socket: ClientConnection, **frame: Any) -> None:
    """Send a frame."""
    await socket.send(json.dumps(frame))


async def hear(socket: ClientConnection, seconds: float = 10) -> Any:
    """The next frame."""
    async with asyncio.timeout(seconds):
        return json.loads(await socket.recv())


async def heard_until_pong(socket: ClientConnection, seconds: float = 10) -> list[Any]:
    """What has come in up to now: what stands before the answer to a ping that is sent now."""
    await say(socket, type="ping")
    heard = []
    while (frame := await hear(socket, seconds)) != {"type": "pong"}:
        heard.append(frame)
    return heard


async def close_code(socket: ClientConnection, seconds: float) -> int:
    """Read on until the server closes, which it must within these seconds; 1006 where it says no code."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                await socket.recv()
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006


@asynccontextmanager
async def entered(
    person: Person, server: WebServer, query: str = "", **options: Any
) -> AsyncIterator[ClientConnection]:
    """A socket in the person's conversation, its first frame received."""
    async with person.socket(server, query, **options) as socket:
        first = await hear(socket)
        assert first["type"] == "connection_established", first
        yield socket
