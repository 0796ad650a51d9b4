"""Daphne as we run it: all that daphne, autobahn and twisted need to be told, each with its reason.

The sources read were daphne 4.2, autobahn 26.10 and twisted 26.10; tests/e2e/test_server_*.py show for each
point what a plain daphne does.
"""
# ruff: noqa: E402, N802, N815 - the loop is chosen before the imports; the names that autobahn and twisted call

import asyncio
import logging
import math
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

import uvloop

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # daphne makes its loop when it is imported

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

from qader.daphne_http import HttpFactory
from qader.lifecycle import live
from qader.serving import Serving

# Autobahn makes words ready for a debug log that is off: it pretty-prints all its options at each connection, an eighth
# of what a handshake costs, and colours a few values at each frame, a tenth of what a message costs.
autobahn.websocket.protocol.pformat = repr
for module in (autobahn.websocket.protocol, autobahn.twisted.websocket):
    module.hltype = module.hlval = lambda value, **_: value

MAX_UNREAD = 32  # messages of one socket that wait for the application before its client has to


class Socket(WebSocketProtocol):  # type: ignore[misc] # daphne has no types
    """One WebSocket. Autobahn takes an option from its factory only where the class does not set it."""

    # Close oversize and malformed messages with 1009, 1007 or 1002; the default drops the connection (1006).
    failByDrop = False
    # One ping after the other, whatever else comes in. Daphne's own pings start anew with each message, so that a
    # client which sends but never reads is never pinged, and overlap, so that a slow pong is taken for none.
    autoPingRestartOnAnyTraffic = False

    _drained: asyncio.Event | None = None  # set while the write buffer is full

    def onConnect(self, request: Any) -> Any:
        """Refuse everybody while the server stops, and sub-protocols that are no ASCII, at which daphne raises."""
        if self.factory.server_class.refusing:
            raise ConnectionDeny(503, "Service Unavailable")
        if not request.headers.get("sec-websocket-protocol", "").isascii():
            raise ConnectionDeny(400, "Bad Request")
        return super().onConnect(request)

    def failHandshake(self, reason: str, code: int = 400, headers: Any = None) -> None:
        """Refuse in the same words whatever it is for, and an Origin that autobahn cannot read like any other."""
        status = HTTPStatus(403 if "origin" in reason.lower() else code)
        super().failHandshake(status.phrase, status.value, headers)

    def connectionMade(self) -> None:
        """Have the transport tell us, not the HTTP channel that came before us, when its write buffer is full."""
        super().connectionMade()
        self.transport.unregisterProducer()
        self.transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """The write buffer is full."""
        self._drained = self._drained or asyncio.Event()

    def resumeProducing(self) -> None:
        """The write buffer is empty again, or the connection lost."""
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    stopProducing = resumeProducing

    async def writable(self) -> None:
        """Wait while the client takes nothing: daphne itself would keep in memory whatever it is sent."""
        while self._drained is not None:
            await self._drained.wait()

    def onMessage(self, payload: bytes, is_binary: bool) -> None:
        """Queue a message for the application, and stop reading while too many wait; daphne's queue has no end."""
        if self.state != self.STATE_OPEN:
            return  # came in behind our close frame
        super().onMessage(payload, is_binary)
        if self.application_queue.qsize() >= MAX_UNREAD:
            self.transport.pauseProducing()

    def paced(self, unread: "asyncio.Queue[Any]") -> Callable[[], Any]:
        """Return the application's `receive`, which resumes reading when it has caught up."""

        async def receive() -> Any:
            message = await unread.get()
            if unread.empty():
                self.transport.resumeProducing()
            return message

        return receive

    def onFrameData(self, payload: bytes) -> bool | None:
        """Do not collect a control frame that was refused for its length: without failByDrop autobahn would go on."""
        if self.failedByMe and self.current_frame.opcode > 7:
            return None
        return super().onFrameData(payload)  # type: ignore[no-any-return]

    def serverClose(self, code: int | None = None) -> None:
        """Close with any code. Autobahn's sendClose raises for 1001 to 2999, though 1012 and 1013 are registered."""
        self.transport.resumeProducing()  # for the client's answer
        self.sendCloseFrame(code=code or 1000)

    def dropConnection(self, abort: bool = False) -> None:
        """Close the connection, at the latest in a few seconds: loseConnection waits for a reader that has stopped."""
        super().dropConnection(abort)
        reactor.callLater(self.closeHandshakeTimeout, self.transport.abortConnection)

    def onClose(self, was_clean: bool, code: int | None, reason: str | None) -> None:
        """Tell the application, and free those who wait to write."""
        self.resumeProducing()
        if hasattr(self, "server"):  # else autobahn refused the handshake itself, which daphne raises at
            super().onClose(was_clean, code, reason)

    def application_ended(self, application: "asyncio.Future[Any]") -> None:
        """Close with 1011 where the application returned without closing; daphne would keep a socket nobody serves.

        Where it failed, daphne logs that and closes.
        """
        if self.state == self.STATE_OPEN and not application.cancelled() and application.exception() is None:
            self.serverClose(1011)

    def refuse(self) -> None:
        """Answer a handshake under way with 503."""
        self.server.protocol_disconnected(self)
        self.failHandshake("Service Unavailable", 503)

    def restart(self) -> None:
        """Close with 1012, service restart, unless it is closing already."""
        if self.state == self.STATE_OPEN:
            self.serverClose(1012)


