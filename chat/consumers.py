"""The socket edge: who asks, what do they want, what are they told."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer

from accounts import tracing
from accounts.models import UserProfile
from chat import events, services
from chat.batch import Sent
from chat.database import in_database
from chat.delivery import Delivery
from chat.entrance import Entrance, enter
from chat.errors import ClientError, CloseCode
from chat.inbox import Inbox, State, states, unread_total
from chat.incoming import MarkRead, Ping, SendMessage, SetTyping, parse_id, read
from chat.seats import ConversationSeat, InboxSeat
from chat.serializers import ConnectionEstablished, Frame, ResumeComplete
from chat.sockets import SocketConsumer, check_room
from chat.upkeep import upkeep


class RefusingConsumer(AsyncWebsocketConsumer):  # type: ignore[misc] # channels has no types
    """Closes what no route knows, before it is accepted."""

    channel_layer_alias = ""

    async def connect(self) -> None:
        """Refuse."""
        tracing.trace().refusal = "no_such_path"
        await self.close(CloseCode.NOT_FOUND)


class ChatConsumer(SocketConsumer):
    """One socket of one participant in one conversation."""

    name = "conversation"
    seat: ConversationSeat | None = None
    is_typing = False  # as the other side was told

    async def enter(self) -> Callable[[], None]:
        """Sit down in the conversation that the path names."""
        entrance = await in_database(self._look_up, partial(check_room, upkeep()))
        self.user, self.user_id, self.conversation = entrance.user, entrance.user.pk, entrance.conversation
        delivery = Delivery(self.conversation.pk, self.user_id, self.send, self.close_soon)
        await self.take(
            ConversationSeat(
                user_id=self.user_id,
                session_key=self.session_key,
                outbox=delivery,
                close=self.close_soon,
                asked_for_presence=self.asked_for_presence,
                student_user_id=self.conversation.student.user_id,
                teacher_user_id=self.conversation.teacher.user_id,
                was_active=self.conversation.is_active,
            )
        )
        frames = self._first_frames(entrance, delivery)
        return partial(delivery.start, first=entrance.first, last=entrance.last, reads=entrance.reads, frames=frames)

    def _look_up(self, check: Callable[[int], None]) -> Entrance:
        conversation_id = self.scope["url_route"]["kwargs"].get("conversation_id")
        return enter(
            user=self.scope.get("user"),
            session=self.scope.get("session"),
            conversation_id=None if conversation_id is None else parse_id(conversation_id),
            mark=self.query.get("mark_read", "").lower() not in {"false", "0"},
            after=parse_id(self.query["after"]) if "after" in self.query else None,
            check=check,
        )

    def _first_frames(self, entrance: Entrance, delivery: Delivery) -> Iterator[Frame]:
        pk = self.conversation.pk
        yield ConnectionEstablished(conversation_id=str(pk), room_group_name=events.conversation_group(pk))
        for event in entrance.missed:
            yield delivery.frame(event)
        if entrance.recovered is not None:
            count = len(entrance.missed)
            yield ResumeComplete(recovered=entrance.recovered, count=count, read_up_to=entrance.read_up_to)

    async def send_message(self, frame: dict[str, Any]) -> None:
        """Send a message; what became of it is told when it is known."""
        draft = read(frame, SendMessage)
        await self.in_flight.acquire()
        try:
            sent = services.queue_message(self.conversation.pk, self.user_id, draft.content, draft.client_id)
        except BaseException:
            self.in_flight.release()
            raise
        sent.add_done_callback(self._sent)
        self._stop_typing()

    def _sent(self, sent: "asyncio.Future[Sent]") -> None:
        """Tell what became of a send; a new message has been told by its event already."""
        self.in_flight.release()
        if sent.cancelled():
            return
        error = sent.exception()
        if isinstance(error, ClientError):
            self.refuse(error)
        elif error is None and not sent.result().created and self.seat is not None:
            self.seat.outbox.repeat(sent.result().event)

    async def mark_read(self, frame: dict[str, Any]) -> None:
        """Mark what the other side sent as read, up to a message or all."""
        await self.spawn(self._mark_read(read(frame, MarkRead).row_id))

    async def _mark_read(self, message_id: int | None) -> None:
        try:
            if message_id is None:
                await in_database(services.mark_read, conversation=self.conversation, reader=self.user)
            else:
                call = partial(services.mark_read_up_to, message_id=message_id)
                await in_database(call, conversation=self.conversation, reader=self.user)
        except ClientError as error:
            self.refuse(error)
        finally:
            self.in_flight.release()

    async def typing(self, frame: dict[str, Any]) -> None:
        """Tell the other side that this one began to write or stopped; never asks the database."""
        is_typing = read(frame, SetTyping).is_typing
        if self.seat is None or not self.seat.was_active:
            raise ClientError("conversation_closed", "This conversation is closed.", 403)
        self._tell_typing(is_typing)

    def _tell_typing(self, is_typing: bool) -> None:
        self.is_typing = is_typing
        events.typing_changed(events.TypingChanged(self.conversation.pk, self.user_id, is_typing))

    def _stop_typing(self) -> None:
        if self.is_typing:
            self._tell_typing(False)

    def leave(self) -> None:
        """Give the seat up; whoever was writing here writes no more."""
        self._stop_typing()
        super().leave()

    kinds = {SendMessage: send_message, MarkRead: mark_read, SetTyping: typing, Ping: SocketConsumer.pong}


class InboxConsumer(SocketConsumer):
    """One socket that hears of all conversations of a student or a mentor; nothing can be sent."""

    name = "inbox"

    async def enter(self) -> Callable[[], None]:
        """Sit down before all of the user's conversations."""
        profile, known, unread = await in_database(self._look_up)
        inbox = Inbox(profile, known, self.send, self.close_soon)
        await self.take(
            InboxSeat(
                user_id=inbox.user.pk,
                session_key=self.session_key,
                outbox=inbox,
                close=self.close_soon,
                asked_for_presence=self.asked_for_presence,
            )
        )
        return partial(inbox.start, unread)

    def _look_up(self) -> tuple[UserProfile, Mapping[int, State], int]:
        profile = services.participant(user=services.signed_in(self.scope.get("user")))
        return profile, states([profile])[profile.pk], unread_total(profile)

    async def not_established(self, frame: dict[str, Any]) -> None:
        """Refuse what belongs to a conversation."""
        raise ClientError("conversation_not_established", "Conversation not established.")

    kinds = {
        SendMessage: not_established,
        MarkRead: not_established,
        SetTyping: not_established,
        Ping: SocketConsumer.pong,
    }
