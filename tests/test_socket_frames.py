"""Every frame of a client is answered or refused with a code, and the socket stays open."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from chat.consumers import ChatConsumer
from chat.models import Conversation, Message
from chat.wire.client_frames import Ping
from tests.conftest import Connect, Socket
from tests.people import People
from tests.sockets import EMPTY, NO_MESSAGE, connected, new_message, receive_many, still_works

BAD_JSON = {"error": "The frame is not valid JSON.", "code": "invalid_json"}
BINARY = {"error": "Binary frames are not supported.", "code": "invalid_frame"}
NO_OBJECT = {"error": "A frame must be a JSON object.", "code": "invalid_frame"}
UNKNOWN_TYPE = {"error": "Unknown frame type.", "code": "invalid_frame"}
NO_TEXT = {"error": "Message content must be text.", "code": "invalid_frame"}
TOO_LONG = {"error": "Message content is longer than 4000 characters.", "code": "message_too_long"}
CHARACTERS = {"error": "The text has characters that cannot be stored.", "code": "invalid_characters"}
BAD_CLIENT_ID = {"error": "client_id must be text of 1 to 64 characters.", "code": "invalid_frame"}
BAD_MESSAGE_ID = {"error": "message_id must be a number or a string.", "code": "invalid_frame"}
PONG = {"type": "pong"}
FRAME_BYTES = 64 * 1024


@pytest.fixture
async def socket(connect: Connect, live_people: People) -> AsyncIterator[Socket]:
    """The student's socket, its first frame received."""
    async with connected(connect, live_people.student) as opened:
        yield opened


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        # Not JSON.
        ("hello", BAD_JSON),
        (" ", BAD_JSON),
        ("{", BAD_JSON),
        ('{"message": "x"', BAD_JSON),
        ("{'message': 'x'}", BAD_JSON),
        ('{"message": "x"} {}', BAD_JSON),
        ('{"message": "x",}', BAD_JSON),
        ('{"message": "a\nb"}', BAD_JSON),
        ("NaN", BAD_JSON),
        ('{"message": NaN}', BAD_JSON),
        ('{"message": "x", "y": Infinity}', BAD_JSON),
        ('{"message": -Infinity}', BAD_JSON),
        ('{"message": ' + "9" * 5000 + "}", BAD_JSON),
        ("[" * 60_000, BAD_JSON),
        ('{"message":' * 5_000, BAD_JSON),
        ("[" * 30_000 + "]" * 30_000, BAD_JSON),
        ("\ufeff{}", BAD_JSON),
        # No object.
        ("[]", NO_OBJECT),
        ('[{"message": "x"}]', NO_OBJECT),
        ("5", NO_OBJECT),
        ("-1.5e3", NO_OBJECT),
        ("1e999", NO_OBJECT),
        ('"text"', NO_OBJECT),
        ("null", NO_OBJECT),
        ("true", NO_OBJECT),
        # Nothing to send.
        ("{}", EMPTY),
        ('{"message": null}', EMPTY),
        ('{"message": ""}', EMPTY),
        ('{"message": " \\t\\r\\n"}', EMPTY),
        ('{"message": "\\u00a0\\u2003\\u3000"}', EMPTY),
        ('{"type": null}', EMPTY),
        ('{"type": null, "message": null}', EMPTY),
        ('{"Message": "x"}', EMPTY),
        ('{"client_id": "1"}', EMPTY),
        ('{"type": "anything", "message": " "}', EMPTY),
        # No type of ours.
        ('{"type": "nonsense"}', UNKNOWN_TYPE),
        ('{"type": "nonsense", "message": null}', UNKNOWN_TYPE),
        ('{"type": ""}', UNKNOWN_TYPE),
        ('{"type": 5}', UNKNOWN_TYPE),
        ('{"type": false}', UNKNOWN_TYPE),
        ('{"type": []}', UNKNOWN_TYPE),
        ('{"type": {"a": []}}', UNKNOWN_TYPE),
        ('{"type": "\\ud800"}', UNKNOWN_TYPE),
        ('{"type": "websocket.disconnect"}', UNKNOWN_TYPE),
        ('{"type": "new_message"}', UNKNOWN_TYPE),
        ('{"type": "__init__"}', UNKNOWN_TYPE),
        ('{"type": "PING"}', UNKNOWN_TYPE),
        # A message that is no text.
        ('{"message": 5}', NO_TEXT),
        ('{"message": 0}', NO_TEXT),
        ('{"message": false}', NO_TEXT),
        ('{"message": true}', NO_TEXT),
        ('{"message": 1.5}', NO_TEXT),
        ('{"message": []}', NO_TEXT),
        ('{"message": ["x"]}', NO_TEXT),
        ('{"message": {}}', NO_TEXT),
        ('{"message": {"text": "x"}}', NO_TEXT),
        ('{"type": "anything", "message": 5}', NO_TEXT),
        # Text that cannot be kept.
        ('{"message": "\\u0000"}', CHARACTERS),
        ('{"message": "a\\u0000b"}', CHARACTERS),
        ('{"message": "\\ud800"}', CHARACTERS),
        ('{"message": "a\\udfffb"}', CHARACTERS),
        ('{"message": "\\ude00\\ud83d"}', CHARACTERS),
        ('{"message": "x", "client_id": "\\u0000"}', CHARACTERS),
        ('{"message": "x", "client_id": "\\ud800"}', CHARACTERS),
        # Too long, in code points.
        (json.dumps({"message": "x" * 4001}), TOO_LONG),
        (json.dumps({"message": "\U0001f600" * 4001}), TOO_LONG),
        (json.dumps({"message": "x" * 4000 + " "}), TOO_LONG),
        # A client_id that cannot be one.
        ('{"message": "x", "client_id": ""}', BAD_CLIENT_ID),
        ('{"message": "x", "client_id": 5}', BAD_CLIENT_ID),
        ('{"message": "x", "client_id": true}', BAD_CLIENT_ID),
        ('{"message": "x", "client_id": ["1"]}', BAD_CLIENT_ID),
        ('{"message": "x", "client_id": {}}', BAD_CLIENT_ID),
        (json.dumps({"message": "x", "client_id": "x" * 65}), BAD_CLIENT_ID),
        # A message_id that cannot be one.
        ('{"type": "mark_read", "message_id": true}', BAD_MESSAGE_ID),
        ('{"type": "mark_read", "message_id": 1.5}', BAD_MESSAGE_ID),
        ('{"type": "mark_read", "message_id": []}', BAD_MESSAGE_ID),
        ('{"type": "mark_read", "message_id": {}}', BAD_MESSAGE_ID),
        # An id of another conversation.
        ('{"type": "mark_read", "message_id": "x"}', NO_MESSAGE),
        ('{"type": "mark_read", "message_id": ""}', NO_MESSAGE),
        ('{"type": "mark_read", "message_id": "\\ud800"}', NO_MESSAGE),
        ('{"type": "mark_read", "message_id": "\\u0000"}', NO_MESSAGE),
        ('{"type": "mark_read", "message_id": "٣"}', NO_MESSAGE),
        ('{"type": "mark_read", "message_id": -1}', NO_MESSAGE),
        ('{"type": "mark_read", "message_id": 0}', NO_MESSAGE),
        ('{"type": "mark_read", "message_id": 999999}', NO_MESSAGE),
        ('{"type": "mark_read", "message_id": 999999.0}', NO_MESSAGE),
        ('{"type": "mark_read", "message_id": 9223372036854775807}', NO_MESSAGE),
        ('{"type": "mark_read", "message_id": 9223372036854775808}', NO_MESSAGE),
        ('{"type": "mark_read", "message_id": "' + "9" * 5000 + '"}', NO_MESSAGE),
        # A known type wins over what else is there.
        ('{"type": "ping", "message": "x"}', PONG),
        ('{"type": "ping", "message": 5, "client_id": []}', PONG),
        ('{"type": "mark_read", "message_id": "x", "message": "x"}', NO_MESSAGE),
        ('{"type": "ping", "type": "nonsense", "type": "ping"}', PONG),
    ],
    ids=range(93),
)
async def test_a_frame_is_answered_by_name_and_the_socket_stays(
    socket: Socket, live_people: People, text: str, answer: dict[str, Any]
) -> None:
    await socket.send_to(text_data=text)
    assert await socket.receive_json() == answer
    await still_works(socket, live_people)


