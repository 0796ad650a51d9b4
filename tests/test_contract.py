"""The checks of tests/contract.py find deviations; schema and decoder agree on what a client may send."""

import json
from functools import cache
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.errors import ClientError
from chat.wire import schemas
from chat.wire.client_frames import MessagePost, SendMessage, read, read_frame
from tests.contract import answers, check_close, check_frame

CONVERSATION, INBOX = "/ws/chat/conversations/1/", "/ws/chat/inbox/"
ME = "/api/v1/auth/me/"
NOBODY = b'{"detail": "Authentication credentials were not provided.", "code": "not_authenticated"}'
JSON = {"Content-Type": "application/json"}
# What a schema cannot say: white space alone, NUL and halves of characters.
UNSAID = {"empty_message", "invalid_characters"}

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
kinds = st.sampled_from(["mark_read", "typing", "ping", "other", None]) | values
fields = {
    "type": kinds,
    "message": st.text() | values,
    "content": st.text() | values,
    "client_id": st.text(max_size=70) | values,
    "message_id": st.integers() | st.text() | values,
    "is_typing": st.booleans() | values,
    "more": values,
}
bodies = st.fixed_dictionaries({}, optional=fields)


@pytest.mark.parametrize(
    ("path", "frame"),
    [
        (CONVERSATION, {"type": "pong", "more": 1}),
        (CONVERSATION, {"type": "typing", "user": 1}),
        (CONVERSATION, {"type": "typing", "user": "1", "is_typing": True}),
        (CONVERSATION, {"type": "unheard"}),
        (CONVERSATION, {"type": "inbox_established", "unread_total": 0}),
        (CONVERSATION, {"error": "No.", "code": "unheard"}),
        (CONVERSATION, {"error": "No."}),
        (CONVERSATION, {"type": "presence", "user": 1, "is_online": True, "last_seen": "yesterday"}),
        (INBOX, {"type": "connection_established", "conversation_id": "1", "room_group_name": "chat_1"}),
    ],
)
def test_an_undocumented_frame_fails_the_check(path: str, frame: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match=path):
        check_frame(path, json.dumps(frame))


@pytest.mark.parametrize(
    ("method", "path", "status", "headers", "content"),
    [
        ("GET", ME, 401, JSON, b'{"detail": "No.", "code": "not_authenticated", "more": 1}'),
        ("GET", ME, 401, JSON, b'{"detail": "No.", "code": "unheard"}'),
        ("GET", ME, 401, JSON, b"{}"),
        ("GET", ME, 401, JSON, b'{"detail": "No."}'),
        ("GET", ME, 200, JSON, NOBODY),
        ("GET", ME, 403, JSON, NOBODY),
        ("GET", ME, 500, JSON, NOBODY),
        ("GET", ME, 401, {"Content-Type": "text/html"}, NOBODY),
        ("POST", ME, 401, JSON, NOBODY),
        ("GET", "/api/v1/nowhere/", 200, JSON, NOBODY),
        ("POST", "/api/v1/auth/logout/", 204, JSON, b"{}"),
        ("POST", "/api/v1/auth/login/", 429, JSON, b'{"detail": "No.", "code": "rate_limited"}'),
        ("POST", "/api/v1/chat/my-conversation/messages/", 400, JSON, b'{"other": ["No."]}'),
    ],
)
def test_an_undocumented_answer_fails_the_check(
    method: str, path: str, status: int, headers: dict[str, str], content: bytes
) -> None:
    with pytest.raises(AssertionError, match=f"^{method} {path}: {status}"):
        answers().check(method, path, status, headers, content)


def test_an_undocumented_close_code_fails_the_check() -> None:
    with pytest.raises(AssertionError, match="4999"):
        check_close(4999)


@cache
def validators() -> dict[Any, Any]:
    """What checks a frame or a post of a client, by its struct."""
    components = {"schemas": schemas.components()}
    structs: tuple[type[msgspec.Struct], ...] = (*schemas.CONVERSATION_CLIENT_FRAMES, MessagePost)
    return {
        struct: jsonschema_rs.validator_for(
            {"$ref": schemas.REF.format(name=schemas.name_of(struct)), "components": components}
        )
        for struct in structs
    }


def agree(body: Any, struct: Any) -> None:
    """Check that the parser takes what the schema allows, and nothing else."""
    allowed = validators()[struct].is_valid(body)
    try:
        read(body, struct)
    except ClientError as error:
        assert not allowed or error.code in UNSAID, (body, error)
    else:
        assert allowed, body


@settings(deadline=None)
@given(bodies)
def test_sockets_accept_exactly_what_the_frame_schema_allows(body: dict[str, Any]) -> None:
    try:
        kind, frame = read_frame(json.dumps(body))
    except ClientError:
        assert not any(validators()[struct].is_valid(body) for struct in schemas.CONVERSATION_CLIENT_FRAMES)
    else:
        agree(frame, kind)


@settings(deadline=None)
@given(bodies | values)
def test_rest_accepts_exactly_what_the_post_schema_allows(body: Any) -> None:
    agree(body, MessagePost)


@settings(deadline=None)
@given(bodies)
def test_a_frame_with_a_message_is_a_send(body: dict[str, Any]) -> None:
    body = {"message": "text"} | body
    body["type"] = None
    assert read_frame(json.dumps(body)) == (SendMessage, body)
    agree(body, SendMessage)


@pytest.mark.parametrize("character", ["x", "م", "😀"])
@pytest.mark.parametrize("length", [4000, 4001])
def test_schema_and_parser_count_characters_alike(character: str, length: int) -> None:
    agree({"content": character * length}, MessagePost)
    agree({"message": character * length}, SendMessage)
    assert validators()[MessagePost].is_valid({"content": character * length}) is (length == 4000)
