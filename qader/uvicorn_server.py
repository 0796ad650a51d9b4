"""Uvicorn as we run it, to the same limits as daphne; tests/e2e/test_server_*.py hold both to them."""

import asyncio
import contextlib
import logging
from collections.abc import Generator
from functools import partial
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame
from websockets.http11 import Request

from qader.lifecycle import live
from qader.serving import Limits, Serving


class Http(H11Protocol):
    """One HTTP connection, cut where a client takes too long over a request, or reads its answer too slowly.

    Uvicorn waits as long as its client likes, and a request whose answer is not read keeps its thread and its
    connection to the database.
    """

    request_seconds = 0
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

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
        self._is_read()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._abort_unless_read()

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._is_read()

    def on_response_complete(self) -> None:
        """Take another request, or close: in the end also where the client does not read its answer."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._abort_unless_read()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection."""
        super().timeout_keep_alive_handler()
        self._abort_unless_read()

    def _abort_unless_read(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(self.timeout_keep_alive, self.transport.abort)

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _expect(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.request_seconds, self.transport.abort)

    def _expect_no_more(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class State(ServerState):
    """What the connections of a server share."""

    refusing = False  # handshakes


class Socket(WebSocketsSansIOProtocol):
    """One WebSocket, of which the client learns why it was closed, and which ends even if the client reads nothing.

    Uvicorn's own `transport.close()` does neither: with input unread it resets the connection, and the close frame
    is lost; with output unsent it waits for ever.
    """

    state: State
    since: float  # on the loop's clock

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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a connection."""
        super().connection_made(transport)
        self.since = self.loop.time()

    def handle_connect(self, event: Request) -> None:
        """Take a handshake, unless the server stops."""
        if self.state.refusing:
            self.refuse()
        else:
            super().handle_connect(event)

    def refuse(self) -> None:
        """Answer a handshake with 503."""
        self.conn.send_response(self.conn.reject(503, "Service Unavailable"))
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.handshake_complete = self.close_sent = True
        self.transport.close()

    @property
    def is_open(self) -> bool:
        """Whether it has been let in and is not closing."""
        return self.handshake_complete and not self.close_sent and not self.transport.is_closing()

    def restart(self) -> None:
        """Close with 1012, service restart, unless it is closing already."""
        if self.is_open:
            self.conn.send_close(1012)
            self._close()

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
    protocol.state = arguments["server_state"]
    protocol.close_timeout = limits.close_seconds
    return protocol


def _http(limits: Limits, *arguments: Any, **options: Any) -> Http:
    protocol = Http(*arguments, **options)
    protocol.request_seconds = limits.request_seconds
    return protocol


class UvicornServer(uvicorn.Server):
    """Uvicorn that lives as `qader.lifecycle` says."""

    def __init__(self, config: uvicorn.Config, serving: Serving) -> None:
        super().__init__(config)
        self.server_state = self._state = State()
        self._serving = serving

    async def main_loop(self) -> None:
        """Serve, and stop."""
        ticking = asyncio.create_task(super().main_loop())  # which keeps the date of the answers
        await live(self, self._serving)
        ticking.cancel()

    async def shutdown(self, sockets: Any = None) -> None:
        """Do nothing more: all is done by then. Uvicorn's closes every WebSocket at once."""

    def refuse(self) -> None:
        """Take no connection any more, and answer every handshake with 503, those under way at once."""
        self._state.refusing = True
        for server in self.servers:
            server.close()
        for socket in self._sockets():
            if socket.handshake_initiated and not socket.handshake_complete:
                socket.refuse()

    def sockets(self) -> list[Socket]:
        """Return the open WebSockets, the oldest first."""
        return sorted((socket for socket in self._sockets() if socket.is_open), key=lambda socket: socket.since)

    def _sockets(self) -> list[Socket]:
        return [connection for connection in self._state.connections if isinstance(connection, Socket)]

    async def idle(self) -> None:
        """Return once every request is answered and every WebSocket has ended."""
        for connection in list(self._state.connections):
            is_closing = connection.transport.is_closing()
            if isinstance(connection, Socket):
                if is_closing:  # it waits for a client that reads nothing
                    connection.transport.abort()
            elif not is_closing:
                connection.shutdown()  # once it has answered
        await self._wait_tasks_to_complete()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to `qader.lifecycle`."""
        yield


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
        timeout_keep_alive=limits.keep_alive_seconds,
    )
    UvicornServer(config, serving).run([serving.listener])
