"""The objects and frames that the server sends over REST and sockets."""

import math
from datetime import UTC, datetime
from typing import Annotated, Literal, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from accounts.serializers import ProfileBody, nameless, profile_body
from chat.errors import ClientError, Code, FrameCode
from chat.models import Conversation, Message, Report

STATUS_IDS_PER_FRAME = 500
ERASED_IDS_PER_FRAME = 500

Moment = Annotated[datetime, Meta(tz=True)]


class MessageBody(msgspec.Struct, frozen=True):
    """A message as one reader sees it; the same object over REST and in `new_message`."""

    id: int
    sender: int
    sender_profile: ProfileBody | None
    content: str
    timestamp: Moment
    is_read: bool
    is_own_message: bool
    is_erased: bool = False  # the default: processes of older releases publish messages without it


class ConversationBody(msgspec.Struct, frozen=True):
    """A conversation as one of its two participants sees it.

    `waiting_since` is the time of the student's first message after the mentor's last one; null when nobody waits, or
    nobody could answer.
    """

    id: int
    student_profile: ProfileBody
    teacher_profile: ProfileBody
    created_at: Moment
    updated_at: Moment
    last_message: MessageBody | None
    unread_message_count_for_user: int
    is_active: bool
    is_locked: bool
    waiting_since: Moment | None


class MessagePage(msgspec.Struct, frozen=True):
    """Messages of a conversation, oldest first; `count` is the number of messages ever sent in it."""

    count: int
    next: str | None
    previous: str | None
    results: list[MessageBody]


class ConversationPage(msgspec.Struct, frozen=True):
    """Conversations of a mentor."""

    count: int
    next: str | None
    previous: str | None
    results: list[ConversationBody]


class MarkedBody(msgspec.Struct, frozen=True):
    """A sentence that says how many messages became read."""

    detail: str


class ReportBody(msgspec.Struct, frozen=True):
    """A report of the message with the id `message`, as the person sees it who made it."""

    id: int
    message: int
    state: Literal["open", "handling", "closed"]
    created_at: Moment


class Problem(msgspec.Struct, frozen=True):
    """An error over REST."""

    detail: str
    code: Code


class MessageProblem(msgspec.Struct, frozen=True):
    """Why a message was refused: the errors by field."""

    code: FrameCode
    content: list[str] | UnsetType = UNSET
    client_id: list[str] | UnsetType = UNSET


class ReportProblem(msgspec.Struct, frozen=True):
    """Why a report was refused: the error of its reason."""

    code: Code
    reason: list[str]


class PageProblem(msgspec.Struct, frozen=True):
    """Why a page was refused: the error by query parameter."""

    code: Code
    page: list[str] | UnsetType = UNSET
    page_size: list[str] | UnsetType = UNSET
    limit: list[str] | UnsetType = UNSET
    before: list[str] | UnsetType = UNSET
    after: list[str] | UnsetType = UNSET
    mark_read: list[str] | UnsetType = UNSET
    ordering: list[str] | UnsetType = UNSET
    waiting: list[str] | UnsetType = UNSET


class Frame(msgspec.Struct, frozen=True, tag_field="type"):
    """A frame that the server sends."""


class ConnectionEstablished(Frame, frozen=True, tag="connection_established"):
    """The first frame of a conversation's socket."""

    conversation_id: str
    room_group_name: str


class ConversationState(Frame, frozen=True, tag="conversation_state"):
    """Whether the mentor is still assigned, and whether the conversation is locked; only with `?events=1`.

    Sent directly after the first frame, and at each change.
    """

    is_active: bool
    is_locked: bool


class NewMessage(Frame, frozen=True, tag="new_message"):
    """A message. Each is sent once per socket, in order; only the sender's own sockets receive `client_id`."""

    message: MessageBody
    client_id: str | UnsetType = UNSET


class UpdateMessageStatus(Frame, frozen=True, tag="update_message_status"):
    """The user `reader` has read these messages."""

    message_ids: Annotated[list[int], Meta(max_length=STATUS_IDS_PER_FRAME)]
    is_read: Literal[True]
    reader: int


class MessagesErased(Frame, frozen=True, tag="messages_erased"):
    """The texts of these messages are gone, with their sender's name; only on sockets opened with `?events=1`."""

    message_ids: Annotated[list[int], Meta(max_length=ERASED_IDS_PER_FRAME)]


class ResumeComplete(Frame, frozen=True, tag="resume_complete"):
    """Ends the replay that `?after=` requested."""

    recovered: bool
    count: int
    read_up_to: int | None


class Typing(Frame, frozen=True, tag="typing"):
    """The other participant, the user `user`, began or stopped typing."""

    user: int
    is_typing: bool


