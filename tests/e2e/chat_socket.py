"""A person's WebSocket to a running server; everything that comes must be documented."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests import contract
from tests.e2e.server import Reachable
from tests.websocket_client import SocketClosedError, WebSocket

if TYPE_CHECKING:
    from tests.e2e.cluster import Person

# A new socket is checked once more after a second; that check must not hide an event that the socket missed.
SETTLED_SECONDS = 1.3


class ChatSocket(WebSocket):
    """A WebSocket that sends and receives frames; fails on a frame or a close code that the contract does not have."""

    async def recv(self) -> str:
        """Return the next text."""
        try:
            text = await super().recv()
        except SocketClosedError as closed:
            if self.closed_by_server:
                contract.check_close(closed.code)
            raise
        contract.check_frame(urlsplit(self.url).path, text)
        return text

    async def send_json(self, frame: dict[str, Any]) -> None:
        """Send a frame."""
        await self.send(json.dumps(frame))

    async def receive_json(self, seconds: float = 10) -> Any:
        """Return the next frame."""
        async with asyncio.timeout(seconds):
            return json.loads(await self.recv())

    async def receive_until_pong(self, seconds: float = 10) -> list[Any]:
        """Return the frames that came before the answer to a ping that is sent now."""
        await self.send_json({"type": "ping"})
        frames = []
        while (frame := await self.receive_json(seconds)) != {"type": "pong"}:
            frames.append(frame)
        return frames


@asynccontextmanager
async def connected(person: "Person", server: Reachable, query: str = "", **options: Any) -> AsyncIterator[ChatSocket]:
    """A socket in the person's conversation, its first frame received."""
    async with person.socket(server, query, **options) as socket:
        first = await socket.receive_json()
        assert first["type"] == "connection_established", first
        yield socket
