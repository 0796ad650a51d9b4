"""Opening a socket: who may, what it does, and what it costs."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.models import Session
from django.db import connection

from accounts.models import RoleChoices, User
from chat.consumers import ChatConsumer
from chat.models import Conversation, Message
from tests.conftest import Connect
from tests.people import People, conversation_of, say, session_cookie
from tests.queries import counted_queries
from tests.sockets import connected, established, http, in_thread, message_status, new_message, receive_many, settled

SIGNED_OUT, NOT_ALLOWED, NOT_FOUND = 4401, 4403, 4404


async def test_a_student_connects_to_their_mentor(connect: Connect, live_people: People) -> None:
    async with connect(live_people.student) as socket:
        first = await socket.receive_json()
        made = await Conversation.objects.select_related("student__user", "teacher__user").aget()
        assert first == established(made)
        assert (made.student.user, made.teacher.user) == (live_people.student, live_people.teacher)
        await socket.silence()


@pytest.mark.parametrize("role", [RoleChoices.TEACHER, RoleChoices.TRAINER])
async def test_a_mentor_connects_to_each_of_their_conversations(
    connect: Connect, live_people: People, role: RoleChoices
) -> None:
    mentor = live_people.teacher if role == RoleChoices.TEACHER else live_people.trainer
    student = live_people.student if role == RoleChoices.TEACHER else live_people.other_student
    conversation = await in_thread(conversation_of, student, mentor)
    async with connect(mentor, conversation) as socket:
        assert await socket.receive_json() == established(conversation)
        await socket.silence()


async def test_the_second_connect_finds_the_conversation_of_the_first(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    async with connect(live_people.student) as socket:
        assert await socket.receive_json() == established(live_conversation)
    assert await Conversation.objects.acount() == 1


async def test_two_first_connects_at_once_make_one_conversation(connect: Connect, live_people: People) -> None:
    attempts = await asyncio.gather(*(connect.try_connect(live_people.student) for _ in range(4)))
    made = await Conversation.objects.aget()
    assert [accepted for _, accepted, _ in attempts] == [True] * 4
    assert [await socket.receive_json() for socket, _, _ in attempts] == [established(made)] * 4


async def test_after_a_change_of_mentor_a_student_connects_to_the_new_one(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    live_people.student.profile.assigned_mentor = live_people.trainer.profile
    await live_people.student.profile.asave()
    async with connect(live_people.student) as socket:
        first = await socket.receive_json()
        made = await Conversation.objects.exclude(pk=live_conversation.pk).select_related("teacher__user").aget()
        assert first == established(made)
        assert made.teacher.user == live_people.trainer


async def test_connecting_reads_what_the_other_side_wrote_and_tells_all_but_the_connecting_socket(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    old, new = await in_thread(say, live_conversation, live_people.teacher, "one", "two")
    own = (await in_thread(say, live_conversation, live_people.student, "three"))[0]
    async with (
        connected(connect, live_people.teacher, live_conversation, "?mark_read=false") as teacher,
        connected(connect, live_people.student, None, "?mark_read=false") as tab,
        connect(live_people.student) as socket,
    ):
        assert await socket.receive_json() == established(live_conversation)
        read = message_status(live_people.student, old.pk, new.pk)
        assert await teacher.receive_json() == read
        assert await tab.receive_json() == read
        await socket.silence()
    assert [message.is_read async for message in Message.objects.order_by("seq")] == [True, True, False]
    await own.arefresh_from_db()
    assert not own.is_read


async def test_connecting_sends_no_status_if_nothing_was_unread(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    await in_thread(say, live_conversation, live_people.teacher, "mine")
    async with (
        connected(connect, live_people.teacher, live_conversation) as first,
        connected(connect, live_people.teacher, live_conversation) as second,
    ):
        await second.silence()
        await first.silence()


@pytest.mark.parametrize("query", ["?mark_read=false", "?mark_read=0", "?mark_read=False", "?x=1&mark_read=false"])
async def test_a_background_tab_connects_without_reading(
    connect: Connect, live_people: People, live_conversation: Conversation, query: str
) -> None:
    await in_thread(say, live_conversation, live_people.teacher, "unseen")
    async with (
        connected(connect, live_people.teacher, live_conversation) as teacher,
        connect(live_people.student, None, query) as socket,
    ):
        assert await socket.receive_json() == established(live_conversation)
        await socket.silence()
        await teacher.silence()
    assert await Message.objects.filter(is_read=False).acount() == 1


@pytest.mark.parametrize(
    "query", ["?mark_read=true", "?mark_read=1", "?mark_read=TRUE", "?mark_read=1&mark_read=1", "?%ff=%00&&=;"]
)
async def test_any_other_query_reads_as_usual(
    connect: Connect, live_people: People, live_conversation: Conversation, query: str
) -> None:
    await in_thread(say, live_conversation, live_people.teacher, "seen")
    async with connect(live_people.student, None, query) as socket:
        assert await socket.receive_json() == established(live_conversation)
    assert await Message.objects.filter(is_read=True).acount() == 1


@pytest.mark.parametrize(
    "query",
    [
        *("?mark_read=no", "?mark_read=", "?mark_read", "?mark_read=2", "?mark_read=%00", "?mark_read=true "),
        *("?mark_read=true&mark_read=false", "?after=1&after=2", "?presence=yes", "?presence="),
    ],
)
async def test_a_parameter_that_cannot_be_read_refuses_the_socket_and_marks_nothing(
    connect: Connect, live_people: People, live_conversation: Conversation, query: str
) -> None:
    await in_thread(say, live_conversation, live_people.teacher, "unseen")
    _, accepted, code = await connect.try_connect(live_people.student, None, query)
    assert (accepted, code) == (False, 4403)
    assert await Message.objects.filter(is_read=False).acount() == 1


def alone(user: User | AnonymousUser, **kwargs: Any) -> WebsocketCommunicator:
    """Return a client of the bare consumer, as the platform's own tests make it."""
    communicator = WebsocketCommunicator(ChatConsumer.as_asgi(), "/ws/somewhere/")
    communicator.scope |= {"user": user, "url_route": {"kwargs": kwargs}}
    return communicator


