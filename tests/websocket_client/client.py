"""A WebSocket client for asyncio that keeps to the protocol and costs little."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self
from urllib.parse import urlsplit

from tests.websocket_client.frames import (
    ACCEPT,
    BINARY,
    CLOSE,
    FIN,
    PING,
    PONG,
    TEXT,
    frame,
    take_frame,
    upgrade_request,
)

NORMAL, PROTOCOL_ERROR, WITHOUT_CODE, CUT = 1000, 1002, 1005, 1006  # close codes
END_OF_HEAD = b"\r\n\r\n"


class HandshakeRefusedError(Exception):
    """The server did not agree to open a socket; `status` is that of its answer, None if it gave none."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class SocketClosedError(Exception):
    """The socket is closed; `code` is the close code, 1005 if the server gave none, 1006 if it did not say goodbye."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class WebSocket(asyncio.Protocol):
    """One connection. `async with WebSocket(url) as socket` opens it and closes it in the end.

    Incoming texts wait for `recv`, as many as there are; a subclass may take each at once by overriding `received`.
    It offers no compression, sends no pings of its own, and fails on frames that our servers never send:
    fragments, binary frames and unknown opcodes.
    """

    transport: asyncio.Transport
    mask: bytes | None = None  # None: a random one for each frame
    close_code: int | None = None  # once either side has said goodbye, or the connection is lost
    closed_by_server = False

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        open_seconds: float = 10,
        close_seconds: float = 10,
    ) -> None:
        self.url = url
        self._headers, self._tls = headers or {}, tls
        self._open_seconds, self._close_seconds = open_seconds, close_seconds
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._writable = asyncio.Event()
        self._writable.set()
        self._rest, self._upgraded = b"", False
        self._cut: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        return await self.connect()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self, seconds: float | None = None) -> Self:
        """Return when the socket is open; raises `OSError`, `TimeoutError` or `HandshakeRefusedError`."""
        address = urlsplit(self.url)
        assert address.hostname
        assert address.port
        try:
            async with asyncio.timeout(self._open_seconds if seconds is None else seconds):
                loop = asyncio.get_running_loop()
                await loop.create_connection(lambda: self, address.hostname, address.port, ssl=self._tls)
                await self._ready
        except BaseException:
            self.abort()
            raise
        return self

    async def recv(self) -> str:
        """Return the next text; raises `SocketClosedError` when the connection has ended and all was read."""
        payload = await self._incoming.get()
        if payload is None:
            self._incoming.put_nowait(None)  # for the next call
            raise SocketClosedError(self.close_code or CUT)
        return payload.decode()

    async def __aiter__(self) -> AsyncIterator[str]:
        """Yield texts until the connection ends."""
        while True:
            try:
                yield await self.recv()
            except SocketClosedError:
                return

    async def wait_closed(self, seconds: float) -> int:
        """Read until the connection ends, which it must within these seconds; return the close code."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    await self.recv()
                except SocketClosedError as closed:
                    return closed.code

    async def send(self, content: str | bytes) -> None:
        """Send a text, or bytes as a binary frame; waits while the system takes no more."""
        if self.close_code is not None or self.transport.is_closing():
            raise SocketClosedError(self.close_code or CUT)
        if isinstance(content, str):
            self.write(TEXT, content.encode())
        else:
            self.write(BINARY, content)
        await self._writable.wait()

    async def close(self) -> None:
        """Say goodbye and wait until the server ends the connection; after `close_seconds` it is cut."""
        if self.close_code is None:
            self.say_goodbye()
        try:
            async with asyncio.timeout(self._close_seconds):
                await asyncio.shield(self._lost)
        except TimeoutError:
            self.abort()

    def write(self, opcode: int, payload: bytes) -> None:
        """Send a frame without waiting."""
        self.transport.write(frame(payload, opcode, mask=self.mask))

    def say_goodbye(self) -> None:
        """Send a close frame."""
        self.close_code = NORMAL
        self.write(CLOSE, NORMAL.to_bytes(2))

    def abort(self) -> None:
        """Cut the connection, if there is one."""
        if hasattr(self, "transport"):
            self.transport.abort()

    # What a subclass may override.

    def upgraded(self) -> None:
        """The server has agreed: `connect` returns."""
        self.is_ready()

    def received(self, payload: bytes) -> None:
        """Take a text."""
        self._incoming.put_nowait(payload)

    def is_ready(self) -> None:
        """Let `connect` return."""
        if not self._ready.done():
            self._ready.set_result(None)

    # asyncio.Protocol

    def connection_made(self, transport: Any) -> None:
        """Send the handshake."""
        self.transport = transport
        address = urlsplit(self.url)
        path = f"{address.path or '/'}?{address.query}" if address.query else address.path or "/"
        transport.write(upgrade_request(path, address.netloc, self._headers))

    def data_received(self, data: bytes) -> None:
        """Handle the frames that are complete."""
        if self._rest:
            data = self._rest + data
        place = 0
        if not self._upgraded:
            if (place := data.find(END_OF_HEAD) + len(END_OF_HEAD)) < len(END_OF_HEAD):
                self._rest = data
                return
            if not self._upgrade(data[:place]):
                return
        try:
            while taken := take_frame(data, place):
                head, payload, place = taken
                if head == FIN | TEXT:
                    self.received(payload)
                else:
                    self._control(head, payload)
        except ValueError:
            self._fail()
        self._rest = data[place:]

    def pause_writing(self) -> None:
        """Make `send` wait."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let `send` go on."""
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Let everybody know who waits."""
        if self.close_code is None:
            self.close_code = CUT
        self._refused(f"closed with {self.close_code}")
        self._writable.set()
        if self._cut:
            self._cut.cancel()
        self._incoming.put_nowait(None)
        if not self._lost.done():
            self._lost.set_result(None)

    def _upgrade(self, answer: bytes) -> bool:
        status = answer[len("HTTP/1.1 ") :][:3]
        self._upgraded = status == b"101" and ACCEPT in answer
        if self._upgraded:
            self.upgraded()
        else:
            line = answer.split(b"\r\n")[0].decode(errors="replace")
            self._refused(line, int(status) if status.isdigit() else None)
            self.abort()
        return self._upgraded

    def _refused(self, reason: str, status: int | None = None) -> None:
        if not self._ready.done():
            self._ready.set_exception(HandshakeRefusedError(reason, status))
            self._ready.exception()  # nobody waits any more if `connect` was cancelled

    def _control(self, head: int, payload: bytes) -> None:
        if head == FIN | PING:
            self.write(PONG, payload)
        elif head == FIN | CLOSE:
            if self.close_code is None:
                self.close_code, self.closed_by_server = int.from_bytes(payload[:2]) or WITHOUT_CODE, True
                self.write(CLOSE, payload[:2])
            # The server ends the connection (RFC 6455, 7.1.1), unless it hangs.
            self._cut = asyncio.get_running_loop().call_later(self._close_seconds, self.abort)
        elif head != FIN | PONG:
            self._fail()

    def _fail(self) -> None:
        self.close_code = PROTOCOL_ERROR
        self.abort()
