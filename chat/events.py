"""What happened, and who must hear it: the only place that hands events to the channel layer."""

import asyncio
from functools import partial

import msgspec
from asgiref.sync import async_to_sync

from chat.loops import per_event_loop
from chat.mailbox import Mailbox
from chat.serializers import MessageBody


class Event(msgspec.Struct, frozen=True, tag=True):
    """Something that happened; travels between processes as msgpack."""


class ConversationChanged(Event, frozen=True):
    """Something that makes a conversation look different in an inbox."""

    conversation_id: int


class MessagePosted(ConversationChanged, frozen=True):
    """A message was committed. `message` is as nobody in particular sees it: `is_own_message` is false.

    `committed` is when that was, by the clock of the process that did it; 0 where the message is told of later.
    """

    seq: int
    message: MessageBody
    client_id: str | None
    committed: float = 0.0


class MessagesRead(ConversationChanged, frozen=True):
    """The user `reader_id` has read the other side's messages after seq `after`, up to and including `up_to`.

    `messages` are the [id, seq] of those that became read.
    """

    reader_id: int
    after: int
    up_to: int
    messages: list[tuple[int, int]]


class TypingChanged(Event, frozen=True):
    """The user `user_id` began to write in this conversation or stopped; nothing of it is stored."""

    conversation_id: int
    user_id: int
    is_typing: bool


class LookAgain(Event, frozen=True):
    """Something changed about this user; whether each socket of their conversations may stay must be looked up."""

    user_id: int


class ConversationStarted(Event, frozen=True):
    """A student and a mentor, named by their profiles' ids, have a conversation now."""

    student_id: int
    teacher_id: int


class PresenceChanged(Event, frozen=True):
    """The user `user_id` came or went; how it stands must be looked up."""

    user_id: int


AnyEvent = MessagePosted | MessagesRead | TypingChanged | LookAgain | ConversationStarted | PresenceChanged

ACCESS_GROUP = "chat_access"  # every process joins it


def conversation_group(conversation_id: int) -> str:
    """Return the group of a conversation's sockets, which `connection_established` names."""
    return f"chat_{conversation_id}"


def presence_group(user_id: int) -> str:
    """Return the group of those who watch whether a user is there."""
    return f"presence_{user_id}"


# The running event loop's mailbox.
mailbox = per_event_loop(partial(Mailbox[AnyEvent], AnyEvent))


def message_posted(event: MessagePosted) -> None:
    """Tell the conversation's sockets of a committed message."""
    _publish(conversation_group(event.conversation_id), event)


def messages_read(event: MessagesRead) -> None:
    """Tell the conversation's sockets that messages became read."""
    _publish(conversation_group(event.conversation_id), event)


def typing_changed(event: TypingChanged) -> None:
    """Tell the conversation's sockets that somebody began to write or stopped; from the event loop."""
    mailbox().hint(conversation_group(event.conversation_id), event)


def access_changed(user_id: int) -> None:
    """Have every process look again whether this user's sockets, and those they talk with, may stay."""
    _publish(ACCESS_GROUP, LookAgain(user_id))


def conversation_started(event: ConversationStarted) -> None:
    """Have every process look whether an inbox has to show it."""
    _publish(ACCESS_GROUP, event)


def presence_changed(user_id: int) -> None:
    """Tell those who watch this user that they came or went; from the event loop."""
    mailbox().hint(presence_group(user_id), PresenceChanged(user_id))


def _publish(group: str, event: AnyEvent) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        async_to_sync(_publish_from_thread)(group, event)
    else:
        mailbox().publish(group, event)


async def _publish_from_thread(group: str, event: AnyEvent) -> None:
    """Runs in the server's loop for a thread of the server, else in a loop that ends with this call."""
    mailbox().publish(group, event)
    if not mailbox().listening:
        await mailbox().settle()
