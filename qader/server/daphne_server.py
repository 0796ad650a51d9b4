"""Daphne with our limits. Every override says why it is needed; tests/e2e/test_server_overrides.py proves each.

Written for daphne 4.2, autobahn 26.10 and twisted 26.10.
"""
# ruff: noqa: E402, N802, N815 - the event loop policy comes before the imports; names given by autobahn and twisted

import asyncio
import logging
import math
from collections.abc import Callable
from functools import cached_property, partial
from http import HTTPStatus
from typing import Any

import uvloop

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # daphne creates its event loop on import

import autobahn.twisted.websocket
import autobahn.websocket.protocol
from autobahn.websocket.types import ConnectionDeny
from daphne.server import Server  # before the rest of twisted: it installs the asyncio reactor
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet import reactor
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    STDLibLogObserver,
    globalLogPublisher,
)

from qader.server.daphne_http import HttpFactory
from qader.server.event_queue import EventQueue
from qader.server.inflow import FLOOD, Inflow
from qader.server.lifecycle import run
from qader.server.options import ServerOptions
from qader.server.unread_answers import UnreadAnswers

# Autobahn formats text for its debug log even if that log is off: all options at each connection (an eighth of the
# processor time of a handshake), and coloured values at each frame (a tenth of the time of a message).
autobahn.websocket.protocol.pformat = repr
for module in (autobahn.websocket.protocol, autobahn.twisted.websocket):
    module.hltype = module.hlval = lambda value, **_: value