@pytest.mark.parametrize("data", [b"x", b'{"message": "x"}', b"\xff\xfe\x00", b"\0" * FRAME_BYTES])
async def test_a_binary_frame_is_refused(socket: Socket, live_people: People, data: bytes) -> None:
    await socket.send_to(bytes_data=data)
    assert await socket.receive_json() == BINARY
    await still_works(socket, live_people)


@pytest.mark.parametrize(
    ("event", "answer"),
    [
        ({"text": ""}, BAD_JSON),
        ({"bytes": b""}, BINARY),
        ({"text": None, "bytes": b"x"}, BINARY),
        ({"text": "{}", "bytes": None}, EMPTY),
    ],
)
async def test_an_empty_frame_is_refused(
    socket: Socket, live_people: People, event: dict[str, Any], answer: dict[str, Any]
) -> None:
    await socket.send_input({"type": "websocket.receive"} | event)
    assert await socket.receive_json() == answer
    await still_works(socket, live_people)


async def test_a_frame_of_exactly_64_kib_is_answered(socket: Socket, live_people: People) -> None:
    text = json.dumps({"message": "x", "client_id": "whole", "padding": ""})
    await socket.send_to(text_data=text.replace('""', '"' + "p" * (FRAME_BYTES - len(text)) + '"'))
    assert await socket.receive_json() == await new_message(await Message.objects.aget(), live_people.student, "whole")
    await socket.send_to(text_data='{"message": "' + "x" * (FRAME_BYTES - 15) + '"}')
    assert await socket.receive_json() == TOO_LONG