class DaphneServer(Server):  # type: ignore[misc]
    """Daphne on a socket that listens already, which lives as `qader.lifecycle` says."""

    refusing = False  # handshakes

    def __init__(self, serving: Serving) -> None:
        limits = serving.limits
        super().__init__(
            serving.application,
            endpoints=["the listener"],
            ping_interval=math.inf,  # autobahn pings, see Socket
            websocket_timeout=-1,  # by default every socket is closed after 24 h, with 1000: "done"
            websocket_max_message_size=limits.frame_bytes,
            websocket_max_frame_size=limits.frame_bytes,
            server_name="",
            verbosity=0,
            signal_handlers=False,
            ready_callable=self._configure,
        )
        self.endpoints: list[str] = []  # checked by daphne not to be empty; its way to a given socket knows IPv4 only
        self._serving = serving

    def _configure(self) -> None:
        limits, listener = self._serving.limits, self._serving.listener
        self.ws_factory.protocol = Socket
        self.ws_factory.setProtocolOptions(
            autoPingInterval=limits.ping_seconds,
            autoPingTimeout=limits.ping_seconds,
            closeHandshakeTimeout=limits.close_seconds,
        )
        # Daphne sends twisted's log to nowhere, failures in our own protocol code with it.
        failures = LogLevelFilterPredicate(defaultLogLevel=LogLevel.critical)
        globalLogPublisher.addObserver(FilteringLogObserver(STDLibLogObserver(__name__), [failures]))
        listener.setblocking(False)
        self.http_factory = HttpFactory(self, limits)
        self._port = reactor.adoptStreamPort(listener.fileno(), listener.family, self.http_factory)
        listener.close()  # twisted has its own descriptor
        reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        self._life = asyncio.ensure_future(self._live())

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> "asyncio.Queue[Any] | None":
        """Start the application and return the queue it reads from: as daphne does, but paced, and watched."""
        if protocol not in self.connections:
            return None
        scope["root_path"] = self.root_path  # a client may name another in a header of daphne's
        queue: asyncio.Queue[Any] = asyncio.Queue()
        receive = protocol.paced(queue) if isinstance(protocol, Socket) else queue.get
        scope.setdefault("asgi", {"version": "3.0"})
        coroutine = self.application(scope=scope, receive=receive, send=partial(self.handle_reply, protocol))
        task = asyncio.ensure_future(coroutine)
        self.connections[protocol]["application_instance"] = task
        if isinstance(protocol, Socket):
            task.add_done_callback(protocol.application_ended)
        return queue

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """Pass on what the application sends, once the client takes it."""
        if message["type"] == "websocket.send":
            await protocol.writable()
        await super().handle_reply(protocol, message)

    def refuse(self) -> None:
        """Take no connection any more, and answer every handshake with 503, those under way at once."""
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
        """Return once every request is answered and every WebSocket has ended."""
        if running := {details.get("application_instance") for details in self.connections.values()} - {None}:
            await asyncio.wait(running)

    def kill_all_applications(self) -> None:
        """Do nothing more when the reactor stops: all is done by then. Daphne's cancels everybody."""

    async def _live(self) -> None:
        try:
            await live(self, self._serving)
            # Nothing may be left for the interpreter's exit, where tasks can no longer clean up.
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            if rest:
                await asyncio.wait(rest, timeout=self._serving.limits.grace_seconds)
        finally:
            reactor.stop()


def serve(serving: Serving) -> None:
    """Serve until SIGTERM or SIGINT, then close every WebSocket with 1012 and return."""
    logging.getLogger("daphne").setLevel(logging.WARNING)
    DaphneServer(serving).run()
