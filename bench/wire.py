"""A WebSocket client that costs next to nothing, so that the load is never what limits a figure (RFC 6455).

It takes what the servers here send: whole, unmasked text frames. It masks with zeros, which is a mask like any other.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import msgspec

HOST = "127.0.0.1"
ESTABLISH_SECONDS = 30
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
CUT = 1006  # what stands for the code of a socket that was closed without one


class Address(NamedTuple):
    """Where one person's socket goes."""

    port: int
    path: str
    cookie: str
    conversation_id: int


class RefusedError(Exception):
    """The handshake was answered with something else, or cut."""


class Heard(msgspec.Struct):
    """As much of a frame as the load must know."""

    type: str = ""
    error: str = ""


_read = msgspec.json.Decoder(Heard).decode


class Socket(asyncio.Protocol):
    """One socket that speaks the project's own wire format. `on_message` is called with each `new_message` frame."""

    transport: asyncio.Transport

    def __init__(self, address: Address) -> None:
        self.address = address
        self.established: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_message: Callable[[bytes], object] = lambda frame: None
        self.close_code: int | None = None
        self.faults: list[str] = []
        self._rest, self._upgraded = b"", False

    async def connect(self, seconds: float = ESTABLISH_SECONDS) -> Self:
        """Return when the server has said that it is established; raises `OSError`, `RefusedError`, `TimeoutError`."""
        try:
            async with asyncio.timeout(seconds):
                await asyncio.get_running_loop().create_connection(lambda: self, HOST, self.address.port)
                await self.established
        except BaseException:
            if hasattr(self, "transport"):
                self.transport.abort()
            raise
        return self

    def close(self) -> None:
        """Say goodbye and leave."""
        if self.close_code is None and not self.transport.is_closing():
            self.close_code = 1000
            self._frame(CLOSE, (1000).to_bytes(2, "big"))
            self.transport.close()

    def say(self, content: str) -> None:
        """Send a message."""
        self.text(msgspec.json.encode({"message": content}))

    def heard(self, frame: bytes) -> None:
        """Handle a text frame."""
        what = _read(frame)
        if what.type == "new_message":
            self.on_message(frame)
        elif what.type == "connection_established":
            self.is_established()
        elif what.error:
            self.faults.append(what.error)

    def text(self, payload: bytes) -> None:
        """Send a text frame."""
        self._frame(TEXT, payload)

    def is_established(self) -> None:
        """The server is ready for messages."""
        if not self.established.done():
            self.established.set_result(None)

    def _frame(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        self.transport.write(bytes([0x80 | opcode]) + length + b"\0\0\0\0" + payload)

    # asyncio.Protocol

    def connection_made(self, transport: Any) -> None:
        """Ask for the upgrade."""
        self.transport = transport
        port, path, cookie, _ = self.address
        transport.write(
            f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nOrigin: http://{HOST}:{port}\r\nCookie: {cookie}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: bm9ib2R5IHJlYWRzIGl0IQ==\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Take the frames that are complete."""
        if self._rest:
            data = self._rest + data
        place = 0
        if not self._upgraded:
            if (place := data.find(b"\r\n\r\n") + 4) < 4:
                self._rest = data
                return
            self._upgrade(data)
        while len(data) - place >= 2:
            size, begin = data[place + 1], place + 2
            if size >= 126:
                begin += 2 if size == 126 else 8
                size = int.from_bytes(data[place + 2 : begin], "big")
            if len(data) < begin + size:
                break
            self._handle(data[place] & 0xF, data[begin : begin + size])
            place = begin + size
        self._rest = data[place:]

    def connection_lost(self, error: Exception | None) -> None:
        """Remember how it ended."""
        self.close_code = self.close_code or CUT
        self._refused(f"closed with {self.close_code}")

    def _upgrade(self, answer: bytes) -> None:
        self._upgraded = True
        if not answer.startswith(b"HTTP/1.1 101"):
            self._refused(answer.split(b"\r\n")[0].decode(errors="replace"))
            self.transport.abort()

    def _handle(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self.heard(payload)
        elif opcode == PING:
            self._frame(PONG, payload)
        elif opcode == CLOSE and self.close_code is None:
            self.close_code = int.from_bytes(payload[:2], "big") or CUT
            self._frame(CLOSE, payload[:2])
            self.transport.close()

    def _refused(self, why: str) -> None:
        if not self.established.done():
            self.established.set_exception(RefusedError(why))
            self.established.exception()  # whoever connects has perhaps given up before
