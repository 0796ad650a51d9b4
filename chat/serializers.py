"""The words both edges speak: objects and frames going out, frames and posts coming in."""

import json
import math
from datetime import datetime
from typing import Any, Literal, NoReturn

import msgspec
from django.conf import settings
from msgspec import UNSET, UnsetType

from accounts.serializers import ProfileBody, profile_body
from chat.errors import ClientError
from chat.models import Conversation, Message

STATUS_IDS_PER_FRAME = 500
MAX_CLIENT_ID_LENGTH = 64


class MessageBody(msgspec.Struct, frozen=True):
    """A message as one reader sees it; the same object over REST and in `new_message`."""

    id: int
    sender: int
    sender_profile: ProfileBody | None
    content: str
    timestamp: datetime
    is_read: bool
    is_own_message: bool


class ConversationBody(msgspec.Struct, frozen=True):
    """A conversation as one of its two participants sees it."""

    id: int
    student_profile: ProfileBody
    teacher_profile: ProfileBody
    created_at: datetime
    updated_at: datetime
    last_message: MessageBody | None
    unread_message_count_for_user: int
    is_active: bool


class Frame(msgspec.Struct, frozen=True, tag_field="type"):
    """Something the server says on a socket."""


class ConnectionEstablished(Frame, frozen=True, tag="connection_established"):
    """The first frame of a conversation's socket."""

    conversation_id: str
    room_group_name: str


class NewMessage(Frame, frozen=True, tag="new_message"):
    """A message, once per socket, in order; `client_id` goes to the sender's own sockets only."""

    message: MessageBody
    client_id: str | UnsetType = UNSET


class UpdateMessageStatus(Frame, frozen=True, tag="update_message_status"):
    """Messages became read by the user `reader`; at most `STATUS_IDS_PER_FRAME` ids."""

    message_ids: list[int]
    is_read: Literal[True]
    reader: int


class ResumeComplete(Frame, frozen=True, tag="resume_complete"):
    """Ends the replay that `?after=` asked for."""

    recovered: bool
    count: int
    read_up_to: int | None


class Typing(Frame, frozen=True, tag="typing"):
    """The other side, the user `user`, began to type or stopped."""

    user: int
    is_typing: bool


class Presence(Frame, frozen=True, tag="presence"):
    """The other side, the user `user`, came or went; on sockets opened with `?presence=1` only.

    `last_seen` is null for one who was never here.
    """

    user: int
    is_online: bool
    last_seen: datetime | None


class InboxEstablished(Frame, frozen=True, tag="inbox_established"):
    """The first frame of an inbox; `unread_total` counts what its user has not read in all their conversations."""

    unread_total: int


class ConversationUpdate(Frame, frozen=True, tag="conversation_update"):
    """On an inbox: something changed in a conversation; it is told as it stands now."""

    conversation: ConversationBody


class Pong(Frame, frozen=True, tag="pong"):
    """Answers a ping."""


class ErrorFrame(msgspec.Struct, frozen=True):
    """An error on a socket that stays open."""

    error: str
    code: str
    retry_after: float | UnsetType = UNSET


_encoder = msgspec.json.Encoder()


def encode(frame: Frame | ErrorFrame) -> str:
    """Return the frame's text on the wire."""
    return _encoder.encode(frame).decode()


def error_frame(error: ClientError) -> ErrorFrame:
    """Return the frame that tells an error."""
    wait = UNSET if error.retry_after is None else math.ceil(error.retry_after * 1000) / 1000
    return ErrorFrame(error=error.text, code=error.code, retry_after=wait)


def message_body(message: Message, reader_id: int | None = None) -> MessageBody:
    """Return a message, its sender and their profile loaded, as the user `reader_id` sees it."""
    profile = getattr(message.sender, "profile", None)
    return MessageBody(
        id=message.pk,
        sender=message.sender_id,
        sender_profile=profile_body(profile) if profile else None,
        content=message.content,
        timestamp=message.timestamp,
        is_read=message.is_read,
        is_own_message=message.sender_id == reader_id,
    )


def conversation_body(
    conversation: Conversation, reader_id: int, last_message: Message | None, unread: int
) -> ConversationBody:
    """Return a conversation, its people loaded, as the user `reader_id` sees it."""
    return ConversationBody(
        id=conversation.pk,
        student_profile=profile_body(conversation.student),
        teacher_profile=profile_body(conversation.teacher),
        created_at=conversation.created_at,
        updated_at=conversation.updated_at,
        last_message=message_body(last_message, reader_id) if last_message else None,
        unread_message_count_for_user=unread,
        is_active=conversation.is_active,
    )


def read_frame(text: str | None) -> dict[str, Any]:
    """Return a client's frame as a mapping; raises `invalid_json` or `invalid_frame` for anything else."""
    if text is None:
        raise ClientError("invalid_frame", "Binary frames are not supported.")
    try:
        frame = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise ClientError("invalid_json", "The frame is not valid JSON.") from None
    if not isinstance(frame, dict):
        raise ClientError("invalid_frame", "A frame must be a JSON object.")
    return frame


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are not JSON, though Python reads them


def read_draft(body: Any, field: str) -> tuple[str, str | None]:
    """Return (content, client_id) of a send; `field` is the content's name in `body`. Raises what is wrong with it."""
    if not isinstance(body, dict):
        raise ClientError("invalid_frame", "A JSON object is expected.")
    return _content(body.get(field), field), _client_id(body.get("client_id"))


def _content(content: Any, field: str) -> str:
    if content is None:
        content = ""
    if not isinstance(content, str):
        raise ClientError("invalid_frame", "Message content must be text.", field=field)
    if not content.strip():
        raise ClientError("empty_message", "Message content cannot be empty.", field=field)
    if len(content) > settings.CHAT_MAX_MESSAGE_LENGTH:
        limit = settings.CHAT_MAX_MESSAGE_LENGTH
        raise ClientError("message_too_long", f"Message content is longer than {limit} characters.", field=field)
    _storable(content, field)
    return content


def _client_id(client_id: Any) -> str | None:
    if client_id is None:
        return None
    if not isinstance(client_id, str) or not 1 <= len(client_id) <= MAX_CLIENT_ID_LENGTH:
        text = f"client_id must be text of 1 to {MAX_CLIENT_ID_LENGTH} characters."
        raise ClientError("invalid_frame", text, field="client_id")
    _storable(client_id, "client_id")
    return client_id


def _storable(text: str, field: str) -> None:
    """Refuse what PostgreSQL cannot store: NUL, and surrogates that are half of a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        storable = False
    else:
        storable = "\0" not in text
    if not storable:
        raise ClientError("invalid_characters", "The text has characters that cannot be stored.", field=field)


def read_message_id(value: Any) -> int | None:
    """Return the id that a `mark_read` names, as a number or digits, or None for all; -1 for what is no id."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ClientError("invalid_frame", "message_id must be a number or a string.")
    return parse_id(value)


def parse_id(value: int | str) -> int:
    """Return a row's id, or -1, which no row has, for text or numbers that cannot be one."""
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= len(str(_MAX_ID))):
            return -1
        value = int(value)
    return value if 0 < value <= _MAX_ID else -1


_MAX_ID = 2**63 - 1
