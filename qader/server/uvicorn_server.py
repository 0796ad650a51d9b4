"""Uvicorn with the same limits as daphne. tests/e2e/test_server_overrides.py proves that each override is needed."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Generator
from functools import partial
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request

from qader.observability.log_filters import make_warning
from qader.server.event_queue import EventQueue
from qader.server.inflow import FLOOD, Inflow
from qader.server.lifecycle import run
from qader.server.options import Limits, ServerOptions
from qader.server.unanswered_requests import UnansweredRequests
from qader.server.unread_answers import UnreadAnswers
from qader.server.uvicorn_requests import Requests

DATA = {Opcode.TEXT, Opcode.BINARY}


class Http(H11Protocol):
    """One HTTP connection, aborted if the client takes too long to send a request or to read its answer.

    Uvicorn has no such limits, and a request whose answer is not read keeps its thread and its database connection.
    """

    request_seconds = answer_seconds = 0
    unanswered: UnansweredRequests
    _request_limit: asyncio.TimerHandle | None = None
    _read_limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's own type
        """Start the time limit of the first request."""
        super().connection_made(transport)
        self._start_request_limit()

    def data_received(self, data: bytes) -> None:
        """Count the bytes of all requests. Start or stop the time limit, depending on whether this one is complete."""
        if self.conn.our_state is not h11.DONE:  # then its answer came before its end, and the rest is thrown away
            self.unanswered.received(self, len(data))
        super().data_received(data)
        if self.transport.get_protocol() is self and self.conn.their_state in {h11.IDLE, h11.SEND_BODY}:
            self._start_request_limit()
        else:
            self._stop_request_limit()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Count its bytes no more: it is a WebSocket now."""
        self.unanswered.forget(self)
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count its bytes no more, and stop both time limits."""
        super().connection_lost(exc)
        self.unanswered.forget(self)
        self._stop_request_limit()
        self._stop_read_limit()

    def pause_writing(self) -> None:
        """Start the time limit for reading: the write buffer is full."""
        super().pause_writing()
        self._start_read_limit()

    def resume_writing(self) -> None:
        """Stop the time limit for reading: the write buffer has room again."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_read_limit()

    def on_response_complete(self) -> None:
        """Count what follows this request alone. Start the time limit for reading if the connection closes now."""
        self.unanswered.forget(self)
        self.unanswered.received(self, len(self.conn.trailing_data[0]))
        super().on_response_complete()
        if self.transport.is_closing():
            self._start_read_limit()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, also if the client does not read the rest of its answer."""
        super().timeout_keep_alive_handler()
        self._start_read_limit()

    def send_400_response(self, msg: str) -> None:
        """Refuse a malformed request, but not after the answer has begun, where h11 raises: only close."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            super().send_400_response(msg)
        else:
            self.transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        self.transport.abort()

    def _start_read_limit(self) -> None:
        if self._read_limit is None:
            self._read_limit = self.loop.call_later(self.answer_seconds, self.abort)

    def _stop_read_limit(self) -> None:
        if self._read_limit is not None:
            self._read_limit.cancel()
            self._read_limit = None

    def _start_request_limit(self) -> None:
        if self._request_limit is None:
            self._request_limit = self.loop.call_later(self.request_seconds, self.abort)

    def _stop_request_limit(self) -> None:
        if self._request_limit is not None:
            self._request_limit.cancel()
            self._request_limit = None


class State(ServerState):
    """The state that all connections of a server share."""

    refusing = False  # handshakes


