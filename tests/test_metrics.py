"""Each event changes exactly its metrics."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
from django.contrib.sessions.models import Session

from chat.live import handshake as entrance
from chat.live import healing
from chat.models import Conversation
from chat.runtime import rate_limit as ratelimit
from chat.runtime.rate_limit import RateLimit
from chat.store.writer import writer
from tests.conftest import Connect, Post
from tests.delivery_harness import database_away
from tests.metric_values import metric_changes, metric_values
from tests.other_process import ROUGH, OtherProcess, rough_layer
from tests.people import People, say
from tests.queries import connected_redis
from tests.servers import free_port
from tests.sockets import STUDENT_MESSAGES, connected, ended, http, in_thread, key_of, receive_many, settled

NEVER = 1000
SENT = {"qader_messages_total": 1, "qader_commit_seconds_count": 1, "qader_batch_messages_count": 1}


@pytest.fixture(autouse=True)
def _rounds_and_newcomers_do_nothing(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CHAT_HEAL_SECONDS = NEVER
    monkeypatch.setattr(healing, "CONFIRMED_SECONDS", 0.05)


async def test_opening_and_closing_sockets_is_counted(
    connect: Connect, live_people: People, stack: AsyncExitStack
) -> None:
    with metric_changes() as opened:
        await stack.enter_async_context(connected(connect, live_people.student))
        await stack.enter_async_context(connect(live_people.student, "inbox/"))
    assert opened == {
        'qader_sockets{kind="conversation"}': 1,
        'qader_sockets{kind="inbox"}': 1,
        'qader_sockets_opened_total{kind="conversation"}': 1,
        'qader_sockets_opened_total{kind="inbox"}': 1,
    }
    with metric_changes() as left:
        await stack.aclose()
    assert left == {
        'qader_sockets{kind="conversation"}': -1,
        'qader_sockets{kind="inbox"}': -1,
        'qader_sockets_closed_total{by="client",code="1000"}': 2,
    }


@pytest.mark.parametrize(
    ("code", "counted"),
    [
        (1001, 'by="client",code="1001"'),
        (1012, 'by="server",code="1012"'),  # of the server beneath us
        (3999, 'by="client",code="other"'),  # a client may make up two thousand of them
    ],
)
async def test_closes_are_counted_by_code(connect: Connect, live_people: People, code: int, counted: str) -> None:
    async with connected(connect, live_people.student) as socket:
        with metric_changes() as changed:
            await socket.send_input({"type": "websocket.disconnect", "code": code})
            await socket.wait(5)
    assert changed == {'qader_sockets{kind="conversation"}': -1, f"qader_sockets_closed_total{{{counted}}}": 1}


async def test_a_socket_that_we_close_counts_as_ours(connect: Connect, live_people: People) -> None:
    async with connected(connect, live_people.student) as socket:
        with metric_changes() as changed:
            await Session.objects.filter(pk=key_of(socket)).adelete()
            assert await socket.close_code() == 4401
            await socket.disconnect(code=4401)
    closed = 'qader_sockets_closed_total{by="server",code="4401"}'
    assert changed == {'qader_sockets{kind="conversation"}': -1, closed: 1}


async def test_stored_and_delivered_messages_are_counted(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    async with (
        connected(connect, live_people.student) as student,
        connected(connect, live_people.teacher, live_conversation) as teacher,
    ):
        await settled()
        with metric_changes() as changed:
            await student.send_json({"message": "hello", "client_id": "one"})
            for socket in (student, teacher):
                await socket.receive_json()
            await student.silence()
            await teacher.silence()
        assert changed == SENT | {"qader_delivery_seconds_count": 2}
        with metric_changes() as changed:
            await student.send_json({"message": "hello", "client_id": "one"})
            await student.silence()
            await asyncio.wait_for(_until_idle(), 5)
        assert changed == {"qader_messages_repeated_total": 1, "qader_batch_messages_count": 1}


async def _until_idle() -> None:
    while writer()._under_way:  # noqa: ASYNC110 - nobody says when
        await asyncio.sleep(0.01)


async def test_messages_over_rest_are_counted(live_people: People, post: Post) -> None:
    with metric_changes() as changed:
        assert (await post(live_people.student, STUDENT_MESSAGES, {"content": "hello"})).status_code == 201
    assert changed == SENT


async def test_errors_sent_to_clients_are_counted(
    connect: Connect, live_people: People, post: Post, settings: Any
) -> None:
    settings.CHAT_RATE_LIMIT = (0.001, 1)
    async with connected(connect, live_people.student) as socket:
        with metric_changes() as changed:
            await socket.send_json({"message": " "})
            await socket.send_json({"message": "one"})
            await socket.send_json({"message": "two"})
            await receive_many(socket, 3)
            await socket.silence()
    assert changed == SENT | {
        "qader_delivery_seconds_count": 1,
        'qader_errors_told_total{code="empty_message",over="socket"}': 1,
        'qader_errors_told_total{code="rate_limited",over="socket"}': 1,
        'qader_rate_limited_total{limit="send"}': 1,
    }
    with metric_changes() as changed:
        await post(live_people.student, STUDENT_MESSAGES, {"content": "three"})
        await post(live_people.stranger, STUDENT_MESSAGES, {"content": "to nobody"})
    assert changed == {
        'qader_errors_told_total{code="rate_limited",over="rest"}': 1,
        'qader_rate_limited_total{limit="send"}': 1,
        'qader_errors_told_total{code="no_mentor",over="rest"}': 1,
    }


@pytest.mark.parametrize("outcome", ["recovered", "too_far", "unknown"])
async def test_resumes_are_counted_by_outcome(
    connect: Connect,
    live_people: People,
    live_conversation: Conversation,
    monkeypatch: pytest.MonkeyPatch,
    outcome: str,
) -> None:
    monkeypatch.setattr(entrance, "MAX_REPLAY", 2)
    messages = await in_thread(say, live_conversation, live_people.teacher, *"abcd")
    after = {"recovered": messages[1].pk, "too_far": messages[0].pk, "unknown": -1}[outcome]
    with metric_changes() as changed:
        async with connected(connect, live_people.student, None, f"?after={after}") as socket:
            await socket.receive_json()
    assert changed[f'qader_resumes_total{{outcome="{outcome}"}}'] == 1
    assert sum(value for name, value in changed.items() if name.startswith("qader_resumes")) == 1


async def test_events_of_other_processes_and_lost_ones_are_counted(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any, stack: AsyncExitStack
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH}}
    other = await stack.enter_async_context(OtherProcess())
    teacher = await other.connect(live_people.teacher, live_conversation)
    student = await stack.enter_async_context(connected(connect, live_people.student))
    await settled()
    await other.run(settled())
    with metric_changes() as changed:
        await teacher.send_json({"message": "heard"})
        await teacher.receive_json()
        await student.receive_json()
        await student.silence()
        await teacher.silence()
    assert changed == SENT | {"qader_delivery_seconds_count": 2, "qader_layer_seconds_count": 1}
    rough_layer().drop = 1
    await teacher.send_json({"message": "lost"})
    await teacher.receive_json()
    rough_layer().drop = 0
    with metric_changes() as changed:
        await teacher.send_json({"message": "heard again"})
        await teacher.receive_json()
        await receive_many(student, 2)
        await student.silence()
        await teacher.silence()
    # The student's own frames came from the database: when they were committed nobody here knows.
    assert changed == SENT | {
        "qader_delivery_seconds_count": 1,
        "qader_layer_seconds_count": 1,
        'qader_gaps_healed_total{what="messages"}': 1,
    }


async def test_lost_read_events_are_counted(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any, stack: AsyncExitStack
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH}}
    one, two = await in_thread(say, live_conversation, live_people.teacher, "one", "two")
    other = await stack.enter_async_context(OtherProcess())
    reader = await other.connect(live_people.student, None, "?mark_read=false")
    teacher = await stack.enter_async_context(connected(connect, live_people.teacher, live_conversation))
    await settled()
    rough_layer().drop = 1
    await reader.send_json({"type": "mark_read", "message_id": one.pk})
    await reader.receive_json()
    rough_layer().drop = 0
    with metric_changes() as changed:
        await reader.send_json({"type": "mark_read", "message_id": two.pk})
        await reader.receive_json()
        await teacher.receive_json()
        await teacher.silence()
    assert changed == {"qader_layer_seconds_count": 1, 'qader_gaps_healed_total{what="reads"}': 1}


async def test_an_outage_of_the_layer_is_noticed_without_traffic(
    connect: Connect, live_people: People, settings: Any
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH}}
    async with connected(connect, live_people.student) as socket:
        await settled()
        with metric_changes() as changed:
            rough_layer().mode = "raises"
            await socket.send_json({"message": "anybody there?"})
            await socket.receive_json()
            await asyncio.wait_for(_until("qader_layer_up", 0), 5)
        assert changed["qader_layer_up"] == -1
        assert changed["qader_layer_errors_total"] >= 1
        rough_layer().mode = ""
        await asyncio.wait_for(_until("qader_layer_up", 1), 5)


async def _until(name: str, value: float) -> None:
    while metric_values()[name] != value:  # noqa: ASYNC110 - nobody says when
        await asyncio.sleep(0.02)


def cut_off(*_: Any, **__: Any) -> None:
    """PostgreSQL is spoken to beside Django's cursors, too."""
    raise psycopg.OperationalError("the connection is lost")


