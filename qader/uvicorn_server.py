"""Uvicorn as we run it, to the same limits as daphne; tests/e2e/test_server_*.py hold both to them."""

import asyncio
import contextlib
import logging
from collections.abc import Generator
from functools import partial
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from qader.serving import Limits, Serving


class Http(H11Protocol):
    """One HTTP connection, cut where a request takes too long: uvicorn waits as long as its client likes."""

    request_seconds = 0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Expect a request."""
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Take what came in, and expect the rest of it."""
        super().data_received(data)
        if self.transport.get_protocol() is self and self.conn.their_state in {h11.IDLE, h11.SEND_BODY}:
            self._expect()
        else:
            self._expect_no_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing."""
        super().connection_lost(exc)
        self._expect_no_more()

    def _expect(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.request_seconds, self.transport.abort)

    def _expect_no_more(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Socket(WebSocketsSansIOProtocol):
    """One WebSocket, of which the client learns why it was closed, and which ends even if the client reads nothing.

    Uvicorn's own `transport.close()` does neither: with input unread it resets the connection, and the close frame
    is lost; with output unsent it waits for ever.
    """

    def data_received(self, data: bytes) -> None:
        """Take what came in; uvicorn itself leaves a handshake that cannot be read without an answer."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()

    async def send(self, message: Any) -> None:
        """Send what the application says once the client takes it; to a socket that is closing nothing, as daphne."""
        if message["type"] == "websocket.close":
            self._abort_soon()
        await self.writable.wait()
        if not self.close_sent and not self.disconnected:
            await super().send(message)

    def keepalive_timeout(self) -> None:
        """Cut a client whose pong is missing."""
        super().keepalive_timeout()
        self._abort_soon()

    def handle_ping(self) -> None:
        """Answer, but nothing behind our close frame: the stream has ended there, and writing on would raise."""
        if not self.close_sent:
            super().handle_ping()

    def handle_close(self, event: Frame) -> None:
        """Take the client's close frame."""
        super().handle_close(event)
        self._abort_soon()

    def handle_parser_exception(self) -> None:
        """Close for a message that is too big (1009) or malformed (1002, 1007)."""
        if not self.close_sent:
            self._close()

    def shutdown(self) -> None:
        """Close with 1012, service restart."""
        if self.transport.is_closing():
            self.transport.abort()
        elif self.handshake_complete and not self.close_sent:
            self.conn.send_close(1012)
            self._close()
        else:
            super().shutdown()

    def _close(self) -> None:
        """Send the close frame that stands in `conn` and the end of the stream, and read on until the client's end."""
        self.stop_keepalive()
        self.close_sent = True
        if frame := self.conn.close_sent:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": frame.code, "reason": frame.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.write_eof()
        self.transport.resume_reading()
        self.close_timer = self._abort_soon()

    def _abort_soon(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self.close_timeout, self.transport.abort)


def _socket(limits: Limits, **arguments: Any) -> Socket:
    protocol = Socket(**arguments)
    protocol.close_timeout = limits.close_seconds
    return protocol


def _http(limits: Limits, *arguments: Any, **options: Any) -> Http:
    protocol = Http(*arguments, **options)
    protocol.request_seconds = limits.request_seconds
    return protocol


class UvicornServer(uvicorn.Server):
    """Uvicorn that says when it serves and when it stops, and for which SIGTERM is no failure."""

    def __init__(self, config: uvicorn.Config, serving: Serving) -> None:
        super().__init__(config)
        self._serving = serving

    async def startup(self, sockets: Any = None) -> None:
        """Start, and tell."""
        await super().startup(sockets)
        self._serving.started()

    async def shutdown(self, sockets: Any = None) -> None:
        """Close what is open, and let the rest settle."""
        await super().shutdown(sockets)
        await self._serving.settle()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, and tell."""
        self._serving.stopping()
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop at signals, but do not raise them again at the end, which would end the process with their status."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def _without_alarm(record: logging.LogRecord) -> bool:
    """Keep what any client can cause, text that is not UTF-8, to one line, which is no error of ours."""
    if record.exc_info and isinstance(record.exc_info[1], UnicodeDecodeError):
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
    return True


def serve(serving: Serving) -> None:
    """Serve until SIGTERM or SIGINT, then close every WebSocket with 1012 and return."""
    limits = serving.limits
    logging.getLogger("uvicorn.error").addFilter(_without_alarm)
    config = uvicorn.Config(
        serving.application,
        loop="uvloop",
        http=partial(_http, limits),  # type: ignore[arg-type]
        ws=partial(_socket, limits),  # type: ignore[arg-type] # uvicorn only calls it
        ws_max_size=limits.frame_bytes,
        ws_ping_interval=limits.ping_seconds,
        ws_ping_timeout=limits.ping_seconds,
        ws_per_message_deflate=False,
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level=logging.WARNING,  # below it every handshake is logged
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=limits.grace_seconds,
    )
    UvicornServer(config, serving).run([serving.listener])
