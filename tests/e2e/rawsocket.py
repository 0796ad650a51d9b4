"""A WebSocket client that does what no library would: says nothing, reads nothing, breaks the protocol."""

import os
import socket
import struct
import time
from collections.abc import Mapping

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
)


class RawSocket:
    """One TCP connection, on which nothing happens but what is called."""

    def __init__(
        self,
        port: int,
        path: str = "/",
        *,
        headers: Mapping[str, str] | None = None,
        handshake: str = HANDSHAKE,
        receive_buffer: int | None = None,
        wait: bool = True,
    ) -> None:
        self._socket = socket.socket()
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(20)
        self._socket.connect(("127.0.0.1", port))
        self._read = self.head = b""
        lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self.send_bytes(handshake.format(path=path, host=f"127.0.0.1:{port}", headers=lines).encode("latin-1"))
        if wait:
            self.answer()

    def answer(self) -> bytes:
        """Wait for the answer to the handshake; return its head, empty where the connection was cut instead."""
        try:
            while b"\r\n\r\n" not in self._read and self._receive():
                pass
        except ConnectionError:
            pass
        self.head, _, self._read = self._read.partition(b"\r\n\r\n")
        return self.head

    @property
    def local_port(self) -> int:
        """By which the server's end of this connection is known."""
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def status(self) -> int | None:
        """What the handshake was answered with."""
        return int(self.head.split(b" ")[1]) if self.head else None

    def __enter__(self) -> "RawSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send_bytes(self, data: bytes) -> None:
        self._socket.sendall(data)

    def send(self, payload: str | bytes, opcode: int = TEXT, *, fin: bool = True) -> None:
        data = payload.encode() if isinstance(payload, str) else payload
        self.send_bytes(frame(data, opcode, fin=fin))

    def receive(self) -> tuple[int, bytes] | None:
        """The next frame as opcode and payload, or None at the end of the connection."""
        head = self._take(2)
        if not head:
            return None
        size = head[1] & 127
        if size > 125:
            size = int.from_bytes(self._take(2 if size == 126 else 8))
        return head[0] & 15, self._take(size)

    def close_code(self) -> int:
        """Read on until the end, answering a close frame as a client should; 1006 where there was none."""
        try:
            while got := self.receive():
                if got[0] == CLOSE:
                    self.send(got[1], CLOSE)
                    return int.from_bytes(got[1][:2])
        except ConnectionError:
            pass
        return 1006

    def answer_ping(self) -> float:
        """Wait for a ping and answer it; return the seconds that it took to come."""
        begin = time.monotonic()
        while (got := self.receive()) and got[0] != PING:
            pass
        assert got, "cut"
        self.send(got[1], PONG)
        return time.monotonic() - begin

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing comes for so long, not even the end."""
        self._socket.settimeout(seconds)
        try:
            self._receive()
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(20)
        return False

    def send_until_full(self, payload: bytes, limit: int) -> int:
        """Send this again and again until the server has taken nothing for a second, or up to `limit` bytes.

        Returns how many bytes of payload were sent, the last of which is still on its way when it was full.
        """
        data, sent = frame(payload), 0
        self._socket.settimeout(1)
        while sent < limit:
            rest = data
            sent += len(payload)
            try:
                while rest:
                    rest = rest[self._socket.send(rest) :]
            except TimeoutError:
                self._socket.settimeout(20)
                self._socket.sendall(rest)
                break
        self._socket.settimeout(20)
        return sent

    def seconds_until_cut(self, every: float = 0.1, limit: float = 60) -> float | None:
        """Go on sending without reading anything until the server ends the connection; None if it never does."""
        begin = time.monotonic()
        while (passed := time.monotonic() - begin) < limit:
            try:
                self.send("still here")
            except ConnectionError:
                return passed
            time.sleep(every)
        return None

    def _take(self, size: int) -> bytes:
        while len(self._read) < size:
            if not self._receive():
                return b""
        taken, self._read = self._read[:size], self._read[size:]
        return taken

    def _receive(self) -> bool:
        data = self._socket.recv(65536)
        self._read += data
        return bool(data)


def frame(payload: bytes, opcode: int = TEXT, *, fin: bool = True, size: int | None = None) -> bytes:
    """A masked frame; `size` is what it claims, where that is not the truth."""
    claimed = len(payload) if size is None else size
    if claimed < 126:
        length = struct.pack("!B", 128 | claimed)
    elif claimed < 65536:
        length = struct.pack("!BH", 128 | 126, claimed)
    else:
        length = struct.pack("!BQ", 128 | 127, claimed)
    mask = os.urandom(4)
    masked = (int.from_bytes(payload) ^ int.from_bytes((mask * (len(payload) // 4 + 1))[: len(payload)])).to_bytes(
        len(payload)
    )
    return bytes([fin << 7 | opcode]) + length + mask + masked
