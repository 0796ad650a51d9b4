"""A database that answers but refuses to write, such as a standby: everything says so, and recovers by itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import close_old_connections, connection, connections
from django.db.backends.signals import connection_created
from django.test import AsyncClient

from chat.models import Conversation
from tests.conftest import Connect
from tests.metric_values import metric_changes
from tests.people import PASSWORD, People, say, session_cookie
from tests.queries import wait_for_idle_threads
from tests.sockets import connected, http, in_thread

REFUSED_FRAME = {"error": "Temporarily unavailable. Try again.", "code": "temporarily_unavailable"}
REFUSED = 503, {"detail": "Temporarily unavailable. Try again.", "code": "temporarily_unavailable"}
REFUSE_WRITES = {"postgresql": "SET default_transaction_read_only = on", "sqlite": "PRAGMA query_only = on"}
JSON: Any = {"content_type": "application/json"}
RECOVERY_SECONDS = 2.0  # all connections of a process are thrown away at most once a second
MESSAGES = "/api/v1/chat/my-conversation/messages/"


def refuse_writes(connection: Any, **_: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(REFUSE_WRITES[connection.vendor])


@asynccontextmanager
async def read_only_database() -> AsyncIterator[None]:
    """Every connection that the application takes meanwhile refuses to write, and would go on refusing afterwards."""
    connection_created.connect(refuse_writes)
    try:
        await asyncio.to_thread(wait_for_idle_threads, connections.close_all)
        await in_thread(connections.close_all)
        yield
    finally:
        connection_created.disconnect(refuse_writes)


async def recovered(request: Callable[[], Awaitable[Any]]) -> Any:
    """Repeat a request until it succeeds; a connection of before may refuse one more write."""
    async with asyncio.timeout(RECOVERY_SECONDS):
        while (answer := await request()).status_code == 503:
            await in_thread(close_old_connections)  # as at the end of every request of a server
    assert answer.status_code == 200
    return answer


@pytest.fixture(autouse=True)
async def _throw_away(live_people: People) -> AsyncIterator[None]:
    """No connection that refuses to write is left to the next test."""
    yield
    if pool := getattr(connection, "pool", None):
        pool.drain()
    await asyncio.to_thread(wait_for_idle_threads, connections.close_all)
    await in_thread(connections.close_all)


async def test_sockets_are_told_and_work_again_soon(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    key = await in_thread(session_cookie, live_people.student)
    async with connected(connect, live_people.student, None, "?mark_read=false") as socket:
        await in_thread(say, live_conversation, live_people.teacher, "unread")
        assert (await socket.receive_json())["message"]["content"] == "unread"  # the healing of a new socket
        with metric_changes() as changed:
            async with read_only_database():
                await socket.send_json({"type": "mark_read"})
                assert await socket.receive_json() == REFUSED_FRAME
                await socket.send_json({"message": "in vain?", "client_id": "1"})
                assert await socket.receive_json() == REFUSED_FRAME
                assert (await connect.try_connect(live_people.student, key=key))[1:] == (False, 1013)
                _, accepted, _ = await connect.try_connect(live_people.student, None, "?mark_read=false", key=key)
                assert accepted, "nothing is written here"
        assert changed['qader_database_errors_total{by="sockets",trouble="read_only"}'] == 2
        assert changed['qader_database_errors_total{by="writer",trouble="read_only"}'] == 1
        for request, answer in (
            ({"message": "in vain?", "client_id": "1"}, "new_message"),
            ({"type": "mark_read"}, "update_message_status"),
        ):
            async with asyncio.timeout(RECOVERY_SECONDS):
                frame = REFUSED_FRAME
                while frame == REFUSED_FRAME:
                    await socket.send_json(request)
                    frame = await socket.receive_json()
            assert frame["type"] == answer


async def test_rest_answers_503_and_works_again_soon(live_people: People, live_conversation: Conversation) -> None:
    await in_thread(say, live_conversation, live_people.teacher, "unread")
    student, nobody = await http(live_people.student), AsyncClient(raise_request_exception=False)
    student.raise_request_exception = False
    credentials = {"username": "student", "password": PASSWORD}
    mark = f"/api/v1/chat/conversations/{live_conversation.pk}/mark-read/"
    with metric_changes() as changed:
        async with read_only_database():
            answers = [
                await student.get(MESSAGES),
                await student.post(MESSAGES, {"content": "in vain?"}, **JSON),
                await student.post(mark),
                await nobody.post("/api/v1/auth/login/", credentials, **JSON),
                await student.post("/api/v1/auth/login/", credentials, **JSON),  # the session is renewed
                await student.post("/api/v1/auth/logout/"),
            ]
            assert [(answer.status_code, answer.json()) for answer in answers] == [REFUSED] * 6
            assert (await student.get(f"{MESSAGES}?mark_read=false")).status_code == 200
    assert changed['qader_database_errors_total{by="http",trouble="read_only"}'] == 5
    await recovered(lambda: nobody.post("/api/v1/auth/login/", credentials, **JSON))
    assert (await recovered(lambda: student.post(mark))).json() == {"detail": "1 messages marked as read."}


async def test_readyz_is_red_until_the_database_writes_again(async_client: AsyncClient) -> None:
    async with read_only_database():
        answer = await async_client.get("/readyz")
        assert (answer.status_code, answer.json()["database"]) == (503, False)
    assert (await recovered(lambda: async_client.get("/readyz"))).json()["database"] is True


async def test_a_page_of_the_admin_answers_503(live_people: People, live_conversation: Conversation) -> None:
    message = (await in_thread(say, live_conversation, live_people.teacher, "a secret"))[0]
    client = AsyncClient(raise_request_exception=False)
    client.cookies["sessionid"] = await sync_to_async(session_cookie)(live_people.admin)
    path = f"/admin/chat/message/{message.pk}/change/"  # the reading is recorded
    async with read_only_database():
        answer = await client.get(path)
        assert (answer.status_code, b"a secret" in answer.content) == (503, False)
    assert b"a secret" in (await recovered(lambda: client.get(path))).content
