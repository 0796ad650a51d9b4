"""What happened: each event, the group of those who must be told, and what travels between processes."""

from typing import ClassVar

import msgspec

from chat.wire.server_frames import MessageBody


class Event(msgspec.Struct, frozen=True, tag=True):
    """Something that happened; `publish` in `event_bus` tells it.

    `group` is the channel layer's group of those who must be told, filled in with the event's own fields. Nobody
    misses a `transient` event later: while the channel layer is away, it stays in this process.
    """

    group: ClassVar[str]
    transient: ClassVar[bool] = False


class ConversationEvent(Event, frozen=True):
    """An event for the sockets of one conversation."""

    group = "chat_{0.conversation_id}"

    conversation_id: int


class ConversationChanged(ConversationEvent, frozen=True):
    """Something that changes the conversation's entry in the list of its participants, too."""


class MessagePosted(ConversationChanged, frozen=True):
    """A message was committed. `message` is as nobody in particular sees it: `is_own_message` is false.

    `committed` is the time of the commit by the clock of the process that did it; 0 where the message is told later.
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


class TypingChanged(ConversationEvent, frozen=True):
    """The user `user_id` began to type in this conversation or stopped; nothing of it is stored."""

    transient = True

    user_id: int
    is_typing: bool


class AccessChanged(Event, frozen=True, tag="LookAgain"):  # the tag of older releases, which run beside this one
    """Something changed about this user: each process checks the access of their sockets and of those they talk to."""

    group = "chat_access"

    user_id: int


class ConversationStarted(Event, frozen=True):
    """A student and a mentor, named by the ids of their profiles, have a conversation now."""

    group = AccessChanged.group

    student_id: int
    teacher_id: int


class PresenceChanged(Event, frozen=True):
    """The user `user_id` came or went; the present state must be looked up."""

    group = "presence_{0.user_id}"
    transient = True

    user_id: int


AnyEvent = MessagePosted | MessagesRead | TypingChanged | AccessChanged | ConversationStarted | PresenceChanged

ACCESS_GROUP = AccessChanged.group  # every process with open sockets joins it


def conversation_group(conversation_id: int) -> str:
    """Return the group of a conversation's sockets, which `connection_established` names."""
    return ConversationEvent.group.format(ConversationEvent(conversation_id))


def presence_group(user_id: int) -> str:
    """Return the group of those who watch a user's presence."""
    return PresenceChanged.group.format(PresenceChanged(user_id))
