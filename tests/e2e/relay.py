"""A network between two processes, relayed through this event loop, that can be cut, frozen and slowed."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress

CHUNK = 65536


class Relay:
    """`async with Relay(lambda: server.port) as link`: what connects to `link.port` reaches that port.

    For clients it is like the server behind it: `url`, `ws_url` and `tls`.
    """

    tls: ssl.SSLContext | None = None

    def __init__(self, target: Callable[[], int]) -> None:
        self._target = target
        self._is_cut = False
        self._delay = 0.0
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def __aenter__(self) -> "Relay":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def cut(self, seconds: float) -> None:
        """Reset all connections, and each new one, for so long."""
        self._is_cut = True
        self._abort_all()
        await asyncio.sleep(seconds)
        self._is_cut = False

    async def freeze(self, seconds: float) -> None:
        """Keep all connections open, and pass nothing on for so long."""
        self._flows.clear()
        await asyncio.sleep(seconds)
        self._flows.set()

    async def slow_down(self, seconds: float, delay: float) -> None:
        """Pass on everything this much later, for so long."""
        self._delay = delay
        await asyncio.sleep(seconds)
        self._delay = 0.0

    def _abort_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._is_cut:
                raise ConnectionResetError
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._target())
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, other_writer}
        try:
            await asyncio.gather(self._pass_on(reader, other_writer), self._pass_on(other_reader, writer))
        finally:
            self._writers -= {writer, other_writer}
            writer.transport.abort()
            other_writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                await asyncio.sleep(self._delay)
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        writer.close()  # the other side sees the end too, behind all that was sent before it