async def test_the_longest_text_is_counted_in_code_points(socket: Socket, live_people: People, settings: Any) -> None:
    settings.CHAT_MAX_MESSAGE_LENGTH = 5
    await socket.send_json({"message": "\U0001f600" * 5})
    assert await socket.receive_json() == await new_message(await Message.objects.aget(), live_people.student)
    await socket.send_json({"message": "\U0001f600" * 6})
    error = {"error": "Message content is longer than 5 characters.", "code": "message_too_long"}
    assert await socket.receive_json() == error


async def test_consecutive_errors_are_answered_in_order(socket: Socket, live_people: People) -> None:
    wrong = [("[]", NO_OBJECT), ("{}", EMPTY), ("x", BAD_JSON), ('{"type": "x"}', UNKNOWN_TYPE)]
    for text, _ in wrong * 5:
        await socket.send_to(text_data=text)
    assert await receive_many(socket, 20) == [answer for _, answer in wrong * 5]
    await still_works(socket, live_people)


async def test_a_refused_frame_is_sent_to_nobody_else(
    connect: Connect, socket: Socket, live_people: People, live_conversation: Conversation
) -> None:
    async with (
        connected(connect, live_people.student) as tab,
        connected(connect, live_people.teacher, live_conversation) as teacher,
    ):
        for text in ("x", "{}", '{"type": "ping"}'):
            await socket.send_to(text_data=text)
            await socket.receive_json()
        await tab.silence()
        await teacher.silence()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
near_frames = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["ping", "mark_read", "typing", "new_message", ""]) | json_values,
        "message": st.text(max_size=30) | json_values,
        "message_id": st.integers(-2, 50) | st.integers(-2, 50).map(str) | json_values,
        "client_id": st.sampled_from(["1", "2"]) | json_values,
    },
)
frames = st.one_of(
    near_frames.map(lambda frame: {"text": json.dumps(frame)}),
    json_values.map(lambda value: {"text": json.dumps(value)}),
    st.text(max_size=50).map(lambda text: {"text": text}),
    near_frames.map(lambda frame: {"text": json.dumps(frame)[:-1]}),
    st.binary(max_size=50).map(lambda data: {"bytes": data}),
)


async def test_no_sequence_of_frames_ends_a_socket(connect: Connect, live_people: People, settings: Any) -> None:
    settings.CHAT_RATE_LIMIT = None
    loop = asyncio.get_running_loop()

    async def play(sequence: list[dict[str, Any]]) -> None:
        async with connected(connect, live_people.student) as socket:
            for frame in sequence:
                await socket.send_input({"type": "websocket.receive"} | frame)
            # Everything that comes, comes before the answer to the last send, but for that of a mark_read.
            await socket.send_json({"message": "end", "client_id": f"end {time.monotonic_ns()}"})
            while (answer := await socket.receive_json()).get("message", {}).get("content") != "end":
                kind = answer.get("type", "error")
                assert kind in {"error", "pong", "new_message", "update_message_status"}, answer
                assert kind != "error" or answer["code"].startswith(("invalid_", "message_", "empty_")), answer
            await asyncio.sleep(0)
            await socket.send_json({"message": "and still", "client_id": f"still {time.monotonic_ns()}"})
            assert (await socket.receive_json()).get("type", "error") in {"new_message", "error"}

    @hypothesis_settings(
        max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.lists(frames, max_size=12))
    def examples(sequence: list[dict[str, Any]]) -> None:
        asyncio.run_coroutine_threadsafe(play(sequence), loop).result(30)

    await asyncio.to_thread(examples)


async def test_a_kind_of_frame_that_a_socket_does_not_handle_is_answered_and_ends_nothing(
    connect: Connect, live_people: People, live_conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChatConsumer, "handlers", {Ping: ChatConsumer.pong})
    async with connected(connect, live_people.student) as socket:
        await socket.send_json({"type": "typing", "is_typing": True})
        assert await socket.receive_json() == UNKNOWN_TYPE
        await socket.silence()
