"""The raw mode of the WebSocket client: silent, not reading, or breaking the protocol, as a test wants it."""

import socket
import time
from collections.abc import Mapping
from contextlib import suppress

from tests.websocket_client.frames import CLOSE, HANDSHAKE, PING, PONG, TEXT, frame, take_frame, upgrade_request

SECONDS = 20.0  # after which a call raises TimeoutError


class RawSocket:
    """One blocking TCP connection; it sends, reads and answers only when it is told to."""

    def __init__(
        self,
        port: int,
        path: str = "/",
        *,
        headers: Mapping[str, str] | None = None,
        handshake: str = HANDSHAKE,
        receive_buffer: int | None = None,
        seconds: float = SECONDS,
        wait: bool = True,
    ) -> None:
        self._socket, self._seconds = socket.socket(), seconds
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(self._seconds)
        self._socket.connect(("127.0.0.1", port))
        self._read = self.head = b""
        self.send_bytes(upgrade_request(path, f"127.0.0.1:{port}", headers or {}, handshake))
        if wait:
            self.answer()

    def answer(self) -> bytes:
        """Wait for the answer to the handshake; return its head, empty if the connection was cut instead."""
        with suppress(ConnectionError):
            while b"\r\n\r\n" not in self._read and self.receive_bytes():
                pass
        self.head, _, self._read = self._read.partition(b"\r\n\r\n")
        return self.head

    @property
    def local_port(self) -> int:
        """Our port, by which the server knows this connection."""
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def status(self) -> int | None:
        """The HTTP status of the answer to the handshake."""
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
        while not (taken := take_frame(self._read)):
            if not self.receive_bytes():
                return None
        head, payload, end = taken
        self._read = self._read[end:]
        return head & 15, payload

    def read_to_end(self) -> bytes:
        """Return everything that comes until the connection ends, in whatever way."""
        with suppress(ConnectionError):
            while self.receive_bytes():
                pass
        return self._read

    def count_bytes(self, pause: float = 0) -> int:
        """Read to the end, or until nothing comes for a second, pausing between reads; return the number of bytes."""
        received = 0
        self._socket.settimeout(1)
        with suppress(ConnectionError, TimeoutError):
            while data := self._socket.recv(2**20):
                received += len(data)
                time.sleep(pause)
        self._socket.settimeout(self._seconds)
        return received

    def close_code(self) -> int:
        """Read to the end, and answer the close frame; return its code, 1006 if there was none."""
        try:
            while got := self.receive():
                if got[0] == CLOSE:
                    self.send(got[1], CLOSE)
                    return int.from_bytes(got[1][:2])
        except ConnectionError:
            pass
        return 1006

    def receive_until_close(self) -> list[tuple[int, bytes]]:
        """Return all frames up to the close frame, which is the last, or to the end of the connection."""
        frames: list[tuple[int, bytes]] = []
        with suppress(ConnectionError):
            while not (frames and frames[-1][0] == CLOSE) and (got := self.receive()):
                frames.append(got)
        return frames

    def answer_ping(self) -> float:
        """Wait for a ping and answer it; return how many seconds it took to come."""
        begin = time.monotonic()
        while (got := self.receive()) and got[0] != PING:
            pass
        assert got, "cut"
        self.send(got[1], PONG)
        return time.monotonic() - begin

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing comes for this long, not even the end of the connection."""
        self._socket.settimeout(seconds)
        try:
            self.receive_bytes()
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(self._seconds)
        return False

    def send_until_full(self, payload: bytes, limit: int, *, is_last: bool = False) -> int:
        """Send this payload repeatedly until the server takes nothing for a second, or up to `limit` bytes.

        Returns how many bytes of payload were sent; unless this was the last, the rest of the last frame follows as
        soon as the server reads again.
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
                self._socket.settimeout(self._seconds)
                if not is_last:
                    self._socket.sendall(rest)
                break
        self._socket.settimeout(self._seconds)
        return sent

    def seconds_until_cut(self, every: float = 0.1, limit: float = 60) -> float | None:
        """Send without reading until the server ends the connection; return after how many seconds, None if never."""
        begin = time.monotonic()
        while (passed := time.monotonic() - begin) < limit:
            try:
                self.send("still here")
            except ConnectionError:
                return passed
            time.sleep(every)
        return None

    def receive_bytes(self) -> bool:
        """Wait for more bytes and keep them; return whether any came before the end."""
        data = self._socket.recv(65536)
        self._read += data
        return bool(data)
