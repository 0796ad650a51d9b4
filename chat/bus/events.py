"""The events, as they travel between processes, and the group of the channel layer that receives each."""

from typing import ClassVar

import msgspec

from chat.wire.server_frames import MessageBody


class Event(msgspec.Struct, frozen=True, tag=True):
    """Something that happened; `publish` in `event_bus` sends it.

    `group` names the receiving group of the channel layer; it is formatted with the event's own fields. A `transient`
    event is useless later: while the channel layer is away, it stays in this process.
    """

    group: ClassVar[str]
    transient: ClassVar[bool] = False


class ConversationEvent(Event, frozen=True):
    """An event for the sockets of one conversation."""

    group = "chat_{0.conversation_id}"

    conversation_id: int


class ConversationChanged(ConversationEvent, frozen=True):
    """An event that also changes the entry of the conversation in its participants' lists."""


class MessagePosted(ConversationChanged, frozen=True):
    """A message was committed. `message` is not made for one reader: its `is_own_message` is false.

    `committed` is the time of the commit by the clock of the committing process, in Unix seconds. It is 0 if the
    message is sent again later.
    """

    seq: int
    message: MessageBody
    client_id: str | None
    committed: float = 0.0


class MessagesRead(ConversationChanged, frozen=True):
    """The user `reader_id` has read the other participant's messages after seq `after`, up to and including `up_to`.

    `messages` are the [id, seq] of the messages that became read.
    """

    reader_id: int
    after: int
    up_to: int
    messages: list[tuple[int, int]]


class WaitingChanged(ConversationChanged, frozen=True):
    """Who waits for an answer changed, without a message; the receiver reads the present state."""


class TypingChanged(ConversationEvent, frozen=True):
    """The user `user_id` began or stopped typing in this conversation; this is never stored."""

    transient = True

    user_id: int
    is_typing: bool


class AccessChanged(Event, frozen=True, tag="LookAgain"):  # the tag of older releases, which run beside this one
    """This user changed: each process checks the access of their sockets and of their conversations' other sockets."""

    group = "chat_access"

    user_id: int


class ConversationStarted(Event, frozen=True):
    """A student and a mentor now have a conversation; both ids are those of profiles."""

    group = AccessChanged.group

    student_id: int
    teacher_id: int


class PresenceChanged(Event, frozen=True):
    """The user `user_id` came online or went offline; the receiver looks up the present state."""

    group = "presence_{0.user_id}"
    transient = True

    user_id: int


AnyEvent = (
    MessagePosted
    | MessagesRead
    | WaitingChanged
    | TypingChanged
    | AccessChanged
    | ConversationStarted
    | PresenceChanged
)

ACCESS_GROUP = AccessChanged.group  # every process with open sockets joins it


def conversation_group(conversation_id: int) -> str:
    """Return the group of a conversation's sockets; `connection_established` contains its name."""
    return ConversationEvent.group.format(ConversationEvent(conversation_id))


def presence_group(user_id: int) -> str:
    """Return the group of the processes whose sockets watch a user's presence."""
    return PresenceChanged.group.format(PresenceChanged(user_id))