class Socket(WebSocketProtocol):  # type: ignore[misc] # daphne has no types
    """One WebSocket. An option that is set on the class here overrides the one of autobahn's factory."""

    # Close with 1009, 1007 or 1002 for too large and malformed messages; the default drops the connection (1006).
    failByDrop = False
    # Ping regularly, whatever the client sends. By default each message postpones the next ping, so that a client
    # which sends but never reads is never pinged.
    autoPingRestartOnAnyTraffic = False

    application_queue: EventQueue  # exists from the handshake on
    _writable: asyncio.Event | None = None  # exists while the write buffer is full

    def onConnect(self, request: Any) -> Any:
        """Refuse handshakes while the server stops, and non-ASCII sub-protocols, for which daphne raises."""
        if self.factory.server_class.refusing:
            raise ConnectionDeny(503, "Service Unavailable")
        if not request.headers.get("sec-websocket-protocol", "").isascii():
            raise ConnectionDeny(400, "Bad Request")
        return super().onConnect(request)

    def failHandshake(self, reason: str, code: int = 400, headers: Any = None) -> None:
        """Answer with the plain HTTP reason. Autobahn would quote the error, and answer 400 to a malformed Origin."""
        status = HTTPStatus(403 if "origin" in reason.lower() else code)
        super().failHandshake(status.phrase, status.value, headers)

    def connectionMade(self) -> None:
        """Become the transport's producer: otherwise the HTTP channel, not we, learns that the write buffer is full."""
        super().connectionMade()
        self.transport.unregisterProducer()
        self.transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """The write buffer is full."""
        self._writable = self._writable or asyncio.Event()

    def resumeProducing(self) -> None:
        """The write buffer is empty again, or the connection is lost."""
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    stopProducing = resumeProducing

    async def wait_writable(self) -> None:
        """Wait while the write buffer is full; daphne would keep everything in memory."""
        while self._writable is not None:
            await self._writable.wait()

    @property
    def is_established(self) -> bool:
        """Whether the handshake is complete and closing has not begun."""
        return bool(self.state == self.STATE_OPEN)

    @property
    def is_busy(self) -> bool:
        """Whether the application must first take a message, or answer the handshake; daphne would not wait."""
        if self.state == self.STATE_CONNECTING:
            return hasattr(self, "application_queue")
        return self.is_established and not self.application_queue.empty()

    @cached_property
    def inflow(self) -> Inflow:
        """The way of the client's bytes to `parse`."""
        return Inflow(self, self.factory.limits)

    def dataReceived(self, data: bytes) -> None:
        """Pass on what the client sends to the inflow."""
        self.inflow.received(data)

    def parse(self, data: bytes) -> None:
        """Parse a part of it."""
        super().dataReceived(data)

    def pause_reading(self) -> None:
        """Take no more bytes from the client."""
        self.transport.pauseProducing()

    def resume_reading(self) -> None:
        """Take bytes again."""
        self.transport.resumeProducing()

    def flooded(self) -> None:
        """Close with 4429, and tell the application at once: the client may never answer."""
        if self.is_established:
            self.application_queue.put_nowait({"type": "websocket.disconnect", "code": FLOOD})
            self.serverClose(FLOOD)
            self.muted = True

    def receive_from(self, queue: EventQueue) -> Callable[[], Any]:
        """Return the application's `receive`, after which the inflow goes on when the queue is empty."""

        async def receive() -> Any:
            message = await queue.get()
            if queue.empty():
                self.inflow.go_on()
            return message

        return receive

    def onOpen(self) -> None:
        """Read what the client sent before the handshake was complete."""
        super().onOpen()
        self.inflow.go_on()

    def onFrameBegin(self) -> None:
        """Count a frame."""
        super().onFrameBegin()
        self.inflow.count(is_message=self.current_frame.fin and 0 < self.current_frame.opcode < 8)

    def onMessage(self, payload: bytes, is_binary: bool) -> None:
        """Queue a message for the application, unless it arrived after our close frame."""
        if self.is_established:
            super().onMessage(payload, is_binary)

    def sendPong(self, payload: bytes | None = None) -> None:
        """Answer a ping, but not while the write buffer is full: the client does not read."""
        if self._writable is None:
            super().sendPong(payload)

    def onFrameData(self, payload: bytes) -> bool | None:
        """Discard the rest of a control frame that is too long: without failByDrop autobahn would collect it."""
        if self.failedByMe and self.current_frame.opcode > 7:
            return None
        return super().onFrameData(payload)  # type: ignore[no-any-return]

    def serverClose(self, code: int | None = None) -> None:
        """Close with any code. Autobahn's sendClose raises for 1001 to 2999, although 1012 and 1013 are registered."""
        self.sendCloseFrame(code=code or 1000)
        self.inflow.go_on()  # to read the client's close frame

    def dropConnection(self, abort: bool = False) -> None:
        """Close the connection, and abort it later if the client reads nothing: loseConnection would wait for it."""
        super().dropConnection(abort)
        reactor.callLater(self.closeHandshakeTimeout, self.transport.abortConnection)

    def onClose(self, was_clean: bool, code: int | None, reason: str | None) -> None:
        """Tell the application, and wake the tasks that wait to write."""
        self.resumeProducing()
        self.inflow.stop()
        if hasattr(self, "server"):  # not if autobahn itself refused the handshake: daphne would raise
            super().onClose(was_clean, code, reason)

    def application_ended(self, application: "asyncio.Future[Any]") -> None:
        """Close with 1011 if the application returned without closing; daphne would leave the socket open.

        If the application raised, daphne itself logs that and closes.
        """
        if self.is_established and not application.cancelled() and application.exception() is None:
            self.serverClose(1011)

    def refuse(self) -> None:
        """Answer a running handshake with 503."""
        self.server.protocol_disconnected(self)
        self.failHandshake("Service Unavailable", 503)

    def restart(self) -> None:
        """Close with 1012, service restart, unless it is closing already."""
        if self.is_established:
            self.serverClose(1012)


