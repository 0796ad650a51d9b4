"""The lifecycle of a socket apart from its frames: handshake, logging, metrics and closing."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import parse_qs

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer

from accounts import tracing
from accounts.addresses import client_address
from chat.errors import ClientError, CloseCode, UnavailableError
from chat.live.hub import hub
from chat.live.subscriber import Subscriber
from chat.runtime import metrics
from chat.runtime.rate_limit import address_limit, connect_limit
from chat.wire.client_frames import parse_flag, parse_query

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 4.2  # the server drops a handshake after 5
CLOSE_SECONDS = 5.0
FLOOD_SECONDS = 5.0  # after a flood, the user's handshakes are refused for so long

CLOSE_CODES = {
    400: CloseCode.NOT_ALLOWED,
    401: CloseCode.SESSION_ENDED,
    403: CloseCode.NOT_ALLOWED,
    404: CloseCode.NOT_FOUND,
    429: CloseCode.FLOOD,
}

LOST = 1006  # RFC 6455: without a close frame
SERVER_CODES = {CloseCode.TOO_BIG, CloseCode.FLOOD, CloseCode.INTERNAL_ERROR, CloseCode.RESTARTING, CloseCode.TRY_LATER}
COUNTED_CODES = {
    1000,
    1001,
    1005,
    LOST,
    *CloseCode,
}  # clients can send any of 2000 other codes, each of which would be a new series


class SocketLifecycle(AsyncWebsocketConsumer):  # type: ignore[misc] # channels has no types
    """One socket of one user.

    The scope must have `user` and `url_route`. If it has a `session`, the socket ends with that session. Subclasses
    implement `subscribe` and handle frames.
    """

    name: ClassVar[str]  # in logs and metrics
    subscriber: Subscriber | None = None
    wants_presence = False
    closing = False
    opened_at: float | None = None
    close_code = LOST
    frames_read = 0

    async def subscribe(self) -> Callable[[], None]:
        """Look up the user, `join` with a subscriber, and return the function that starts it after acceptance.

        Raises `ClientError` to refuse the socket.
        """
        raise NotImplementedError

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run until the socket ends, and clean up however it ends.

        Channels would also wait on a channel per socket; here the event bus of the process receives for all sockets.
        """
        self.task = asyncio.current_task()
        self.background: set[asyncio.Future[Any]] = set()
        self.scope, self.base_send, self.channel_layer = scope, send, None
        self.trace = tracing.trace()
        self.trace.refusal = "abandoned"
        try:
            while True:
                await self.dispatch(await receive())
        except StopConsumer:
            pass
        except asyncio.CancelledError:
            if not self.closing:
                raise
        finally:
            self.leave()
            self._log_end()

    async def connect(self) -> None:
        """Look up, join and accept, then heal what was committed between the look-up and the join."""
        try:
            self.wants_presence = parse_flag(self.query, "presence", default=False)
            async with asyncio.timeout(CONNECT_SECONDS):
                await hub().listen()
                start = await self.subscribe()
        except (ClientError, TimeoutError) as error:
            self.leave()
            await self._refuse(error if isinstance(error, ClientError) else UnavailableError())
            return
        if self.closing or self.subscriber is None:  # its access was revoked while it was joining
            return
        await self.accept()
        self._log_opening()
        self._forget_request()
        start()
        hub().started(self.subscriber)

    def _forget_request(self) -> None:
        """Drop what only the handshake needs, 3 kB, but would stay as long as the socket."""
        self.scope.get("headers", []).clear()
        session = self.scope.pop("session", None)
        for name in ("user", "cookies"):
            self.scope.pop(name, None)
        if session is not None:  # it stays with its middleware, but not its content
            vars(session).pop("_session_cache", None)

    async def _refuse(self, error: ClientError) -> None:
        """Close before acceptance. Who is not signed in has a budget by address."""
        code = CLOSE_CODES.get(error.status, CloseCode.TRY_LATER)
        self.trace.refusal = error.code
        if code == CloseCode.SESSION_ENDED and address_limit().take(f"connect:{client_address(self.scope)}"):
            code, self.trace.refusal = CloseCode.FLOOD, "rate_limited"
        if not self.closing:
            await self.close(code)

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """Note the close code, and end the consumer."""
        if not self.closing:
            self._set_close_code(message.get("code") or LOST)
        raise StopConsumer

    def _set_close_code(self, code: int) -> None:
        """Note the code, which a server may also give for a flood that only it can see."""
        self.close_code = code
        if code == CloseCode.FLOOD and self.subscriber is not None:
            connect_limit().block(self.subscriber.user_id, FLOOD_SECONDS)

    async def join(self, subscriber: Subscriber) -> None:
        """Receive the subscriber's events from now on; raises `too_many_sockets`."""
        self.subscriber = subscriber
        self.trace.user_id = subscriber.user_id
        await hub().join(subscriber)

    def leave(self) -> None:
        """Receive and send nothing more; harmless for a socket that has not joined."""
        if self.subscriber is not None:
            self.subscriber.stop()
            hub().leave(self.subscriber)

    @cached_property
    def query(self) -> dict[str, str]:
        """The query parameters of the socket; raises `invalid_parameter`."""
        found = parse_qs(self.scope.get("query_string", b"").decode("latin1"), keep_blank_values=True)
        return parse_query(found, ("mark_read", "after", "presence"))

    @property
    def subscription(self) -> dict[str, Any]:
        """The arguments that every subscriber takes from its socket."""
        session = self.scope.get("session")
        return {
            "session_key": session.session_key if session is not None else None,
            "wants_presence": self.wants_presence,
            "write": self.write,
            "close": self.close_soon,
        }

    def write(self, text: str) -> Awaitable[None]:
        """Send a text frame; Channels' `send` would be two more coroutines."""
        return self.base_send({"type": "websocket.send", "text": text})  # type: ignore[no-any-return]

    def close_soon(self, code: int) -> None:
        """Close the socket soon. May be called from anywhere in the event loop; only the first code counts."""
        if not self.closing:
            self.closing = True
            self._set_close_code(code)
            if self.opened_at is None:
                self.trace.refusal = "withdrawn"
            if self.subscriber is not None:
                self.subscriber.stop()
            # In this socket's context, for its log lines: the caller may run in that of another socket, or in none.
            context = self.subscriber.context if self.subscriber is not None else None
            self.keep(asyncio.create_task(self._close(code), context=context))

    def keep(self, task: "asyncio.Task[None]") -> None:
        """Keep a reference to a background task until it is done; the event loop has only a weak one."""
        self.background.add(task)
        task.add_done_callback(self.background.discard)

    async def _close(self, code: int) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.close(code)
        except Exception as error:
            logger.info("socket cut: %s", type(error).__name__)
            if self.task is not None:
                self.task.cancel()

    def _log_opening(self) -> None:
        self.opened_at, self.trace.refusal = time.monotonic(), None
        metrics.SOCKETS.labels(self.name).inc()
        metrics.OPENED.labels(self.name).inc()
        logger.info("socket opened", extra={"fields": {"kind": self.name}})

    def _log_end(self) -> None:
        if self.opened_at is None or self.subscriber is None:
            return
        by = "server" if self.closing or self.close_code in SERVER_CODES else "client"
        metrics.SOCKETS.labels(self.name).dec()
        code = self.close_code if self.close_code in COUNTED_CODES else "other"
        metrics.CLOSED.labels(code, by).inc()
        fields = {
            "kind": self.name,
            "code": self.close_code,
            "by": by,
            "seconds": round(time.monotonic() - self.opened_at, 1),
            "frames_in": self.frames_read,
            "frames_out": self.subscriber.frames_written,
        }
        logger.info("socket closed", extra={"fields": fields})
