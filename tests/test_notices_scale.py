"""Finding what is due costs as much as there is due, however many conversations and messages there are."""

import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from chat.models import Conversation
from notices.looks import due, look_at
from notices.models import Side
from notices.rounds import AT_ONCE
from notices.start import started_at
from tests.notices import run_round, sent
from tests.people import People
from tests.queries import recorded_queries
from tests.test_scale import Show, fill_all, pupils, show  # noqa: F401 - a fixture

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("notices_on")]

CONVERSATIONS, MESSAGES, UNREAD, DUE = 10_000, 20, 3, 1000
FIND_SECONDS = 0.1


def make_due(people: People, conversations: int, count: int) -> None:
    pupils(people.teacher, conversations)
    fill_all(MESSAGES, unread=UNREAD)
    ids = list(Conversation.objects.order_by("pk").values_list("pk", flat=True)[:: conversations // count])
    at = timezone.now() - timedelta(minutes=1)
    Conversation.objects.filter(pk__in=ids).update(student_notify_at=at)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


@pytest.mark.quiet
@pytest.mark.timeout(300)
def test_a_thousand_due_of_ten_thousand_conversations_are_found_in_a_tenth_of_a_second(
    people: People,
    show: Show,  # noqa: F811
) -> None:
    make_due(people, CONVERSATIONS, DUE)
    since = started_at()
    spans = []
    for _ in range(5):
        begin = time.perf_counter()
        looks = look_at(due(Side.STUDENT, AT_ONCE), Side.STUDENT, since)
        spans.append(time.perf_counter() - begin)
        assert len(looks) == DUE
    show(f"{DUE} due of {CONVERSATIONS} conversations with {MESSAGES} messages: {min(spans) * 1000:.0f} ms")
    assert min(spans) < FIND_SECONDS


def test_the_index_finds_what_is_due(people: People) -> None:
    """The plan of the query, with statistics, is that of the partial index."""
    if connection.vendor != "postgresql":
        pytest.skip("It is about PostgreSQL's plans.")
    make_due(people, 2000, 20)
    for side in Side:
        with recorded_queries() as statements:
            due(side, AT_ONCE)
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {statements[0]}")
            told = "\n".join(line for (line,) in cursor.fetchall())
        assert f"Index Scan using chat_{side}_notify_at" in told, told


def test_a_round_without_anything_due_asks_for_both_sides_and_for_leads(
    people: People, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(3):
        assert run_round() == sent()