class DaphneServer(Server):  # type: ignore[misc]
    """Daphne on a given listening socket, started and stopped by `qader.server.lifecycle`."""

    refusing = False  # handshakes

    def __init__(self, options: ServerOptions) -> None:
        limits = options.limits
        super().__init__(
            options.application,
            endpoints=["the listener"],  # daphne requires one; _configure listens instead
            # No pings of daphne: they overlap, so that a slow pong counts as missing. Autobahn pings instead.
            ping_interval=math.inf,
            websocket_timeout=-1,  # the default closes every socket with 1000 after 24 h
            websocket_max_message_size=limits.frame_bytes,
            websocket_max_frame_size=limits.frame_bytes,
            server_name="",
            verbosity=0,
            signal_handlers=False,
            ready_callable=self._configure,
        )
        self.endpoints: list[str] = []  # daphne's own endpoint for an open socket supports IPv4 only
        self._options = options
        self._unread_answers = UnreadAnswers(limits.unread_bytes)

    def _configure(self) -> None:
        limits, listener = self._options.limits, self._options.listener
        self.ws_factory.protocol = Socket
        self.ws_factory.limits = limits
        self.ws_factory.setProtocolOptions(
            autoPingInterval=limits.ping_seconds,
            autoPingTimeout=limits.ping_seconds,
            closeHandshakeTimeout=limits.close_seconds,
        )
        # Daphne discards twisted's log, and with it failures in our own protocol code.
        failures = LogLevelFilterPredicate(defaultLogLevel=LogLevel.critical)
        globalLogPublisher.addObserver(FilteringLogObserver(STDLibLogObserver(__name__), [failures]))
        listener.setblocking(False)
        self.http_factory = HttpFactory(self, limits)
        self._port = reactor.adoptStreamPort(listener.fileno(), listener.family, self.http_factory)
        listener.close()  # twisted has a duplicate of it
        reactor.callWhenRunning(self._start)

    def _start(self) -> None:
        self._task = asyncio.ensure_future(self._run())

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> EventQueue | None:
        """Start the application and return its queue, as daphne does, with back-pressure and `application_ended`."""
        if protocol not in self.connections:
            return None
        scope["root_path"] = self.root_path  # daphne lets a client set it by a header
        queue = EventQueue()
        receive = protocol.receive_from(queue) if isinstance(protocol, Socket) else queue.get
        scope.setdefault("asgi", {"version": "3.0"})
        arguments = scope, receive, partial(self.handle_reply, protocol)
        if isinstance(protocol, Socket):
            coroutine = self.application(*arguments)
        else:
            coroutine = self._unread_answers.run(self.application, protocol.abort, *arguments)
        task = asyncio.ensure_future(coroutine)
        self.connections[protocol]["application_instance"] = task
        if isinstance(protocol, Socket):
            task.add_done_callback(protocol.application_ended)
        return queue

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """Send what the application sends, when the write buffer has room; daphne does not wait."""
        if message["type"] in {"websocket.send", "http.response.body"}:
            await protocol.wait_writable()
        await super().handle_reply(protocol, message)

    def refuse(self) -> None:
        """Accept no more connections, and answer every handshake with 503, also those that are still running."""
        self.refusing = True
        self._port.stopListening()
        for socket in self._sockets(Socket.STATE_CONNECTING):
            socket.refuse()

    def sockets(self) -> list[Socket]:
        """Return the open WebSockets, the oldest first."""
        return self._sockets(Socket.STATE_OPEN)

    def _sockets(self, state: int) -> list[Socket]:
        return [protocol for protocol in self.connections if isinstance(protocol, Socket) and protocol.state == state]

    async def idle(self) -> None:
        """Return when every request is answered and every WebSocket has ended."""
        if running := {details.get("application_instance") for details in self.connections.values()} - {None}:
            await asyncio.wait(running)

    def kill_all_applications(self) -> None:
        """Do nothing when the reactor stops: `lifecycle.run` has ended everything. Daphne would cancel all at once."""

    async def _run(self) -> None:
        try:
            await run(self, self._options)
            # Cancel what is left now: when the interpreter exits, tasks can no longer clean up.
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            if rest:
                await asyncio.wait(rest, timeout=self._options.limits.grace_seconds)
        finally:
            reactor.stop()


def serve(options: ServerOptions) -> None:
    """Serve until SIGTERM or SIGINT, then close every WebSocket with 1012 and return."""
    logging.getLogger("daphne").setLevel(logging.WARNING)
    DaphneServer(options).run()
