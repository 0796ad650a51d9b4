"""The frames and objects that clients send over sockets and REST, and their validation."""

import json
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Annotated, Any, NoReturn, TypeVar

import msgspec
from django.conf import settings
from msgspec import Meta
from msgspec.structs import FieldInfo

from chat.errors import ClientError

S = TypeVar("S", bound=msgspec.Struct)

MAX_CLIENT_ID_LENGTH = 64
# What `msgspec.convert` raises; the second for text with lone surrogates where no text is expected.
WRONG_VALUE = (msgspec.ValidationError, UnicodeEncodeError)

Content = Annotated[
    str,
    Meta(
        description="Must not be blank or contain NUL or lone surrogates. The length is counted in code points.",
        extra_json_schema={"minLength": 1},
    ),
]
ClientId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_CLIENT_ID_LENGTH,
        description="Chosen by the sender. A repeat is answered again, but stored only once.",
    ),
]


class MessagePost(msgspec.Struct, frozen=True):
    """A message that is sent over REST."""

    content: Content
    client_id: ClientId | None = None


class SendMessage(MessagePost, frozen=True, rename={"content": "message"}):
    """A message that is sent on a socket. As in v1 it needs no `type`, and an unknown `type` is ignored."""

    content: Content


class ReportPost(msgspec.Struct, frozen=True):
    """A report of a message."""

    reason: Annotated[str, Meta(description="Why, for the staff alone; at most 1,000 code points.")] | None = None


class ClientFrame(msgspec.Struct, frozen=True, tag_field="type"):
    """Base of all other frames of clients. To add a kind of frame to the protocol, add a subclass."""


class MarkRead(ClientFrame, frozen=True, tag="mark_read"):
    """Marks the other participant's messages up to and including `message_id` as read; without it, all of them."""

    message_id: int | str | None = None

    @property
    def row_id(self) -> int | None:
        """The message's id; None for all messages, -1 for an invalid id."""
        return None if self.message_id is None else parse_id(self.message_id)


class SetTyping(ClientFrame, frozen=True, tag="typing"):
    """Tells the other participant that this one began or stopped typing."""

    is_typing: bool


class Ping(ClientFrame, frozen=True, tag="ping"):
    """Requests a pong. Browsers cannot send the ping of the WebSocket protocol."""


def read_frame(text: str | None) -> tuple[type[ClientFrame] | type[SendMessage], dict[str, Any]]:
    """Return the kind of a client's frame, and the frame; raises `invalid_json` or `invalid_frame`.

    A known `type` decides. Otherwise a frame with a `message` is a send, and so is a frame without a `type`.
    """
    if text is None:
        raise ClientError("invalid_frame", "Binary frames are not supported.")
    try:
        frame = _decoder.decode(text)
    except (ValueError, RecursionError):
        raise ClientError("invalid_json", "The frame is not valid JSON.") from None
    if not isinstance(frame, dict):
        raise ClientError("invalid_frame", "A frame must be a JSON object.")
    name = frame.get("type")
    if isinstance(name, str) and name in _KINDS:
        return _KINDS[name], frame
    if name is not None and frame.get("message") is None:
        raise ClientError("invalid_frame", "Unknown frame type.")
    return SendMessage, frame


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are not JSON, though Python reads them


def _number(text: str) -> float | int:
    value = float(text)
    return int(value) if value.is_integer() else value  # 7.0 is an integer in JSON, as JSON Schema has it


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_number)

_KINDS = {str(kind.__struct_config__.tag): kind for kind in ClientFrame.__subclasses__()}


def read(body: Any, shape: type[S]) -> S:
    """Return a client's object as a `shape`, ignoring other keys; raises the error of its first wrong field."""
    if not isinstance(body, dict):
        raise ClientError("invalid_frame", "A JSON object is expected.")
    known = {name: body[name] for name in shape.__struct_encode_fields__ if name in body}
    try:
        found = msgspec.convert(known, shape)
    except WRONG_VALUE:
        found = None
    for field in _fields(shape):
        value = _value(known, field) if found is None else getattr(found, field.name)
        if field.name in _CHECKS:
            _CHECKS[field.name](value, field.encode_name)
    assert found is not None  # noqa: S101 - one of its fields was wrong
    return found


_fields = cache(msgspec.structs.fields)


def _value(known: Mapping[str, Any], field: FieldInfo) -> Any:
    """Return one field of an object that has a wrong field; raises if it is this one."""
    value = known.get(field.encode_name)
    if value is None and field.name == "content":
        return ""  # as in v1, a missing message counts as empty
    try:
        return msgspec.convert(value, field.type)
    except WRONG_VALUE:
        raise ClientError("invalid_frame", _WRONG[field.name], field=field.encode_name) from None


_WRONG = {
    "content": "Message content must be text.",
    "client_id": f"client_id must be text of 1 to {MAX_CLIENT_ID_LENGTH} characters.",
    "message_id": "message_id must be a number or a string.",
    "reason": "reason must be text.",
    "is_typing": "is_typing must be true or false.",
}


def _check_content(content: str, field: str) -> None:
    if not content.strip():
        raise ClientError("empty_message", "Message content cannot be empty.", field=field)
    if len(content) > settings.CHAT_MAX_MESSAGE_LENGTH:
        limit = settings.CHAT_MAX_MESSAGE_LENGTH
        raise ClientError("message_too_long", f"Message content is longer than {limit} characters.", field=field)
    _check_storable(content, field)


def _check_storable(text: str | None, field: str) -> None:
    """Refuse text that PostgreSQL cannot store: NUL and lone surrogates."""
    text = text or ""
    try:
        text.encode()
    except UnicodeEncodeError:
        storable = False
    else:
        storable = "\0" not in text
    if not storable:
        raise ClientError("invalid_characters", "The text has characters that cannot be stored.", field=field)


_CHECKS: dict[str, Callable[[Any, str], None]] = {
    "content": _check_content,
    "client_id": _check_storable,
    "reason": _check_storable,
}


def parse_id(value: int | str) -> int:
    """Return a row's id, or -1 for a value that cannot be one; no row has the id -1."""
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= len(str(_MAX_ID))):
            return -1
        value = int(value)
    return value if 0 < value <= _MAX_ID else -1


_MAX_ID = 2**63 - 1

_FLAGS = {"true": True, "1": True, "false": False, "0": False}


def parse_query(values: Mapping[str, list[str]], names: Collection[str]) -> dict[str, str]:
    """Return those of these query parameters that are given; raises `invalid_parameter` for two different values."""
    given = {name: values[name] for name in names if values.get(name)}
    for name, texts in given.items():
        if len(set(texts)) > 1:
            raise ClientError("invalid_parameter", "Given twice, with different values.", field=name)
    return {name: texts[-1] for name, texts in given.items()}


def parse_flag(query: Mapping[str, str], name: str, *, default: bool) -> bool:
    """Return a boolean query parameter, in REST and on sockets; raises `invalid_parameter`."""
    if name not in query:
        return default
    flag = _FLAGS.get(query[name].lower())
    if flag is None:
        raise ClientError("invalid_parameter", "true or false is expected.", field=name)
    return flag


# Examples for the AsyncAPI document, one for each frame.
CLIENT_FRAME_EXAMPLES: tuple[msgspec.Struct, ...] = (
    SendMessage("Is the exam on Sunday?", "0d2b1c7e"),
    MarkRead(101),
    SetTyping(is_typing=True),
    Ping(),
)
