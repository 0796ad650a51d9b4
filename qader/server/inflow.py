"""What one WebSocket receives: parsed in small parts, at the pace of the application, and within a budget of frames.

The application sees messages, but clients send frames. A read of 256 kB may hold 40,000 pings or empty fragments, which
no application sees, and which take a second to parse. So a turn of the event loop parses few of them, reading stops
while something waits, and the socket of a client that sends too many is closed.
"""

import asyncio
import time
from typing import Protocol

from qader.server.options import Limits

FLOOD = 4429  # close code

PART_BYTES = 1024  # parsed at once: at most 170 frames
LARGE_PART_BYTES = 16 * 1024  # of a long frame
FRAMES_PER_TURN = 16  # after so many, other sockets have their turn
WAITING_BYTES = 16 * 1024  # more than this that wait stop the reading
DISCARD_SECONDS = 0.1  # between two reads of what is only thrown away


class Socket(Protocol):
    """The part of a server's WebSocket that the inflow needs."""

    @property
    def is_established(self) -> bool:
        """Whether the handshake is complete and closing has not begun."""

    @property
    def is_busy(self) -> bool:
        """Whether the application must first take a message, or answer the handshake."""

    def parse(self, data: bytes) -> None:
        """Parse the next bytes; calls `Inflow.count` for each frame."""

    def pause_reading(self) -> None:
        """Take no more bytes from the client."""

    def resume_reading(self) -> None:
        """Take bytes again."""

    def flooded(self) -> None:
        """Close with `FLOOD`, unless it is closing already."""


class Inflow:
    """The bytes that a socket has received, from the network to its parser.

    Everything but whole messages of an open socket costs a token: control frames, fragments, frames after our close
    frame, and reads that complete no frame. The application itself limits messages.
    """

    __slots__ = (
        *("_socket", "_limits", "_tokens", "_tokens_at"),
        *("_waiting", "_frames", "_turn", "_is_paused", "_is_discarding"),
    )

    def __init__(self, socket: Socket, limits: Limits) -> None:
        self._socket, self._limits = socket, limits
        self._tokens, self._tokens_at = float(limits.frames_burst), time.monotonic()
        self._waiting = b""
        self._frames = 0  # of this turn
        self._turn: asyncio.Handle | None = None
        self._is_paused = self._is_discarding = False

    def received(self, data: bytes) -> None:
        """Parse the bytes, at once or in later turns of the event loop."""
        if self._is_discarding:
            self._pause()
            asyncio.get_running_loop().call_later(DISCARD_SECONDS, self._resume)
            return
        self._waiting += data
        if self._turn is None:
            self._parse()
        if len(self._waiting) > WAITING_BYTES:
            self._pause()

    def stop(self) -> None:
        """Throw away the rest: the connection is lost."""
        self._is_discarding, self._waiting = True, b""

    def go_on(self) -> None:
        """Go on soon: the socket is not busy any more."""
        if self._waiting and self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._parse)

    def count(self, *, is_message: bool) -> None:
        """Count a frame; `is_message`: it is a whole message."""
        self._frames += 1
        if not (is_message and self._socket.is_established):
            self._spend()

    def _parse(self) -> None:
        self._turn, self._frames, size = None, 0, PART_BYTES
        while self._waiting and self._frames < FRAMES_PER_TURN and not self._socket.is_busy:
            before = self._frames
            part, self._waiting = self._waiting[:size], self._waiting[size:]
            self._socket.parse(part)
            size = min(2 * size, LARGE_PART_BYTES) if self._frames == before else PART_BYTES
            if self._tokens < 0:
                return self._discard()
        if not self._frames and not self._socket.is_busy:
            self._spend()
        if not self._waiting:
            self._resume()
        elif not self._socket.is_busy:
            self.go_on()

    def _spend(self) -> None:
        now = time.monotonic()
        refill = (now - self._tokens_at) * self._limits.frames_per_second
        self._tokens, self._tokens_at = min(self._limits.frames_burst, self._tokens + refill) - 1, now

    def _discard(self) -> None:
        """Throw away what still comes, slowly. Without reading it, the close frame would be lost in a reset."""
        self.stop()
        self._socket.flooded()
        self._resume()

    def _pause(self) -> None:
        self._is_paused = True
        self._socket.pause_reading()

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._socket.resume_reading()