class Presence(Frame, frozen=True, tag="presence"):
    """The other participant, the user `user`, came online or went offline; only on sockets opened with `?presence=1`.

    `last_seen` is null for users who have never connected.
    """

    user: int
    is_online: bool
    last_seen: Moment | None


class InboxEstablished(Frame, frozen=True, tag="inbox_established"):
    """The first frame of an inbox; `unread_total` counts the user's unread messages in all their conversations."""

    unread_total: int


class ConversationUpdate(Frame, frozen=True, tag="conversation_update"):
    """A conversation of this inbox changed; this is its present state."""

    conversation: ConversationBody


class Pong(Frame, frozen=True, tag="pong"):
    """Answers a ping."""


class ErrorFrame(msgspec.Struct, frozen=True):
    """An error on a socket that stays open."""

    error: str
    code: FrameCode
    retry_after: float | UnsetType = UNSET


ConversationFrame = (
    ConnectionEstablished
    | ConversationState
    | NewMessage
    | UpdateMessageStatus
    | MessagesErased
    | ResumeComplete
    | Typing
    | Presence
    | Pong
    | ErrorFrame
)
InboxFrame = InboxEstablished | ConversationUpdate | Presence | Pong | ErrorFrame


def error_frame(error: ClientError) -> ErrorFrame:
    """Return the frame of an error."""
    wait = UNSET if error.retry_after is None else math.ceil(error.retry_after * 1000) / 1000
    return ErrorFrame(
        error=error.text, code=cast(FrameCode, error.code), retry_after=wait
    )  # other codes only refuse handshakes


def message_body(message: Message, reader_id: int | None = None) -> MessageBody:
    """Return a message as the user `reader_id` sees it; its sender and their profile must be loaded."""
    profile = getattr(message.sender, "profile", None)
    return MessageBody(
        id=message.pk,
        sender=message.sender_id,
        sender_profile=profile_body(profile) if profile else None,
        content=message.content,
        timestamp=message.timestamp,
        is_read=message.is_read,
        is_own_message=message.sender_id == reader_id,
        is_erased=message.is_erased,
    )


def tombstone(message: MessageBody) -> MessageBody:
    """Return a message as it is shown when its sender is erased."""
    sender = message.sender_profile
    return msgspec.structs.replace(
        message, content="", is_erased=True, sender_profile=sender and nameless(sender.user_id, sender.role)
    )


def report_body(report: Report) -> ReportBody:
    """Return a report."""
    state = cast(Literal["open", "handling", "closed"], str(report.state))
    return ReportBody(id=report.pk, message=report.message_id, state=state, created_at=report.created_at)


def conversation_body(
    conversation: Conversation, reader_id: int, last_message: Message | None, unread: int
) -> ConversationBody:
    """Return a conversation as the user `reader_id` sees it; its profiles and users must be loaded."""
    return ConversationBody(
        id=conversation.pk,
        student_profile=profile_body(conversation.student),
        teacher_profile=profile_body(conversation.teacher),
        created_at=conversation.created_at,
        updated_at=conversation.updated_at,
        last_message=message_body(last_message, reader_id) if last_message else None,
        unread_message_count_for_user=unread,
        is_active=conversation.is_active,
        is_locked=conversation.is_locked,
        waiting_since=conversation.shown_waiting_since,
    )


_student = ProfileBody(25, "Sara Ali", "student1", "student1@example.com", "STUDENT")
_teacher = ProfileBody(7, "Omar Hassan", "teacher1", "teacher1@example.com", "TEACHER")
_then = datetime(2023, 10, 27, 10, 30, 0, 123456, tzinfo=UTC)
_message = MessageBody(101, 5, _student, "Is the exam on Sunday?", _then, is_read=False, is_own_message=True)

# Examples for the AsyncAPI document, one for each frame.
SERVER_FRAME_EXAMPLES: tuple[msgspec.Struct, ...] = (
    ConnectionEstablished(conversation_id="123", room_group_name="chat_123"),
    ConversationState(is_active=True, is_locked=False),
    NewMessage(_message, "0d2b1c7e"),
    UpdateMessageStatus([99, 101], is_read=True, reader=7),
    MessagesErased([99, 101]),
    ResumeComplete(recovered=True, count=3, read_up_to=97),
    Typing(user=5, is_typing=True),
    Presence(user=5, is_online=False, last_seen=_then),
    Pong(),
    ErrorFrame("You are writing too fast.", "rate_limited", 0.2),
    InboxEstablished(unread_total=4),
    ConversationUpdate(
        ConversationBody(
            123, _student, _teacher, _then, _then, _message, 1, is_active=True, is_locked=False, waiting_since=_then
        )
    ),
)
