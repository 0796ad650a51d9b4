"""The consumers of WebSockets: they handle the frames of clients, and answer invalid frames with errors."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import cached_property, partial
from typing import Any, ClassVar

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer

from accounts import tracing
from accounts.models import UserProfile
from chat import services
from chat.bus.event_bus import publish
from chat.bus.events import TypingChanged
from chat.errors import ClientError, CloseCode, refusal
from chat.live.conversation_feed import ConversationFeed
from chat.live.handshake import Handshake, connect_participant
from chat.live.hub import check_handshake
from chat.live.inbox_feed import InboxFeed
from chat.live.registry import registry
from chat.live.small_frames import SmallFrames, all_small_frames
from chat.live.socket_lifecycle import SocketLifecycle
from chat.runtime import metrics
from chat.runtime.database import in_database
from chat.runtime.rate_limit import Bucket, connect_limit
from chat.store.drafts import Outcome
from chat.store.overview import EntryState, entry_states, unread_total
from chat.wire.client_frames import (
    ClientFrame,
    MarkRead,
    Ping,
    SendMessage,
    SetTyping,
    parse_flag,
    parse_id,
    read,
    read_frame,
)
from chat.wire.server_frames import Pong, error_frame

logger = logging.getLogger(__name__)

MAX_IN_FLIGHT = 100  # sends of one socket that wait for their commit
MAX_REFUSED = 100  # refused frames in REFUSED_SECONDS; more are a flood
REFUSED_SECONDS = 10.0
SMALL_FRAMES = 20.0, 40.0  # frames that are not sends: per second and burst, per socket

FrameHandler = Callable[[Any, dict[str, Any]], Awaitable[None]]


class RefusingConsumer(AsyncWebsocketConsumer):  # type: ignore[misc] # channels has no types
    """Refuses sockets whose path has no route."""

    channel_layer_alias = ""

    async def connect(self) -> None:
        """Refuse."""
        tracing.trace().refusal = "no_such_path"
        await self.close(CloseCode.NOT_FOUND)


class SocketConsumer(SocketLifecycle):
    """Reads the frames of a socket. An invalid frame is answered with an error, and the socket stays open.

    `handlers` maps each kind of frame to its handler; frames of other kinds go to `unhandled`.
    """

    handlers: ClassVar[Mapping[type[ClientFrame | SendMessage], FrameHandler]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.in_flight = asyncio.Semaphore(MAX_IN_FLIGHT)
        self.refused: deque[float] | None = None  # when frames were refused
        self.small_frames = Bucket(*SMALL_FRAMES)

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Handle one event of the server.

        Channels would enter a thread before each event to close database connections; `chat.runtime.database` does that
        itself. An exception would end the consumer silently, so it is logged and the socket is closed.
        """
        try:
            await getattr(self, message["type"].replace(".", "_"))(message)
        except StopConsumer:
            raise
        except Exception as error:
            self._failed(error)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Handle a frame of the client. An invalid frame is answered with an error, and the socket stays open."""
        self.frames_read += 1
        if self.closing:
            return
        try:
            kind, frame = read_frame(text_data)
            if kind is not SendMessage and (wait := self.small_frames.take()):
                raise ClientError("rate_limited", "Too many frames.", 429, retry_after=wait)
            handler = self.handlers.get(kind)
            await (handler(self, frame) if handler is not None else self.unhandled(frame))
        except ClientError as error:
            self.refuse(error)
            await asyncio.sleep(0)  # else a flood of queued frames would block the event loop

    async def unhandled(self, frame: dict[str, Any]) -> None:
        """Refuse a frame of an unknown kind."""
        raise ClientError("invalid_frame", "Unknown frame type.")

    async def pong(self, frame: dict[str, Any]) -> None:
        """Answer a ping."""
        if self.subscriber is not None:
            self.subscriber.send(Pong())

    async def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in a task, so that database time-outs of several frames pass at the same time, not in turn."""
        await self.in_flight.acquire()
        task = asyncio.create_task(work)
        self.keep(task)
        task.add_done_callback(self._spawned)

    def _spawned(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        """Log the error and close the socket: the client must not wait for an answer in vain."""
        logger.error("a socket failed", exc_info=error)
        self.close_soon(CloseCode.INTERNAL_ERROR)

    def refuse(self, error: ClientError) -> None:
        """Send the client an error. Too many of them are a flood, which closes the socket."""
        if self.subscriber is not None and not self.closing:
            metrics.ERRORS_TOLD.labels(error.code, "socket").inc()
            self.subscriber.send(error_frame(error))
            if error.status != 503 and self._is_flood():
                self.close_soon(CloseCode.FLOOD)

    def _is_flood(self) -> bool:
        now = time.monotonic()
        if self.refused is None:
            self.refused = deque(maxlen=MAX_REFUSED)
        full = len(self.refused) == MAX_REFUSED and now - self.refused[0] < REFUSED_SECONDS
        self.refused.append(now)
        return full


class ChatConsumer(SocketConsumer):
    """One socket of one participant in one conversation."""

    name = "conversation"
    subscriber: ConversationFeed | None = None
    is_typing = False  # as last published to the other participant

    async def subscribe(self) -> Callable[[], None]:
        """Subscribe to the conversation that the path names."""
        handshake = await in_database(self._look_up, partial(check_handshake, registry(), connect_limit()))
        self.user, self.user_id, self.conversation = handshake.user, handshake.user.pk, handshake.conversation
        feed = ConversationFeed(
            self.conversation, is_read=self._marks_read(), user_id=self.user_id, **self.subscription
        )
        await self.join(feed)
        return partial(feed.start, handshake)

    def _look_up(self, check: Callable[[int], None]) -> Handshake:
        conversation_id = self.scope["url_route"]["kwargs"].get("conversation_id")
        return connect_participant(
            user=self.scope.get("user"),
            session=self.scope.get("session"),
            conversation_id=None if conversation_id is None else parse_id(conversation_id),
            mark=self._marks_read(),
            after=self._after(),
            check=check,
        )

    def _marks_read(self) -> bool:
        return parse_flag(self.query, "mark_read", default=True)

    def _after(self) -> int | None:
        text = self.query.get("after")
        return None if text is None else 0 if text == "0" else parse_id(text)

    @cached_property
    def users_frames(self) -> SmallFrames:
        """What this socket shares with the user's other ones; most sockets are idle and need none of it."""
        return all_small_frames().of(self.user_id)

    async def send_message(self, frame: dict[str, Any]) -> None:
        """Queue a message; `_sent` answers the sender when the outcome is known."""
        draft = read(frame, SendMessage)
        await self.in_flight.acquire()
        try:
            services.queue_message(self.conversation.pk, self.user_id, draft.content, draft.client_id, self._sent)
        except BaseException:
            self.in_flight.release()
            raise
        if self.is_typing:
            self._publish_typing(False)

    def _sent(self, outcome: Outcome) -> None:
        """Answer a send that failed or was a repeat; a new message has reached this socket as an event already."""
        self.in_flight.release()
        if isinstance(outcome, ClientError):
            self.refuse(outcome)
        elif not outcome.created and self.subscriber is not None:
            self.subscriber.answer_repeat(outcome.event)

    async def mark_read(self, frame: dict[str, Any]) -> None:
        """Mark the other participant's messages as read, up to a message or all."""
        await self.spawn(self._mark_read(read(frame, MarkRead).row_id))

    async def _mark_read(self, message_id: int | None) -> None:
        try:
            await self.users_frames.mark_read(self.conversation, self.user, message_id)
        except ClientError as error:
            self.refuse(error)
        finally:
            self.in_flight.release()

    async def typing(self, frame: dict[str, Any]) -> None:
        """Publish that this participant began or stopped typing; uses no database."""
        is_typing = read(frame, SetTyping).is_typing
        if self.subscriber is None or not self.subscriber.is_active:
            raise refusal("conversation_closed")
        if self.subscriber.is_locked:
            raise refusal("conversation_locked")
        if self.users_frames.may_publish():
            self._publish_typing(is_typing)

    def _publish_typing(self, is_typing: bool) -> None:
        self.is_typing = is_typing
        publish(TypingChanged(self.conversation.pk, self.user_id, is_typing))

    def leave(self) -> None:
        """Leave, and publish that the user no longer types here."""
        if self.is_typing:
            self._publish_typing(False)
        super().leave()

    handlers = {SendMessage: send_message, MarkRead: mark_read, SetTyping: typing, Ping: SocketConsumer.pong}


class InboxConsumer(SocketConsumer):
    """One socket with updates of all conversations of a student or mentor; messages cannot be sent on it."""

    name = "inbox"

    async def subscribe(self) -> Callable[[], None]:
        """Subscribe to all of the user's conversations."""
        check = partial(check_handshake, registry(), connect_limit())
        profile, entries, unread = await in_database(self._look_up, check)
        feed = InboxFeed(profile, entries, **self.subscription)
        await self.join(feed)
        return partial(feed.start, unread)

    def _look_up(self, check: Callable[[int], None]) -> tuple[UserProfile, Mapping[int, EntryState], int]:
        user = services.signed_in(self.scope.get("user"))
        check(user.pk)
        services.refuse_locked(user=user)
        profile = services.participant(user=user)
        return profile, entry_states([profile])[profile.pk], unread_total(profile)

    async def unhandled(self, frame: dict[str, Any]) -> None:
        """Refuse a frame that belongs to a conversation."""
        raise ClientError("conversation_not_established", "Conversation not established.")

    handlers = {Ping: SocketConsumer.pong}
