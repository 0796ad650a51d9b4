"""Client frames are decoded or refused with a code; server frames and events keep their documented form."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from accounts.serializers import ProfileBody
from chat.bus.events import AccessChanged, AnyEvent, MessagePosted, MessagesRead
from chat.errors import ClientError, UnavailableError
from chat.live.subscriber import encode
from chat.wire.client_frames import MarkRead, MessagePost, SendMessage, parse_id, read, read_frame
from chat.wire.server_frames import (
    ConnectionEstablished,
    MessageBody,
    NewMessage,
    Pong,
    ResumeComplete,
    UpdateMessageStatus,
    error_frame,
)

LIMIT = 4000
MAX_ID = 2**63 - 1
DRAFT_CODES = {"invalid_frame", "empty_message", "message_too_long", "invalid_characters"}

# Every character that Python's decoder lets through, halves of characters and NUL among them.
any_text = st.text(st.characters(codec=None))
plain_text = st.text(st.characters(codec="utf-8"))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | any_text
json_values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(any_text, inner), max_leaves=10)
ids = st.integers(1, MAX_ID)
unhurried = settings(deadline=None)


def code_of(call: Any, *arguments: Any) -> str:
    with pytest.raises(ClientError) as raised:
        call(*arguments)
    return raised.value.code


# Frames coming in.


@unhurried
@given(json_values)
def test_only_a_json_object_is_a_frame(value: Any) -> None:
    text = json.dumps(value)
    if isinstance(value, dict):
        assert read_frame(text)[1] == value
    else:
        assert code_of(read_frame, text) == "invalid_frame"


@unhurried
@given(any_text | st.text('{}[]",:\\u0d8 truefalsn.eE+-', max_size=30))
@example("")
@example("[" * 60_000)
@example('{"":' * 60_000)
@example('{"message": NaN}')
@example('{"message": -Infinity}')
@example('{"message": ' + "9" * 5000 + "}")
@example('\ufeff{"message": "x"}')
@example('{"message": "x"} {}')
@example('{"message": "raw\nline"}')
def test_every_text_is_decoded_or_refused_with_a_code(text: str) -> None:
    try:
        assert isinstance(read_frame(text)[1], dict)
    except ClientError as error:
        assert (error.code, error.status) in {("invalid_json", 400), ("invalid_frame", 400)}


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 60_000, '{"a": NaN}', '{"a": Infinity}', "{'a': 1}", '{"a": 1}}', '\ufeff{"a": 1}']
)
def test_text_that_is_not_json_is_refused_as_invalid_json(text: str) -> None:
    assert code_of(read_frame, text) == "invalid_json"


def test_a_binary_frame_is_refused_as_no_frame() -> None:
    assert code_of(read_frame, None) == "invalid_frame"


# Drafts.


@unhurried
@given(json_values | st.fixed_dictionaries({}, optional={"message": json_values, "client_id": json_values}))
def test_a_draft_is_accepted_unchanged_or_refused_with_a_code(body: Any) -> None:
    try:
        draft = read(body, SendMessage)
    except ClientError as error:
        assert (error.code in DRAFT_CODES, error.status) == (True, 400)
        assert error.field in {None, "message", "client_id"}
        return
    content, client_id = draft.content, draft.client_id
    assert (content, client_id) == (body["message"], body.get("client_id"))
    assert content.strip()
    assert len(content) <= LIMIT
    assert client_id is None or 1 <= len(client_id) <= 64
    for text in (content, client_id or ""):
        assert "\0" not in text
        assert text.encode().decode() == text


@unhurried
@given(plain_text.filter(lambda text: text.strip() and "\0" not in text), st.none() | st.text("ab-1😀", min_size=1))
def test_storable_text_is_accepted(content: str, client_id: str | None) -> None:
    client_id = client_id and client_id[:64]
    assert read({"content": content, "client_id": client_id}, MessagePost) == MessagePost(content, client_id)


@unhurried
@given(st.text(" \n\t\u00a0\u2003\u3000", max_size=20) | st.none())
def test_blank_text_is_empty(content: str | None) -> None:
    assert code_of(read, {"message": content}, SendMessage) == "empty_message"


@unhurried
@given(plain_text, st.sampled_from(["\0", "\ud800", "\udfff", "\ude00\ud83d"]), plain_text)
def test_text_that_cannot_be_stored_is_refused(before: str, bad: str, after: str) -> None:
    text = f"{before}x{bad}{after}"
    assert code_of(read, {"message": text}, SendMessage) == "invalid_characters"
    assert code_of(read, {"message": "x", "client_id": f"{bad}{after}"[:64]}, SendMessage) == "invalid_characters"


@pytest.mark.parametrize("character", ["x", "é", "م", "😀"])
def test_length_counts_code_points(character: str) -> None:
    assert read({"message": character * LIMIT}, SendMessage) == SendMessage(character * LIMIT)
    assert code_of(read, {"message": character * (LIMIT + 1)}, SendMessage) == "message_too_long"
    assert read({"message": "x", "client_id": character * 64}, SendMessage) == SendMessage("x", character * 64)
    assert code_of(read, {"message": "x", "client_id": character * 65}, SendMessage) == "invalid_frame"


# Ids.


def marked(message_id: Any) -> int | None:
    return read({"message_id": message_id}, MarkRead).row_id


@unhurried
@given(ids)
def test_a_message_id_may_be_a_number_or_numeric_text(pk: int) -> None:
    assert parse_id(pk) == parse_id(str(pk)) == marked(pk) == marked(str(pk)) == pk


@unhurried
@given(any_text | st.text("0123456789", min_size=18, max_size=25))
@example("9223372036854775807")
@example("9223372036854775808")
@example("٣")
@example("²")
@example("+1")
@example("1_0")
@example(" 1")
@example("9" * 5000)
def test_other_text_is_not_a_message_id(text: str) -> None:
    is_id = text.isascii() and text.isdigit() and len(text) <= 19 and 0 < int(text) <= MAX_ID
    assert parse_id(text) == (int(text) if is_id else -1)


@unhurried
@given(st.integers(max_value=0) | st.integers(min_value=MAX_ID + 1))
def test_a_number_outside_the_id_range_is_refused(number: int) -> None:
    assert parse_id(number) == -1


@unhurried
@given(st.booleans() | st.floats() | st.lists(scalars) | st.dictionaries(any_text, scalars))
@example(math.nan)
def test_a_message_id_of_another_type_is_refused(value: Any) -> None:
    assert code_of(marked, value) == "invalid_frame"


@pytest.mark.parametrize(("text", "expected"), [("7.0", 7), ("0.0", 0), ("7.5", 7.5), ("1e2", 100)])
def test_a_whole_number_is_an_integer_however_it_is_written(text: str, expected: float) -> None:
    _, frame = read_frame(f'{{"type": "mark_read", "message_id": {text}}}')
    assert (frame["message_id"], type(frame["message_id"])) == (expected, type(expected))


def test_no_message_id_means_all() -> None:
    assert marked(None) is None


# Frames going out.

moments = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))
profiles = st.builds(
    ProfileBody,
    user_id=ids,
    full_name=plain_text,
    username=plain_text,
    email=plain_text,
    role=st.sampled_from(["STUDENT", "TEACHER", "TRAINER", "ADMIN"]),
)
messages = st.builds(
    MessageBody,
    id=ids,
    sender=ids,
    sender_profile=st.none() | profiles,
    content=plain_text,
    timestamp=moments,
    is_read=st.booleans(),
    is_own_message=st.booleans(),
    is_erased=st.booleans(),
)


def message_object(message: MessageBody) -> dict[str, Any]:
    profile = message.sender_profile
    return {
        "id": message.id,
        "sender": message.sender,
        "sender_profile": profile
        and {
            "user_id": profile.user_id,
            "full_name": profile.full_name,
            "username": profile.username,
            "email": profile.email,
            "role": profile.role,
        },
        "content": message.content,
        "timestamp": message.timestamp.isoformat().replace("+00:00", "Z"),
        "is_read": message.is_read,
        "is_own_message": message.is_own_message,
        "is_erased": message.is_erased,
    }


@unhurried
@given(messages, plain_text)
def test_a_new_message_frame_has_the_documented_fields(message: MessageBody, client_id: str) -> None:
    expected = {"type": "new_message", "message": message_object(message)}
    assert json.loads(encode(NewMessage(message=message))) == expected
    own = NewMessage(message=message, client_id=client_id)
    assert json.loads(encode(own)) == expected | {"client_id": client_id}


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (
            ConnectionEstablished(conversation_id="123", room_group_name="chat_123"),
            {"type": "connection_established", "conversation_id": "123", "room_group_name": "chat_123"},
        ),
        (
            UpdateMessageStatus(message_ids=[99, 101], is_read=True, reader=7),
            {"type": "update_message_status", "message_ids": [99, 101], "is_read": True, "reader": 7},
        ),
        (
            ResumeComplete(recovered=True, count=3, read_up_to=97),
            {"type": "resume_complete", "recovered": True, "count": 3, "read_up_to": 97},
        ),
        (
            ResumeComplete(recovered=False, count=0, read_up_to=None),
            {"type": "resume_complete", "recovered": False, "count": 0, "read_up_to": None},
        ),
        (Pong(), {"type": "pong"}),
        (
            error_frame(ClientError("empty_message", "Message content cannot be empty.", field="message")),
            {"error": "Message content cannot be empty.", "code": "empty_message"},
        ),
        (
            error_frame(ClientError("rate_limited", "You are writing too fast.", 429, retry_after=0.25)),
            {"error": "You are writing too fast.", "code": "rate_limited", "retry_after": 0.25},
        ),
        (
            error_frame(UnavailableError()),
            {"error": "Temporarily unavailable. Try again.", "code": "temporarily_unavailable"},
        ),
    ],
    ids=lambda value: value.get("type", value.get("code")) if isinstance(value, dict) else "",
)
def test_every_other_frame_has_exactly_its_keys(frame: Any, expected: dict[str, Any]) -> None:
    assert json.loads(encode(frame)) == expected


# Events between processes.

events = (
    st.builds(MessagePosted, ids, ids, messages, st.none() | plain_text)
    | st.builds(MessagesRead, ids, ids, ids, ids, st.lists(st.tuples(ids, ids)))
    | st.builds(AccessChanged, ids)
)


@unhurried
@given(events)
def test_an_event_survives_encoding(event: AnyEvent) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=AnyEvent) == event