class Socket(WebSocketsSansIOProtocol):
    """One WebSocket whose close code reaches the client, and which ends even if the client reads nothing.

    Uvicorn only calls `transport.close()`: with unread input that resets the connection and the close frame is lost;
    with unsent output it waits for ever.
    """

    state: State
    inflow: Inflow
    opened_at: float  # by `time.monotonic`: uvloop's own clock counts whole milliseconds, in which several can open

    def data_received(self, data: bytes) -> None:
        """Pass on what the client sends to the inflow."""
        self.inflow.received(data)

    def parse(self, data: bytes) -> None:
        """Parse a part of it. Answer 400 to a malformed handshake; uvicorn does not answer it."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()

    def handle_events(self) -> None:
        """Count the frames, and handle them."""
        for event in self.conn.events:
            if isinstance(event, Frame):
                self.inflow.count(is_message=event.fin and event.opcode in DATA)
        super().handle_events()

    async def receive(self) -> Any:
        """Return the next event, after which the inflow goes on when the queue is empty."""
        message = await self.queue.get()
        if self.queue.empty():
            self.inflow.go_on()
        return message

    async def send(self, message: Any) -> None:
        """Send when the write buffer has room; send nothing on a closing socket, where uvicorn raises."""
        if message["type"] == "websocket.close":
            self._abort_soon()
        await self.writable.wait()
        if not self.close_sent and not self.disconnected:
            await super().send(message)
        if message["type"] != "websocket.send":  # it is open or closed now
            self.inflow.go_on()

    def keepalive_timeout(self) -> None:
        """Abort the connection if the pong is missing; uvicorn only closes it."""
        super().keepalive_timeout()
        self._abort_soon()

    def handle_ping(self) -> None:
        """Answer, but not while the write buffer is full, since the client does not read, nor after our close frame.

        We have sent the end of the stream then, and writing would raise.
        """
        if self.is_established and not self.writable.is_set():
            self.conn.data_to_send()
        elif not self.close_sent:
            super().handle_ping()

    def handle_close(self, event: Frame) -> None:
        """Take the client's close frame, and abort if the client does not read our answer."""
        super().handle_close(event)
        self._abort_soon()

    def handle_parser_exception(self) -> None:
        """Close with 1009 (too large), 1002 or 1007 (malformed) so that the client receives the code."""
        if not self.close_sent:
            self._close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note when the socket was opened, for the order of closing."""
        super().connection_made(transport)
        self.opened_at = time.monotonic()
        self.read_paused = True  # so that uvicorn leaves that to the inflow
        self.pause_reading, self.resume_reading = self.transport.pause_reading, self.transport.resume_reading

    def connection_lost(self, exc: Exception | None) -> None:
        """Parse nothing more."""
        super().connection_lost(exc)
        self.inflow.stop()

    def handle_connect(self, event: Request) -> None:
        """Accept a handshake, unless the server stops."""
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
    def is_established(self) -> bool:
        """Whether the handshake is complete and closing has not begun."""
        return self.handshake_complete and not self.close_sent and not self.transport.is_closing()

    @property
    def is_busy(self) -> bool:
        """Whether the application must first take a message, or answer the handshake."""
        if not self.handshake_complete:
            return self.handshake_initiated
        return self.is_established and not self.queue.empty()

    def flooded(self) -> None:
        """Close with 4429, and tell the application."""
        if self.is_established:
            self.conn.send_close(FLOOD)
            self._close()

    def restart(self) -> None:
        """Close with 1012, service restart, unless it is closing already."""
        if self.is_established:
            self.conn.send_close(1012)
            self._close()

    def _close(self) -> None:
        """Send the close frame that `conn` holds and the end of the stream, then read until the client closes."""
        self.stop_keepalive()
        self.close_sent = True
        if frame := self.conn.close_sent:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": frame.code, "reason": frame.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.write_eof()
        self.inflow.go_on()  # to read the client's close frame
        self.close_timer = self._abort_soon()

    def _abort_soon(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self.close_timeout, self.transport.abort)


def _socket(limits: Limits, **arguments: Any) -> Socket:
    protocol = Socket(**arguments)
    protocol.state = arguments["server_state"]
    protocol.close_timeout = limits.close_seconds
    protocol.queue = EventQueue()  # type: ignore[assignment] # what uvicorn uses of a queue
    protocol.inflow = Inflow(protocol, limits)
    return protocol


def _http(
    limits: Limits, unread: UnreadAnswers, unanswered: UnansweredRequests, *arguments: Any, **options: Any
) -> Http:
    protocol = Http(*arguments, **options)
    protocol.conn, protocol.unanswered = Requests(limits), unanswered
    protocol.request_seconds, protocol.answer_seconds = limits.request_seconds, limits.answer_seconds
    protocol.app = partial(unread.run, protocol.app, protocol.abort)
    return protocol


class UvicornServer(uvicorn.Server):
    """Uvicorn, started and stopped by `qader.server.lifecycle`."""

    def __init__(self, config: uvicorn.Config, options: ServerOptions) -> None:
        super().__init__(config)
        self.server_state = self._state = State()
        self._options = options

    async def main_loop(self) -> None:
        """Serve until the shutdown sequence ends."""
        ticking = asyncio.create_task(super().main_loop())  # updates the Date header
        await run(self, self._options)
        ticking.cancel()

    async def shutdown(self, sockets: Any = None) -> None:
        """Do nothing: `lifecycle.run` has ended everything. Uvicorn would close every WebSocket at once."""

    def refuse(self) -> None:
        """Accept no more connections, and answer every handshake with 503, also those that are still running."""
        self._state.refusing = True
        for server in self.servers:
            server.close()
        for socket in self._sockets():
            if socket.handshake_initiated and not socket.handshake_complete:
                socket.refuse()

    def sockets(self) -> list[Socket]:
        """Return the open WebSockets, the oldest first."""
        return sorted(
            (socket for socket in self._sockets() if socket.is_established), key=lambda socket: socket.opened_at
        )

    def _sockets(self) -> list[Socket]:
        return [connection for connection in self._state.connections if isinstance(connection, Socket)]

    async def idle(self) -> None:
        """Return when every request is answered and every WebSocket has ended."""
        for connection in list(self._state.connections):
            is_closing = connection.transport.is_closing()
            if isinstance(connection, Socket):
                if is_closing:  # the client reads nothing
                    connection.transport.abort()
            elif not is_closing:
                connection.shutdown()  # uvicorn closes it after the answer
        await self._wait_tasks_to_complete()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to `qader.server.lifecycle`; uvicorn would install its own handlers."""
        yield


def _client_errors_as_warnings(record: logging.LogRecord) -> bool:
    """Log text that is not UTF-8 as a warning in one line: any client can send it, and it is not our error."""
    if record.exc_info and isinstance(record.exc_info[1], UnicodeDecodeError):
        make_warning(record)
    return True


def serve(options: ServerOptions) -> None:
    """Serve until SIGTERM or SIGINT, then close every WebSocket with 1012 and return."""
    limits = options.limits
    logging.getLogger("uvicorn.error").addFilter(_client_errors_as_warnings)
    config = uvicorn.Config(
        options.application,
        loop="uvloop",
        http=partial(  # type: ignore[arg-type]
            _http, limits, UnreadAnswers(limits.unread_bytes), UnansweredRequests(limits.unanswered_bytes)
        ),
        ws=partial(_socket, limits),  # type: ignore[arg-type] # uvicorn only calls it
        ws_max_size=limits.frame_bytes,
        ws_ping_interval=limits.ping_seconds,
        ws_ping_timeout=limits.ping_seconds,
        ws_per_message_deflate=False,
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level=logging.WARNING,  # with INFO every handshake is logged
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,  # the application sends it, under daphne, too
        timeout_keep_alive=limits.keep_alive_seconds,
    )
    UvicornServer(config, options).run([options.listener])
