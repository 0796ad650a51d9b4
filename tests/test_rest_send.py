"""`.../messages/`, sending: what is stored and answered, and what is refused with which text."""

import asyncio
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.http import HttpResponse

from accounts.models import UserProfile
from chat.models import Conversation, Message
from tests.conftest import Connect, Post
from tests.people import People, conversation_of, message_object

MINE = "/api/v1/chat/my-conversation/messages/"
NOT_SIGNED_IN = {"detail": "Authentication credentials were not provided.", "code": "not_authenticated"}
EMPTY = {"content": ["Message content cannot be empty."], "code": "empty_message"}
NO_TEXT = {"content": ["Message content must be text."], "code": "invalid_frame"}
TOO_LONG = {"content": ["Message content is longer than 4000 characters."], "code": "message_too_long"}
BAD_CHARACTERS = {"content": ["The text has characters that cannot be stored."], "code": "invalid_characters"}
BAD_CLIENT_ID = {"client_id": ["client_id must be text of 1 to 64 characters."], "code": "invalid_frame"}
BAD_CLIENT_ID_CHARACTERS = {"client_id": BAD_CHARACTERS["content"], "code": "invalid_characters"}
NO_OBJECT = {"detail": "A JSON object is expected.", "code": "invalid_frame"}
TOO_DEEP = {"detail": "The JSON is nested too deeply.", "code": "invalid_json"}
CLOSED = {"detail": "This conversation is closed.", "code": "conversation_closed"}
TOO_FAST = {"detail": "You are writing too fast.", "code": "rate_limited"}


def answer(response: HttpResponse) -> tuple[int, Any]:
    return response.status_code, json.loads(response.content)


@sync_to_async
def path_of(student: Any, mentor: Any) -> str:
    return f"/api/v1/chat/teacher/conversations/{conversation_of(student, mentor).pk}/messages/"


@sync_to_async
def rows(reader: Any) -> list[dict[str, Any]]:
    """All messages as the database has them, as `reader` sees them."""
    return [message_object(message, reader) for message in Message.objects.order_by("seq")]


@sync_to_async
def reassign(student: Any, mentor: Any) -> None:
    UserProfile.objects.filter(user=student).update(assigned_mentor=mentor and mentor.profile)


# What is stored.


async def test_a_student_writes_to_the_mentor_and_gets_the_message_back(post: Post, live_people: People) -> None:
    response = await post(live_people.student, MINE, {"content": "Hello, how are you today?"})
    (row,) = await rows(live_people.student)
    assert answer(response) == (201, row)
    assert (row["content"], row["sender"], row["is_own_message"]) == (
        "Hello, how are you today?",
        live_people.student.pk,
        True,
    )
    conversation = await Conversation.objects.select_related("student", "teacher").aget()
    assert (conversation.student, conversation.teacher) == (live_people.student.profile, live_people.teacher.profile)
    assert conversation.last_seq == 1


async def test_a_mentor_writes_to_the_student(post: Post, live_people: People) -> None:
    path = await path_of(live_people.student, live_people.teacher)
    assert answer(await post(live_people.teacher, path, {"content": "Hello"})) == (
        201,
        (await rows(live_people.teacher))[0],
    )


@pytest.mark.parametrize(
    "content",
    [
        "  spaces around \n",
        "مرحبا، كيف حالك؟",
        "👩‍👩‍👧 \u202e\u0001\ufffe",
        "<b>&amp;</b>",
        "x" * 4000,
        "😀" * 4000,
        "\u200b",
    ],
    ids=["untrimmed", "arabic", "odd", "markup", "limit", "astral limit", "zero width"],
)
async def test_content_is_stored_as_it_was_sent(post: Post, live_people: People, content: str) -> None:
    response = await post(live_people.student, MINE, {"content": content})
    (row,) = await rows(live_people.student)
    assert answer(response) == (201, row)
    assert row["content"] == content


async def test_a_message_reaches_every_open_socket_live(post: Post, connect: Connect, live_people: People) -> None:
    async with connect(live_people.student) as student:
        conversation = await Conversation.objects.aget()
        async with connect(live_people.teacher, conversation) as teacher, connect(live_people.student) as tab:
            sockets = {student: live_people.student, tab: live_people.student, teacher: live_people.teacher}
            for socket in sockets:
                await socket.receive_json()
            await post(live_people.student, MINE, {"content": "over REST", "client_id": "a"})
            for socket, user in sockets.items():
                (row,) = await rows(user)
                own = {"client_id": "a"} if user == live_people.student else {}
                assert await socket.receive_json() == {"type": "new_message", "message": row} | own
                await socket.silence()


