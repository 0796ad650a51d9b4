"""A chat over two processes, student on one and teacher on the other; frames are compared whole."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests import servers
from tests.e2e.chat_socket import SETTLED_SECONDS, connected
from tests.e2e.cluster import Cluster, Databases, Pair, Person
from tests.e2e.server import WebServer, start_together

IDLE_SECONDS = 15  # longer than any time-out of the layer's Redis client (channels_redis#422: 5 s)
LIVE_SECONDS = 2  # on a busy machine; healing would bring it half a minute later
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")

Processes = tuple[WebServer, WebServer]


@pytest.fixture(scope="module")
def cluster(databases: Databases) -> Iterator[Cluster]:
    """One for all of them: each test has a pair of its own."""
    with servers.redis() as redis:
        made = Cluster(databases.create(), redis)
        yield made
        made.close()


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def processes(cluster: Cluster, request: pytest.FixtureRequest) -> Processes:
    """Two server processes of one kind: the student's and the teacher's."""
    first, second = start_together(cluster.server(request.param), cluster.server(request.param))
    return first, second


@pytest.fixture
def pair(cluster: Cluster) -> Pair:
    return cluster.make_pairs()[0]


async def about(person: Person, server: WebServer) -> Any:
    """What `auth/me/` answers."""
    async with person.http(server) as http:
        return (await http.get("auth/me/")).json()


def new_message(me: Any, content: str, message: Any, *, is_own: bool, **more: Any) -> Any:
    """The frame that the contract wants of a message of `me`; its id and time are taken from `message`."""
    assert isinstance(message["id"], int)
    assert TIMESTAMP.fullmatch(message["timestamp"])
    body = {
        "id": message["id"],
        "sender": me["id"],
        "sender_profile": me["profile"],
        "content": content,
        "timestamp": message["timestamp"],
        "is_read": False,
        "is_own_message": is_own,
        "is_erased": False,
    }
    return {"type": "new_message", "message": body, **more}


async def test_student_and_teacher_chat_across_processes(processes: Processes, pair: Pair) -> None:
    ours, theirs = processes
    student, teacher = await about(pair.student, ours), await about(pair.teacher, theirs)
    assert student == {
        "id": pair.student.user_id,
        "username": pair.student.username,
        "email": f"{pair.student.username}@example.com",
        "profile": student["profile"],
        "mentor": teacher["profile"],
        "is_locked": False,
        "language": None,
        "notify_push": True,
        "notify_email": True,
    }
    assert student["profile"] == {
        "user_id": student["profile"]["user_id"],
        "full_name": pair.student.username,
        "username": pair.student.username,
        "email": f"{pair.student.username}@example.com",
        "role": "STUDENT",
    }
    established = {
        "type": "connection_established",
        "conversation_id": str(pair.conversation_id),
        "room_group_name": f"chat_{pair.conversation_id}",
    }
    async with pair.student.socket(ours) as one, pair.student.socket(theirs) as tab, pair.teacher.socket(theirs) as two:
        for socket in (one, tab, two):
            assert await socket.receive_json() == established
        await one.send_json({"message": "سلام، how are you?"})
        sent = await one.receive_json()
        assert sent == new_message(student, "سلام، how are you?", sent["message"], is_own=True)
        assert await tab.receive_json() == sent
        assert await two.receive_json() == new_message(student, "سلام، how are you?", sent["message"], is_own=False)
        await two.send_json({"message": " fine ", "client_id": "a"})
        answer = await two.receive_json()
        assert answer == new_message(teacher, " fine ", answer["message"], is_own=True, client_id="a")
        assert answer["message"]["id"] > sent["message"]["id"]
        assert [await socket.receive_json() for socket in (one, tab)] == [
            new_message(teacher, " fine ", answer["message"], is_own=False)
        ] * 2
        for empty in ({"message": "   "}, {"message": None}, {}):
            await one.send_json(empty)
            assert await one.receive_json() == {"error": "Message content cannot be empty.", "code": "empty_message"}
        for socket in (one, tab, two):
            assert await socket.receive_until_pong() == []
    async with pair.teacher.http(ours) as http:
        page = (await http.get(f"chat/teacher/{pair.teacher.path}messages/?mark_read=false")).json()
    shown = [sent["message"] | {"is_own_message": False}, answer["message"]]
    assert page == {"count": 2, "next": None, "previous": None, "results": shown}


async def test_a_rest_post_on_one_process_reaches_the_sockets_of_the_other(processes: Processes, pair: Pair) -> None:
    ours, theirs = processes
    student = await about(pair.student, ours)
    async with connected(pair.teacher, theirs) as two, connected(pair.student, theirs) as tab:
        await asyncio.sleep(SETTLED_SECONDS)
        async with pair.student.http(ours) as http:
            posted = await http.post("chat/my-conversation/messages/", json={"content": "by REST"})
        assert posted.status_code == 201
        message = posted.json()
        expected = new_message(student, "by REST", message, is_own=True)
        assert message == expected["message"]
        assert await tab.receive_json(LIVE_SECONDS) == expected
        assert await two.receive_json(LIVE_SECONDS) == new_message(student, "by REST", message, is_own=False)


async def test_marking_as_read_crosses_processes(processes: Processes, pair: Pair) -> None:
    ours, theirs = processes
    path = f"chat/conversations/{pair.conversation_id}/mark-read/"
    async with connected(pair.student, ours) as one, connected(pair.teacher, theirs) as two:
        ids = []
        for number in range(3):
            await one.send_json({"message": str(number)})
            ids.append((await one.receive_json())["message"]["id"])
            await two.receive_json()
        await two.send_json({"type": "mark_read", "message_id": str(ids[1])})
        status = {"type": "update_message_status", "is_read": True, "reader": pair.teacher.user_id}
        for socket in (one, two):
            assert await socket.receive_json() == status | {"message_ids": ids[:2]}
        async with pair.teacher.http(theirs) as http:
            for marked in (1, 0):
                answer = await http.post(path)
                assert (answer.status_code, answer.json()) == (200, {"detail": f"{marked} messages marked as read."})
        for socket in (one, two):
            assert await socket.receive_json() == status | {"message_ids": ids[2:]}
            assert await socket.receive_until_pong() == []  # no change, no frame
        await one.send_json({"message": "again"})
        last = (await one.receive_json())["message"]["id"]
    async with connected(pair.student, ours) as one, connected(pair.teacher, theirs) as two:  # connecting marks, too
        assert await one.receive_json() == status | {"message_ids": [last]}
        assert await two.receive_until_pong() == []


async def test_a_socket_that_was_idle_still_works(cluster: Cluster, pair: Pair) -> None:
    ours, theirs = start_together(cluster.server("daphne"), cluster.server("uvicorn"))
    async with connected(pair.student, ours) as one, connected(pair.teacher, theirs) as two:
        await asyncio.sleep(IDLE_SECONDS)
        for sender, receiver in ((one, two), (two, one)):
            await sender.send_json({"message": "still here?"})
            for socket in (sender, receiver):
                frame = await socket.receive_json()
                assert frame["message"]["content"] == "still here?"
                assert frame["message"]["is_own_message"] is (socket is sender)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
async def test_one_process_on_sqlite_without_redis(databases: Databases, tmp_path: Any, kind: str) -> None:
    cluster = Cluster(f"sqlite:///{tmp_path}/db.sqlite3", None)
    cluster.run("manage.py", "migrate", "--verbosity", "0")
    pair = cluster.make_pairs()[0]
    server = cluster.start(kind)
    try:
        student = await about(pair.student, server)
        async with connected(pair.student, server) as one, connected(pair.teacher, server) as two:
            await one.send_json({"message": "hello"})
            sent = await one.receive_json()
            assert sent == new_message(student, "hello", sent["message"], is_own=True)
            assert await two.receive_json() == new_message(student, "hello", sent["message"], is_own=False)
            await two.send_json({"type": "mark_read"})
            read = {"type": "update_message_status", "is_read": True, "reader": pair.teacher.user_id}
            for socket in (one, two):
                assert await socket.receive_json() == read | {"message_ids": [sent["message"]["id"]]}
            async with pair.teacher.http(server) as http:
                path = f"chat/teacher/{pair.teacher.path}messages/"
                posted = await http.post(path, json={"content": "over REST"})
                assert posted.status_code == 201
                assert (await one.receive_json())["message"] == posted.json() | {"is_own_message": False}
                assert (await two.receive_json())["message"] == posted.json()
        second = cluster.server(kind).launch()
        assert second.exit_code() == 1
        lines = second.log.splitlines()
        assert len(lines) == 1, second.log
        assert "another server process uses this database" in lines[0]
    finally:
        cluster.close()