@pytest.mark.parametrize("as_given", [int, str])
async def test_the_consumer_works_alone_with_nothing_but_user_and_url_route(
    live_people: People, live_conversation: Conversation, as_given: Callable[[int], Any]
) -> None:
    teacher = alone(live_people.teacher, conversation_id=as_given(live_conversation.pk))
    student = alone(live_people.student)
    for client in (teacher, student):
        assert await client.connect(5) == (True, None)
        assert await client.receive_json_from(5) == established(live_conversation)
    await student.send_json_to({"message": "alone"})
    received, own = await teacher.receive_json_from(5), await student.receive_json_from(5)
    stored = await Message.objects.aget()
    assert received == await new_message(stored, live_people.teacher)
    assert own == await new_message(stored, live_people.student)
    for client in (teacher, student):
        await client.disconnect()


async def test_the_consumer_alone_refuses_as_in_the_application(live_people: People) -> None:
    from django.contrib.auth.models import AnonymousUser

    for user, code in [
        (AnonymousUser(), SIGNED_OUT),
        (live_people.teacher, NOT_ALLOWED),
        (live_people.stranger, NOT_FOUND),
    ]:
        client = alone(user)  # type: ignore[arg-type]
        assert await client.connect(5) == (False, code)
        await client.disconnect()


async def test_a_rotated_secret_key_signs_nobody_out(connect: Connect, live_people: People, settings: Any) -> None:
    key = await in_thread(session_cookie, live_people.student)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the-new-key-" * 5
    async with connected(connect, None, key=key) as socket:
        await socket.silence()
    assert [row.pk async for row in Session.objects.all()] == [key]
    client = await http(live_people.student, key)
    answer = await client.get("/api/v1/auth/me/")
    assert answer.status_code == 200
    assert answer.json()["id"] == live_people.student.pk
    # The request has signed the session with the new key, under its old name: the old key can go.
    settings.SECRET_KEY_FALLBACKS = []
    assert (await client.get("/api/v1/auth/me/")).status_code == 200
    async with connected(connect, None, key=key) as socket:
        await socket.silence()
    assert [row.pk async for row in Session.objects.all()] == [key]


async def test_a_socket_opened_under_an_old_secret_key_stays_open(
    connect: Connect, live_people: People, settings: Any
) -> None:
    key, ended = [await in_thread(session_cookie, live_people.student) for _ in range(2)]
    async with connected(connect, None, key=key) as socket, connected(connect, None, key=ended) as canary:
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "the-new-key-" * 5
        await Session.objects.filter(pk=ended).adelete()
        assert await canary.close_code() == SIGNED_OUT
        await socket.silence()
        # Nor does it mind that a request has renewed what it was opened with.
        assert (await (await http(live_people.student, key)).get("/api/v1/auth/me/")).status_code == 200
        settings.SECRET_KEY_FALLBACKS = []
        third = await in_thread(session_cookie, live_people.student)
        async with connected(connect, None, key=third) as second_canary:
            await Session.objects.filter(pk=third).adelete()
            assert await second_canary.close_code() == SIGNED_OUT
            await socket.silence()


async def test_connecting_costs_a_constant_number_of_queries(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    def own(queries: list[str]) -> list[str]:
        """Without the look that all who just connected share."""
        return [query for query in queries if " IN (" not in query]

    keys = [await in_thread(session_cookie, user) for user in (live_people.student, live_people.teacher)]
    with counted_queries() as queries:
        async with connected(connect, None, key=keys[0]), connected(connect, None, live_conversation, key=keys[1]):
            pass
    assert len(own(queries)) == 2 * 2, queries  # session; user, conversation and whether something is unread
    await in_thread(say, live_conversation, live_people.teacher, "one", "two", "three")
    with counted_queries() as queries:
        async with connected(connect, None, key=keys[0]):
            pass
    assert len(own(queries)) == 2 + 4, queries  # and what is unread, the two marks, and what it looks like then


async def test_sending_costs_a_constant_number_of_queries(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    async with (
        connected(connect, live_people.student) as socket,
        connected(connect, live_people.teacher, live_conversation) as teacher,
    ):
        await settled()
        for frame in ({"message": "plain"}, {"message": "with an id", "client_id": "1"}):
            with counted_queries() as queries:
                await socket.send_json(frame)
                await receive_many(socket, 1)
                await receive_many(teacher, 1)
            # Lock, insert, count, and for a client_id whether it is there; PostgreSQL does it all in one.
            assert len(queries) == (1 if connection.vendor == "postgresql" else 2 + len(frame)), queries