async def test_database_failures_of_writer_and_rest_are_counted(
    connect: Connect, live_people: People, post: Post
) -> None:
    async with connected(connect, live_people.student) as socket:
        await settled()
        with metric_changes() as changed, database_away(), patch.object(psycopg.Cursor, "execute", cut_off):
            await socket.send_json({"message": "lost?", "client_id": "one"})
            assert (await socket.receive_json())["code"] == "temporarily_unavailable"
    assert changed['qader_database_errors_total{by="writer",trouble="gone"}'] == 1
    assert changed['qader_errors_told_total{code="temporarily_unavailable",over="socket"}'] == 1
    client = await http(live_people.student)
    with metric_changes() as changed, database_away():
        assert (await client.get(STUDENT_MESSAGES)).status_code == 503
    assert changed == {
        'qader_database_errors_total{by="http",trouble="gone"}': 1,
        'qader_errors_told_total{code="temporarily_unavailable",over="rest"}': 1,
    }


async def test_rate_limit_fallbacks_are_counted(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratelimit, "RETRY_SECONDS", 0.0)
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    settings.CHAT_RATE_LIMIT = (1, 2)
    limit = RateLimit("send", "CHAT_RATE_LIMIT")
    with metric_changes() as changed:
        assert [limit.take(1), limit.take(1)] == [0, 0]
        await ended("send-limit-report")
    assert changed == {"qader_rate_limit_fallbacks_total": 1}
    await connected_redis().aclose()
