"""Uvicorn as we run it, to the same limits as daphne; tests/e2e/test_server_*.py hold both to them."""

import asyncio
import contextlib
import logging
from collections.abc import Generator
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from qader.serving import Limits, Serving


class Socket(WebSocketsSansIOProtocol):
    """One WebSocket, of which the client learns why it was closed, and which ends even if the client reads nothing.

    Uvicorn's own `transport.close()` does neither: with input unread it resets the connection, and the close frame
    is lost; with output unsent it waits for ever.
    """

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


def _without_traceback(record: logging.LogRecord) -> bool:
    """Keep what any client can cause, text that is not UTF-8, to one line."""
    if record.exc_info and isinstance(record.exc_info[1], UnicodeDecodeError):
        record.exc_info = None
    return True


def serve(serving: Serving) -> None:
    """Serve until SIGTERM or SIGINT, then close every WebSocket with 1012 and return."""
    limits = serving.limits
    logging.getLogger("uvicorn.error").addFilter(_without_traceback)
    config = uvicorn.Config(
        serving.application,
        loop="uvloop",
        http="h11",
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
