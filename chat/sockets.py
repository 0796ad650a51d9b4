"""What every socket does: it is let in or not, its frames are read and answered or refused, and it is closed."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import parse_qs

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from accounts import tracing
from chat import events, metrics
from chat.errors import ClientError, CloseCode, UnavailableError
from chat.incoming import ClientFrame, SendMessage, kind_of, read_frame
from chat.ratelimit import Bucket
from chat.seats import Seat
from chat.serializers import Frame, Pong, encode, error_frame
from chat.upkeep import Upkeep, upkeep

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 4.2  # the server drops a handshake after 5
CLOSE_SECONDS = 5.0
MAX_IN_FLIGHT = 100  # sends of one socket that wait for their commit
MAX_REFUSED = 100  # refused frames in REFUSED_SECONDS; more are a flood
REFUSED_SECONDS = 10.0
SMALL_FRAMES = 20.0, 40.0  # whatever is no send: per second and burst, per socket

CLOSE_CODES = {401: CloseCode.SESSION_ENDED, 403: CloseCode.NOT_ALLOWED, 404: CloseCode.NOT_FOUND, 429: CloseCode.FLOOD}

LOST = 1006  # RFC 6455: without a word
OF_SERVERS = {CloseCode.TOO_BIG, CloseCode.INTERNAL_ERROR, CloseCode.RESTARTING, CloseCode.TRY_LATER}
COUNTED_CODES = {1000, 1001, 1005, LOST, *CloseCode}  # a client may make up two thousand others


def check_room(here: Upkeep, user_id: int) -> None:
    """Raise `too_many_sockets` where this user has as many as they may; from any thread."""
    if here.count(user_id) >= settings.CHAT_MAX_SOCKETS_PER_USER:
        raise ClientError("too_many_sockets", "Too many open connections.", 429)


class SocketConsumer(AsyncWebsocketConsumer):  # type: ignore[misc] # channels has no types
    """One socket of one user.

    Needs `user` and `url_route` in its scope; with `session` in it, the socket ends with that session. Subclasses say
    who may `enter`, and what each kind of frame does.
    """

    kinds: ClassVar[Mapping[type[ClientFrame | SendMessage], Callable[[Any, dict[str, Any]], Awaitable[None]]]]

    name: ClassVar[str]  # as logs and metrics name it
    seat: Seat | None = None
    closing = False
    opened_at: float | None = None
    close_code = LOST
    frames_read = 0

    async def enter(self) -> Callable[[], None]:
        """Look up whether and where this user may sit, `take` the seat and return what begins it once accepted.

        Raises `ClientError` for whoever is refused.
        """
        raise NotImplementedError

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run until the socket ends, however it ends, and leave nothing behind.

        Channels would wait for a channel of this socket's own, too; the process's mailbox listens for all of them.
        """
        self.task = asyncio.current_task()
        self.background: set[asyncio.Future[Any]] = set()
        self.in_flight = asyncio.Semaphore(MAX_IN_FLIGHT)
        self.refused: deque[float] = deque(maxlen=MAX_REFUSED)
        self.small_frames = Bucket(*SMALL_FRAMES)
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

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Handle one event of the server.

        Channels hops to a thread before each, to close database connections; ours go back where they are used. An
        exception would end the consumer without a word, so it is logged and the socket closed.
        """
        try:
            await getattr(self, message["type"].replace(".", "_"))(message)
        except StopConsumer:
            raise
        except Exception as error:
            self._failed(error)

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """End."""
        if not self.closing:
            self.close_code = message.get("code") or LOST
        raise StopConsumer

    async def connect(self) -> None:
        """Read, join, accept, and read again what was committed before the group was joined."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await upkeep().listen()
                begin = await self.enter()
        except (ClientError, TimeoutError) as error:
            self.leave()
            self.trace.refusal = getattr(error, "code", UnavailableError().code)
            if not self.closing:
                await self.close(CLOSE_CODES.get(getattr(error, "status", 503), CloseCode.TRY_LATER))
            return
        if self.closing or self.seat is None:  # found to have no place any more while the groups were being joined
            return
        await self.accept()
        self._log_opening()
        begin()
        upkeep().started(self.seat)

    async def take(self, seat: Seat) -> None:
        """Sit down and hear what the seat's groups say; raises `too_many_sockets`."""
        check_room(upkeep(), seat.user_id)
        self.seat = seat
        self.trace.user_id = seat.user_id
        upkeep().admit(seat)
        await events.mailbox().join(seat.groups, seat.outbox.hear)

    @property
    def session_key(self) -> str | None:
        """The key of the session that this socket ends with."""
        session = self.scope.get("session")
        return session.session_key if session is not None else None

    @cached_property
    def query(self) -> dict[str, str]:
        """The parameters of the socket's address; of one that is repeated, the last."""
        found = parse_qs(self.scope.get("query_string", b"").decode("latin1"), keep_blank_values=True)
        return {name: values[-1] for name, values in found.items()}

    @property
    def asked_for_presence(self) -> bool:
        """Whether the client wants to be told who is there."""
        return self.query.get("presence", "").lower() in {"true", "1"}

    def leave(self) -> None:
        """Give the seat up; harmless if none was taken."""
        if self.seat is not None:
            self.seat.outbox.stop()
            events.mailbox().leave(self.seat.groups, self.seat.outbox.hear)
            upkeep().dismiss(self.seat)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Handle a client's frame; what is wrong with it is told, and the socket stays."""
        self.frames_read += 1
        if self.closing:
            return
        try:
            frame = read_frame(text_data)
            kind = kind_of(frame)
            if kind is not SendMessage and (wait := self.small_frames.take()):
                raise ClientError("rate_limited", "Too many frames.", 429, retry_after=wait)
            await self.kinds[kind](self, frame)
        except ClientError as error:
            self.refuse(error)
            await asyncio.sleep(0)  # else a flood that waits in the server's queue would let nobody else run

    async def pong(self, frame: dict[str, Any]) -> None:
        """Answer a ping."""
        self.say(Pong())

    async def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside what follows, so that a database that is away does not add up one time-out to the next."""
        await self.in_flight.acquire()
        task = asyncio.create_task(work)
        self.background.add(task)
        task.add_done_callback(self._spawned)

    def _spawned(self, task: "asyncio.Task[None]") -> None:
        self.background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        """Say so to whoever reads the log, and to the client: it must not wait for an answer in vain."""
        logger.error("a socket failed", exc_info=error)
        self.close_soon(CloseCode.INTERNAL_ERROR)

    def say(self, frame: Frame) -> None:
        """Send a frame."""
        if self.seat is not None:
            self.seat.outbox.say(encode(frame))

    def refuse(self, error: ClientError) -> None:
        """Tell the client what was wrong; too many of these are a flood."""
        if self.seat is not None and not self.closing:
            metrics.ERRORS_TOLD.labels(error.code, "socket").inc()
            self.seat.outbox.say(encode(error_frame(error)))
            if error.status != 503 and self._is_flood():
                self.close_soon(CloseCode.FLOOD)

    def _is_flood(self) -> bool:
        now = time.monotonic()
        full = len(self.refused) == MAX_REFUSED and now - self.refused[0] < REFUSED_SECONDS
        self.refused.append(now)
        return full

    def close_soon(self, code: int) -> None:
        """Close from wherever it was found that this socket must end; the first code counts."""
        if not self.closing:
            self.closing, self.close_code = True, code
            if self.opened_at is None:
                self.trace.refusal = "withdrawn"
            if self.seat is not None:
                self.seat.outbox.stop()
            # In this socket's name: whoever found it out is another socket, or works for all.
            context = self.seat.outbox.context if self.seat is not None else None
            task = asyncio.create_task(self._close(code), context=context)
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
        if self.opened_at is None or self.seat is None:
            return
        by = "server" if self.closing or self.close_code in OF_SERVERS else "client"
        metrics.SOCKETS.labels(self.name).dec()
        code = self.close_code if self.close_code in COUNTED_CODES else "other"
        metrics.CLOSED.labels(code, by).inc()
        fields = {
            "kind": self.name,
            "code": self.close_code,
            "by": by,
            "seconds": round(time.monotonic() - self.opened_at, 1),
            "frames_in": self.frames_read,
            "frames_out": self.seat.outbox.written,
        }
        logger.info("socket closed", extra={"fields": fields})
