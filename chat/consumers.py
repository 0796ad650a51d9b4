"""The socket edge: who asks, what do they want, what are they told."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from chat import events, services
from chat.batch import Sent
from chat.database import in_database
from chat.delivery import Delivery
from chat.errors import ClientError
from chat.incoming import parse_id, read_draft, read_frame, read_message_id
from chat.ratelimit import Bucket
from chat.seats import NOT_ALLOWED, NOT_FOUND, SESSION_ENDED, Seat
from chat.serializers import ConnectionEstablished, Frame, Pong, ResumeComplete, encode, error_frame
from chat.upkeep import upkeep

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 4.2  # the server drops a handshake after 5
CLOSE_SECONDS = 5.0
MAX_IN_FLIGHT = 100  # sends of one socket that wait for their commit
MAX_REFUSED = 100  # refused frames in REFUSED_SECONDS; more are a flood
REFUSED_SECONDS = 10.0
SMALL_FRAMES = 20.0, 40.0  # mark_read and ping: per second and burst, per socket

FLOOD = 4429
INTERNAL_ERROR = 1011
TRY_LATER = 1013
CLOSE_CODES = {401: SESSION_ENDED, 403: NOT_ALLOWED, 404: NOT_FOUND, 429: FLOOD}


class RefusingConsumer(AsyncWebsocketConsumer):  # type: ignore[misc] # channels has no types
    """Closes what no route knows, before it is accepted."""

    channel_layer_alias = ""

    async def connect(self) -> None:
        """Refuse."""
        await self.close(NOT_FOUND)


class ChatConsumer(AsyncWebsocketConsumer):  # type: ignore[misc] # channels has no types
    """One socket of one participant in one conversation.

    Needs `user` and `url_route` in its scope; with `session` in it, the socket ends with that session.
    """

    delivery: Delivery | None = None
    seat: Seat | None = None
    closing = False

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
        try:
            while True:
                await self.dispatch(await receive())
        except StopConsumer:
            pass
        except asyncio.CancelledError:
            if not self.closing:
                raise
        finally:
            self._leave()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Handle one event of the server.

        Channels hops to a thread before each, to close database connections; ours go back where they are used. An
        exception would end the consumer without a word, so it is logged and the socket closed.
        """
        try:
            await getattr(self, message["type"].replace(".", "_"))(message)
        except StopConsumer:
            raise
        except Exception:
            logger.exception("a socket failed")
            self._close_soon(INTERNAL_ERROR)

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """End."""
        raise StopConsumer

    async def connect(self) -> None:
        """Read, join, accept, and read again what was committed before the group was joined."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await upkeep().listen()
                entrance = await in_database(self._look_up)
                seat = await self._join()
        except (ClientError, TimeoutError) as error:
            self._leave()
            if not self.closing:
                await self.close(CLOSE_CODES.get(getattr(error, "status", 503), TRY_LATER))
            return
        if self.closing:  # found to have no place any more while the group was being joined
            return
        await self.accept()
        frames = self._first_frames(entrance, seat.delivery)
        seat.delivery.start(first=entrance.first, last=entrance.last, reads=entrance.reads, frames=frames)
        upkeep().started(seat)

    def _look_up(self) -> services.Entrance:
        self.user = user = services.signed_in(self.scope.get("user"))
        self.user_id = user.pk
        conversation_id = self.scope["url_route"]["kwargs"].get("conversation_id")
        if conversation_id is None:
            self.conversation = services.student_conversation(user=user)
        else:
            self.conversation = services.mentor_conversation(user=user, conversation_id=int(conversation_id))
        query = parse_qs(self.scope.get("query_string", b"").decode("latin1"), keep_blank_values=True)
        return services.enter(
            conversation=self.conversation,
            user=user,
            mark=query.get("mark_read", [""])[-1].lower() not in {"false", "0"},
            after=parse_id(query["after"][-1]) if "after" in query else None,
        )

    async def _join(self) -> Seat:
        if upkeep().count(self.user_id) >= settings.CHAT_MAX_SOCKETS_PER_USER:
            raise ClientError("too_many_sockets", "Too many open connections.", 429)
        conversation, session = self.conversation, self.scope.get("session")
        delivery = Delivery(conversation.pk, self.user_id, self.send, self._close_soon)
        self.seat = Seat(
            user_id=self.user_id,
            session_key=session.session_key if session is not None else None,
            conversation_id=conversation.pk,
            student_user_id=conversation.student.user_id,
            teacher_user_id=conversation.teacher.user_id,
            was_active=conversation.is_active,
            delivery=delivery,
            close=self._close_soon,
        )
        self.delivery = delivery
        upkeep().admit(self.seat)
        await events.mailbox().join(events.conversation_group(conversation.pk), delivery.hear)
        return self.seat

    def _first_frames(self, entrance: services.Entrance, delivery: Delivery) -> Iterator[Frame]:
        pk = self.conversation.pk
        yield ConnectionEstablished(conversation_id=str(pk), room_group_name=events.conversation_group(pk))
        for event in entrance.missed:
            yield delivery.frame(event)
        if entrance.recovered is not None:
            count = len(entrance.missed)
            yield ResumeComplete(recovered=entrance.recovered, count=count, read_up_to=entrance.read_up_to)

    def _leave(self) -> None:
        if self.delivery is not None:
            self.delivery.stop()
            group = events.conversation_group(self.delivery.conversation_id)
            events.mailbox().leave(group, self.delivery.hear)
        if self.seat is not None:
            upkeep().dismiss(self.seat)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Handle a client's frame; what is wrong with it is told, and the socket stays."""
        if self.closing:
            return
        try:
            frame = read_frame(text_data)
            kind = frame.get("type")
            if kind in ("mark_read", "ping"):
                await self._small_frame(kind, frame)
            elif kind is not None and frame.get("message") is None:
                raise ClientError("invalid_frame", "Unknown frame type.")
            else:
                await self._send_message(frame)
        except ClientError as error:
            self._refuse(error)
            await asyncio.sleep(0)  # else a flood that waits in the server's queue would let nobody else run

    async def _small_frame(self, kind: str, frame: dict[str, Any]) -> None:
        if wait := self.small_frames.take():
            raise ClientError("rate_limited", "Too many frames.", 429, retry_after=wait)
        if kind == "ping":
            self._say(Pong())
        else:
            await self._spawn(self._mark_read(read_message_id(frame.get("message_id"))))

    async def _send_message(self, frame: dict[str, Any]) -> None:
        content, client_id = read_draft(frame, "message")
        await self.in_flight.acquire()
        try:
            sent = await services.queue_message(self.conversation.pk, self.user_id, content, client_id)
        except BaseException:
            self.in_flight.release()
            raise
        sent.add_done_callback(self._sent)

    def _sent(self, sent: "asyncio.Future[Sent]") -> None:
        """Tell what became of a send; a new message has been told by its event already."""
        self.in_flight.release()
        if sent.cancelled():
            return
        error = sent.exception()
        if isinstance(error, ClientError):
            self._refuse(error)
        elif error is None and not sent.result().created and self.delivery is not None:
            self.delivery.repeat(sent.result().event)

    async def _mark_read(self, message_id: int | None) -> None:
        try:
            if message_id is None:
                await in_database(services.mark_read, conversation=self.conversation, reader=self.user)
            else:
                call = partial(services.mark_read_up_to, message_id=message_id)
                await in_database(call, conversation=self.conversation, reader=self.user)
        except ClientError as error:
            self._refuse(error)
        finally:
            self.in_flight.release()

    async def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside what follows, so that a database that is away does not add up one time-out to the next."""
        await self.in_flight.acquire()
        task = asyncio.create_task(work)
        self.background.add(task)
        task.add_done_callback(self.background.discard)

    def _say(self, frame: Frame) -> None:
        if self.delivery is not None:
            self.delivery.say(encode(frame))

    def _refuse(self, error: ClientError) -> None:
        if self.delivery is not None and not self.closing:
            self.delivery.say(encode(error_frame(error)))
            if error.status != 503 and self._is_flood():
                self._close_soon(FLOOD)

    def _is_flood(self) -> bool:
        now = time.monotonic()
        full = len(self.refused) == MAX_REFUSED and now - self.refused[0] < REFUSED_SECONDS
        self.refused.append(now)
        return full

    def _close_soon(self, code: int) -> None:
        """Close from wherever it was found that this socket must end; the first code counts."""
        if not self.closing:
            self.closing = True
            if self.delivery is not None:
                self.delivery.stop()
            task = asyncio.create_task(self._close(code))
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
