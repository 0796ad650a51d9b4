"""The cost of long histories and many conversations: a constant number of queries, and little time."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection
from django.test import Client

from accounts.models import User, UserProfile
from chat import services
from chat.live.handshake import connect_participant
from chat.live.healing import healing
from chat.models import Conversation, Message
from tests.conftest import Connect
from tests.people import People, client_of, conversation_of
from tests.queries import recorded_queries
from tests.sockets import connected, in_thread, settled

pytestmark = pytest.mark.slow

Show = Callable[[str], None]

LIST = "/api/v1/chat/teacher/conversations/"
MINE = "/api/v1/chat/my-conversation/messages/"


def medians_ms(calls: Mapping[str, Callable[[], object]], times: int = 20) -> dict[str, float]:
    """The median time of this many of each call, in milliseconds, after one that warms up.

    One of each in turn: what else the machine does slows all of them down.
    """
    for call in calls.values():
        call()
    spans: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(times):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            spans[name].append((time.perf_counter() - begin) * 1000)
    return {name: statistics.median(found) for name, found in spans.items()}


FILL = """
    WITH RECURSIVE numbers(seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM numbers WHERE seq < %s)
    INSERT INTO chat_message (conversation_id, sender_id, content, "timestamp", is_read, seq)
    SELECT conversation.id, CASE WHEN seq %% 2 = 1 THEN student.user_id ELSE teacher.user_id END,
           'message ' || seq, conversation.updated_at, seq <= %s, seq
    FROM chat_conversation AS conversation
    JOIN accounts_userprofile AS student ON student.id = student_id
    JOIN accounts_userprofile AS teacher ON teacher.id = teacher_id
    CROSS JOIN numbers
    ORDER BY seq, conversation.id