# Sent again.


@pytest.mark.parametrize("client_id", ["a", "x" * 64, "😀" * 64, " ", "00000000-0000-4000-8000-000000000000"])
async def test_a_repeated_client_id_answers_the_first_message_whatever_the_text(
    post: Post, live_people: People, client_id: str
) -> None:
    first = await post(live_people.student, MINE, {"content": "first", "client_id": client_id})
    again = await post(live_people.student, MINE, {"content": "second", "client_id": client_id})
    (row,) = await rows(live_people.student)
    assert row["content"] == "first"
    assert (answer(first), answer(again)) == ((201, row), (200, row))
    assert (await Message.objects.aget()).client_id == client_id


async def test_one_client_id_sent_many_times_at_once_stores_once(post: Post, live_people: People) -> None:
    bodies = [{"content": str(number), "client_id": "same"} for number in range(10)]
    answers = [answer(one) for one in await asyncio.gather(*(post(live_people.student, MINE, body) for body in bodies))]
    (row,) = await rows(live_people.student)
    assert sorted(status for status, _ in answers) == [200] * 9 + [201]
    assert [body for _, body in answers] == [row] * 10


async def test_without_a_client_id_the_same_text_is_another_message(post: Post, live_people: People) -> None:
    answers = [answer(await post(live_people.student, MINE, {"content": "again", "client_id": None})) for _ in range(2)]
    assert answers == [(201, row) for row in await rows(live_people.student)]
    assert len(answers) == 2


# What is refused.


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"content": ""}, EMPTY),
        ({"content": " \n\t\u00a0\u3000"}, EMPTY),
        ({}, EMPTY),
        ({"message": "the socket's name for it"}, EMPTY),
        ({"content": None}, EMPTY),
        ("", EMPTY),
        ({"content": 7}, NO_TEXT),
        ({"content": False}, NO_TEXT),
        ({"content": ["x"]}, NO_TEXT),
        ({"content": {"x": "y"}}, NO_TEXT),
        ({"content": "x" * 4001}, TOO_LONG),
        ({"content": "😀" * 4001}, TOO_LONG),
        ({"content": "x\0"}, BAD_CHARACTERS),
        ('{"content": "x\\ud83d"}', BAD_CHARACTERS),
        ('{"content": "\\ude00\\ud83d"}', BAD_CHARACTERS),
        ({"content": "x", "client_id": ""}, BAD_CLIENT_ID),
        ({"content": "x", "client_id": "x" * 65}, BAD_CLIENT_ID),
        ({"content": "x", "client_id": 7}, BAD_CLIENT_ID),
        ({"content": "x", "client_id": True}, BAD_CLIENT_ID),
        ({"content": "x", "client_id": ["a"]}, BAD_CLIENT_ID),
        ({"content": "x", "client_id": "a\0"}, BAD_CLIENT_ID_CHARACTERS),
        ('{"content": "x", "client_id": "\\ud800"}', BAD_CLIENT_ID_CHARACTERS),
        ([], NO_OBJECT),
        ([{"content": "x"}], NO_OBJECT),
        ("null", NO_OBJECT),
        ('"x"', NO_OBJECT),
        ("7", NO_OBJECT),
        ("[" * 60_000, TOO_DEEP),
        ('{"":' * 60_000, TOO_DEEP),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_an_invalid_message_is_refused_with_text_and_code(
    post: Post, live_people: People, body: Any, expected: dict[str, Any]
) -> None:
    assert answer(await post(live_people.student, MINE, body)) == (400, expected)
    assert await rows(live_people.student) == []


@pytest.mark.parametrize(
    "body", ["{", "nonsense", "{'content': 'x'}", '{"content": NaN}', b'{"content": "\xff"}', "\0"]
)
async def test_a_body_that_is_not_json_is_refused(post: Post, live_people: People, body: str | bytes) -> None:
    status, told = answer(await post(live_people.student, MINE, body))
    assert (status, list(told), told["code"]) == (400, ["detail", "code"], "invalid_json")
    assert told["detail"].startswith("JSON parse error - ")
    assert await rows(live_people.student) == []


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "x/y"])
async def test_a_body_that_is_neither_json_nor_a_form_is_refused(
    post: Post, live_people: People, content_type: str
) -> None:
    response = await post(live_people.student, MINE, {"content": "x"}, content_type=content_type)
    detail = f'Unsupported media type "{content_type}" in request.'
    assert answer(response) == (415, {"detail": detail, "code": "unsupported_media_type"})
    assert await rows(live_people.student) == []


