"""The log of sockets: lines carry the ids of their socket and no message text."""

import asyncio
import json
import logging
import re
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import connection

from accounts import tracing
from chat.bus.event_bus import event_bus
from chat.bus.events import MessagePosted
from chat.live import socket_lifecycle, subscriber
from chat.live.subscriber import Subscriber
from chat.models import Conversation
from chat.runtime.database import in_database
from chat.store.drafts import Draft
from chat.store.writer import writer
from chat.wire.server_frames import Pong
from tests.conftest import Connect, Lines, loop_is_idle
from tests.log_lines import SECRET, without_time
from tests.people import People
from tests.sockets import connected, in_thread, key_of, settled, socket_of


async def test_a_socket_is_logged_when_opened_and_when_closed(
    connect: Connect, live_people: People, lines: Lines
) -> None:
    async with connected(connect, live_people.student) as socket:
        await socket.silence()
        await socket.disconnect(1001)
    opened, closed = lines()
    connection = opened["connection"]
    assert re.fullmatch(r"[0-9a-f]{16}", connection)
    common = {
        "level": "INFO",
        "logger": "chat.live.socket_lifecycle",
        "connection": connection,
        "user": live_people.student.pk,
        "kind": "conversation",
    }
    assert without_time(opened) == common | {"event": "socket opened"}
    assert without_time(closed) == common | {
        "event": "socket closed",
        "code": 1001,
        "by": "client",
        "frames_in": 1,
        "frames_out": 2,
    }
    assert 0 <= closed["seconds"] < 60


async def test_a_socket_that_is_refused_has_one_line(connect: Connect, live_people: People, lines: Lines) -> None:
    await connect.try_connect(live_people.teacher)
    (line,) = lines()
    assert line.pop("connection")
    assert without_time(line) == {
        "level": "INFO",
        "logger": "qader.observability.access_log",
        "event": "socket refused",
        "reason": "not_a_student",
    }


async def test_work_for_a_socket_is_logged_with_its_ids(
    connect: Connect, live_people: People, live_conversation: Conversation, lines: Lines, stack: AsyncExitStack
) -> None:
    student = await stack.enter_async_context(connected(connect, live_people.student))
    await stack.enter_async_context(connected(connect, live_people.teacher, live_conversation))
    await settled()
    mine, theirs = (line["connection"] for line in lines())
    assert mine != theirs
    await Session.objects.filter(pk=key_of(student)).adelete()
    assert await student.close_code() == 4401
    await student.disconnect(4401)
    told = lines()[2:]
    assert [(line["event"], line["connection"], line["user"]) for line in told] == [
        ("access revoked: 4401", mine, live_people.student.pk),
        ("socket closed", mine, live_people.student.pk),
    ]


async def test_a_failed_send_is_logged_with_the_receivers_ids(monkeypatch: pytest.MonkeyPatch, lines: Lines) -> None:
    """The sender's task brings the news; the receiver's writes it."""
    monkeypatch.setattr(subscriber, "SEND_SECONDS", 0.01)
    closed = asyncio.Event()

    async def never(text: str) -> None:
        await asyncio.Event().wait()

    async def receiver() -> Subscriber:
        tracing.begin("connection", "receiver")
        box = Subscriber(
            user_id=1, session_key=None, wants_presence=False, write=never, close=lambda code: closed.set()
        )
        box._start([])
        return box

    box = await asyncio.create_task(receiver())

    async def sender() -> None:
        tracing.begin("connection", "sender")
        box.send(Pong())

    await asyncio.create_task(sender())
    await asyncio.wait_for(closed.wait(), 5)
    assert [(line["event"], line["connection"]) for line in lines()] == [
        ("socket closed, frame not sent: too slow", "receiver")
    ]


@pytest.mark.django_db(transaction=True)
async def test_threads_log_with_the_ids_of_their_socket(lines: Lines) -> None:
    tracing.begin("connection", "mine").user_id = 5
    await in_database(logging.getLogger("chat.test").warning, "looked up")
    (line,) = lines()
    assert (line["event"], line["connection"], line["user"]) == ("looked up", "mine", 5)


async def test_a_socket_that_does_not_close_is_cut_and_logged_with_its_ids(
    live_people: People, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qader.asgi import application

    monkeypatch.setattr(socket_lifecycle, "CLOSE_SECONDS", 0.05)
    client = await in_thread(socket_of, live_people.student)
    received: asyncio.Queue[Any] = asyncio.Queue()
    received.put_nowait({"type": "websocket.connect"})
    first_frame = asyncio.Event()

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            first_frame.set()
        if message["type"] == "websocket.close":
            await asyncio.Event().wait()

    served = asyncio.create_task(application(client.scope, received.get, send))
    await asyncio.wait_for(first_frame.wait(), 5)
    await Session.objects.filter(pk=key_of(client)).adelete()
    await asyncio.wait_for(served, 5)
    told = [(line["event"], line["connection"]) for line in lines()]
    connection = told[0][1]
    assert told == [
        ("socket opened", connection),
        ("access revoked: 4401", connection),
        ("socket cut: TimeoutError", connection),
        ("socket closed", connection),
    ]


async def test_shared_work_is_logged_without_socket_ids(live_people: People, live_conversation: Conversation) -> None:
    """Whoever happened to wake the writer is no more the cause of its batch than the others in it."""
    causes: asyncio.Queue[tracing.Trace | None] = asyncio.Queue()
    tracing.begin("connection", "first")

    def handler(_: MessagePosted) -> None:
        causes.put_nowait(tracing.current())

    event_bus().on(MessagePosted, handler)
    writer().write(Draft(live_conversation.pk, live_people.student.pk, "hello", None), lambda outcome: None)
    assert await asyncio.wait_for(causes.get(), 5) is None
    assert tracing.current() is not None
    await loop_is_idle()


async def test_message_text_in_database_errors_is_not_logged(
    connect: Connect, live_people: People, live_conversation: Conversation, lines: Lines
) -> None:
    def forbid() -> None:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("ALTER TABLE chat_message ADD CONSTRAINT forbidden CHECK (content NOT LIKE 'what %')")
            else:
                cursor.execute(
                    "CREATE TRIGGER forbidden BEFORE INSERT ON chat_message WHEN NEW.content LIKE 'what %' "
                    f"BEGIN SELECT RAISE(ABORT, '{SECRET}'); END"
                )

    def allow() -> None:
        with connection.cursor() as cursor:
            on_postgresql = connection.vendor == "postgresql"
            cursor.execute(
                "ALTER TABLE chat_message DROP CONSTRAINT forbidden" if on_postgresql else "DROP TRIGGER forbidden"
            )

    await in_thread(forbid)
    try:
        async with connected(connect, live_people.student) as socket:
            await socket.send_json({"message": SECRET})
            assert (await socket.receive_json())["code"] == "temporarily_unavailable"
            key = key_of(socket)
    finally:
        await in_thread(allow)
    told = json.dumps(lines())
    assert "IntegrityError" in told
    for hidden in (SECRET, key, live_people.student.email):
        assert hidden not in told