"""


def fill_all(count: int, *, unread: int) -> None:
    """Store this many messages in each conversation, by both sides in turn, the last `unread` of them unread."""
    with connection.cursor() as cursor:
        cursor.execute(FILL, [count, count - unread])
        cursor.execute("ANALYZE")  # as autovacuum does by itself in a database that lives longer than a test
    Conversation.objects.update(last_seq=count)


def pupils(mentor: User, count: int) -> None:
    """Give this mentor new students, each with a conversation."""
    students = [User(username=f"pupil{number}", email=f"pupil{number}@example.com") for number in range(count)]
    User.objects.bulk_create(students)
    profiles = [UserProfile(user=user, full_name=user.username, assigned_mentor=mentor.profile) for user in students]
    UserProfile.objects.bulk_create(profiles)
    Conversation.objects.bulk_create(Conversation(student=profile, teacher=mentor.profile) for profile in profiles)


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    """Print a figure, whatever pytest captures."""

    def shown(figure: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{figure}\n")

    return shown


@pytest.mark.quiet
def test_a_mentor_with_200_conversations_of_1000_messages_has_the_list_in_50_ms(people: People, show: Show) -> None:
    pupils(people.teacher, 199)
    conversation_of(people.student, people.teacher)
    fill_all(1000, unread=10)
    client = client_of(people.teacher)
    for query, size in {"": 50, "?page=4": 50, "?page_size=200": 200}.items():
        with recorded_queries() as queries:
            results = client.get(LIST + query).json()["results"]
        assert len(queries) <= 7, queries
        assert [row["unread_message_count_for_user"] for row in results] == [5] * size
        assert [row["last_message"]["content"] for row in results] == ["message 1000"] * size
    (span,) = medians_ms({"list": partial(client.get, LIST)}).values()
    show(f"teacher/conversations/, 200 conversations of 1,000 messages: {span:.1f} ms (median of 20)")
    assert span < 50


async def test_a_mentor_with_1000_conversations_opens_their_inbox_in_a_second(
    connect: Connect, live_people: People, settings: Any, show: Show
) -> None:
    settings.CHAT_HEAL_SECONDS = 1000
    await in_thread(pupils, live_people.teacher, 1000)
    await in_thread(fill_all, 10, unread=10)
    student = await Conversation.objects.select_related("student__user").alatest("pk")
    begin = time.perf_counter()
    async with connect(live_people.teacher, "inbox/") as inbox:
        assert await inbox.receive_json() == {"type": "inbox_established", "unread_total": 5000}
        opened = time.perf_counter() - begin
        await settled()
        async with connected(connect, student.student.user) as socket:
            begin = time.perf_counter()
            await socket.send_json({"message": "hello"})
            while (await inbox.receive_json())["conversation"]["last_message"]["content"] != "hello":
                pass
            told = time.perf_counter() - begin
        begin = time.perf_counter()
        await healing().heal_all()
        looked = time.perf_counter() - begin
    show(f"an inbox of 1,000 conversations: {opened:.2f} s to open, {told:.3f} s to tell, {looked:.3f} s to look over")
    assert opened < 1


def test_any_page_of_100000_messages_costs_what_the_first_costs(people: People, show: Show) -> None:
    conversation, client = people.conversation, client_of(people.student)
    fill_all(100_000, unread=100_000)
    ids = list(conversation.messages.order_by("seq").values_list("pk", flat=True))
    first_read_marks_50000(client, show)
    queries = {
        "first": "?page=1",
        "middle": "?page=1000",
        "last": "?page=last",
        "newest": "?limit=50",
        "before": f"?before={ids[50_000]}&limit=50",
        "after": f"?after={ids[50_000]}&limit=50",
    }
    begins = {"first": 0, "middle": 49_950, "last": 99_950, "newest": 99_950, "before": 49_950, "after": 50_001}
    for name, query in queries.items():
        with recorded_queries() as made:
            results = client.get(MINE + query).json()["results"]
        assert len(made) <= 2 + 4, made
        assert [row["id"] for row in results] == ids[begins[name] : begins[name] + 50]
    spans = medians_ms({name: partial(client.get, MINE + query) for name, query in queries.items()})
    figures = ", ".join(f"{name} {span:.1f} ms" for name, span in spans.items())
    show(f"100,000 messages, a page, median of 20: {figures}")
    assert max(spans.values()) < 3 * spans["first"] + 5  # an OFFSET or a COUNT would be tens of times slower


def first_read_marks_50000(client: Client, show: Show) -> None:
    begin = time.perf_counter()
    with recorded_queries() as queries, patch.object(services, "MARK_SECONDS", 60):
        assert client.get(MINE).status_code == 200
    show(f"50,000 messages read at once: {time.perf_counter() - begin:.1f} s")
    steps = 50_000 // services.MARKED_AT_ONCE + 1  # the last one finds nothing
    assert len(queries) <= 2 + 4 + 3 * steps, len(queries)
    assert not Message.objects.filter(is_read=False, sender__username="teacher").exists()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL counts what a statement looks at")
@pytest.mark.parametrize("side", ["student", "teacher"])
def test_reconnecting_to_100000_messages_reads_few_of_them(people: People, side: str) -> None:
    """Also where others have few, so that a plan for any conversation is a bad one for this."""
    conversation, user = people.conversation, getattr(people, side)
    fill_all(100_000, unread=0)
    pupils(people.teacher, 300)
    others = Conversation.objects.exclude(pk=conversation.pk).select_related("student")
    Message.objects.bulk_create(
        Message(conversation=other, sender_id=other.student.user_id, content="hello", seq=seq, is_read=True)
        for other in others
        for seq in range(1, 11)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    after = Message.objects.get(conversation=conversation, seq=99_990).pk
    before = rows_looked_at()
    own = None if side == "student" else conversation.pk
    handshake = connect_participant(
        user=user, session=None, conversation_id=own, mark=True, after=after, check=lambda user_id: None
    )
    assert [event.seq for event in handshake.missed] == list(range(99_991, 100_001))
    assert rows_looked_at() - before < 100


def rows_looked_at() -> int:
    """Return how many messages the current transaction has read."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'chat_message'"
        )
        [(count,)] = cursor.fetchall()
    return int(count)