async def test_a_body_over_256_kib_is_refused(post: Post, live_people: People) -> None:
    response = await post(live_people.student, MINE, {"content": "x", "padding": "x" * 256 * 1024})
    assert answer(response) == (413, {"detail": "The request is too large.", "code": "message_too_long"})
    assert await rows(live_people.student) == []


@pytest.mark.parametrize("header", [{}, {"X-CSRFToken": "u" * 32}], ids=["none", "wrong"])
async def test_without_the_csrf_token_nothing_is_written(
    post: Post, live_people: People, header: dict[str, str]
) -> None:
    status, told = answer(await post(live_people.student, MINE, {"content": "x"}, headers=header))
    assert (status, list(told), told["code"]) == (403, ["detail", "code"], "csrf_failed")
    assert told["detail"].startswith("CSRF Failed: CSRF token ")
    assert await rows(live_people.student) == []


async def test_anonymous_users_are_refused(post: Post, live_people: People) -> None:
    path = await path_of(live_people.student, live_people.teacher)
    for where in (MINE, path):
        assert answer(await post(None, where, {"content": "x"})) == (401, NOT_SIGNED_IN)
    assert await rows(live_people.student) == []


async def test_a_former_mentor_may_not_write_any_more(post: Post, live_people: People) -> None:
    path = await path_of(live_people.student, live_people.teacher)
    await reassign(live_people.student, live_people.trainer)
    assert answer(await post(live_people.teacher, path, {"content": "come back"})) == (403, CLOSED)
    assert await rows(live_people.student) == []
    await reassign(live_people.student, live_people.teacher)
    assert (await post(live_people.teacher, path, {"content": "there you are"})).status_code == 201


async def test_after_a_change_of_mentor_the_student_writes_to_the_new_one(post: Post, live_people: People) -> None:
    old = await path_of(live_people.student, live_people.teacher)
    await reassign(live_people.student, live_people.trainer)
    response = await post(live_people.student, MINE, {"content": "Hello"})
    assert answer(response) == (201, (await rows(live_people.student))[0])
    message = await Message.objects.select_related("conversation__teacher").aget()
    assert message.conversation.teacher == live_people.trainer.profile
    assert str(message.conversation_id) not in old


# The rate.


async def test_sending_too_fast_returns_the_time_to_wait(post: Post, live_people: People, settings: Any) -> None:
    settings.CHAT_RATE_LIMIT = (1 / 1000, 2)
    for number in range(2):
        assert (await post(live_people.student, MINE, {"content": str(number)})).status_code == 201
    refused = await post(live_people.student, MINE, {"content": "2"})
    assert answer(refused) == (429, TOO_FAST)
    assert 990 <= int(refused["Retry-After"]) <= 1000  # less what the test itself took
    assert len(await rows(live_people.student)) == 2
    assert (await post(live_people.other_student, MINE, {"content": "mine is another"})).status_code == 201


async def test_sockets_and_rest_share_one_rate(
    post: Post, connect: Connect, live_people: People, settings: Any
) -> None:
    settings.CHAT_RATE_LIMIT = (1 / 1000, 1)
    async with connect(live_people.student) as student:
        await student.receive_json()
        await student.send_json({"message": "over the socket"})
        assert (await student.receive_json())["type"] == "new_message"
        assert answer(await post(live_people.student, MINE, {"content": "over REST"})) == (429, TOO_FAST)


async def test_the_rate_can_be_switched_off(post: Post, live_people: People, settings: Any) -> None:
    settings.CHAT_RATE_LIMIT = None
    answers = await asyncio.gather(*(post(live_people.student, MINE, {"content": str(n)}) for n in range(24)))
    assert [one.status_code for one in answers] == [201] * 24


async def test_a_burst_is_allowed_and_no_more(post: Post, live_people: People, settings: Any) -> None:
    assert settings.CHAT_RATE_LIMIT == (5, 20)
    settings.CHAT_RATE_LIMIT = (1 / 1000, 20)
    answers = await asyncio.gather(*(post(live_people.student, MINE, {"content": str(n)}) for n in range(22)))
    assert sorted(one.status_code for one in answers) == [201] * 20 + [429] * 2
    assert len(await rows(live_people.student)) == 20
