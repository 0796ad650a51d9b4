"""Batches with timed-out senders, a lost database, or other writers in the same conversations."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from accounts.models import RoleChoices
from chat.errors import UnavailableError
from chat.models import Conversation
from chat.store.batch import Draft, Sent, store
from tests.people import People, conversation_of, make_user
from tests.queries import at_once, recorded_queries, watched_statements
from tests.service_results import CLOSED, UNAVAILABLE, entry, event_of, refusal, stored


def test_a_batch_without_waiting_senders_is_rolled_back(people: People) -> None:
    batch = [entry(people.conversation, people.student, text) for text in ("one", "two")]
    for given_up in batch:
        given_up.given_up = True
    assert [refusal(outcome) for outcome in store(batch)] == [UNAVAILABLE] * 2
    assert stored(people.conversation) == []
    assert people.conversation.last_seq == 0


@pytest.mark.parametrize("portably", [False, True])
def test_a_message_that_timed_out_during_commit_is_still_delivered(live_people: People, portably: bool) -> None:
    conversation = live_people.conversation
    batch = [entry(conversation, live_people.student, text) for text in ("one", "two")]
    if portably:
        batch = [batch[0], entry(conversation, live_people.student, None)]

    def give_up(sql: str) -> None:
        if "INSERT INTO" in sql:
            for waiting in batch:
                waiting.given_up = True

    with watched_statements(give_up):
        outcomes = store(batch)
    if connection.vendor == "postgresql" and not portably:  # one statement: there is no moment before its COMMIT
        events = [event_of(row) for row in conversation.messages.order_by("seq")]
        assert outcomes == [Sent(event, created=True) for event in events]
        assert len(events) == 2
    else:
        assert [refusal(outcome) for outcome in outcomes] == [UNAVAILABLE] * 2
        assert stored(conversation) == []


@pytest.mark.parametrize("at", range(1, 6))
def test_messages_stored_before_the_connection_is_lost_are_delivered(live_people: People, at: int) -> None:
    conversation = live_people.conversation
    batch = [entry(conversation, live_people.student, text) for text in ("one", "two", "three")]
    batch.insert(1, entry(conversation, live_people.trainer, "not mine"))
    if at > 1:  # then one by one, each with its own query for the conversation
        batch.insert(2, entry(conversation, live_people.student, None))
    looks = 0

    def lose(sql: str) -> None:
        nonlocal looks
        looks += 'FROM "chat_conversation"' in sql
        if looks >= at:
            raise OperationalError("server closed the connection unexpectedly")

    with watched_statements(lose):
        outcomes = store(batch)
    assert looks == at
    sent = [outcome for outcome in outcomes if isinstance(outcome, Sent)]
    assert sent == [Sent(event_of(row), created=True) for row in conversation.messages.order_by("seq")]
    by_statement = connection.vendor == "postgresql" and at == 1
    assert len(sent) == (3 if by_statement else {1: 0, 2: 0, 3: 1, 4: 1, 5: 1}[at])
    rest = [refusal(outcome) for outcome in outcomes if not isinstance(outcome, Sent)]
    assert set(rest) <= {UNAVAILABLE, CLOSED}
    assert rest[-1] == UNAVAILABLE


def test_concurrent_batches_on_the_same_conversations_do_not_deadlock(live_people: People) -> None:
    students = [make_user(f"pupil{number}", RoleChoices.STUDENT, mentor=live_people.teacher) for number in range(5)]
    conversations = [conversation_of(student, live_people.teacher) for student in students]

    def writing(order: list[Conversation]) -> Callable[[], list[Any]]:
        batches = [[entry(conversation, live_people.teacher, "all") for conversation in order] for _ in range(5)]
        return lambda: [store(batch) for batch in batches]

    at_once(writing(conversations), writing(conversations[::-1]))
    for conversation in conversations:
        assert [row[0] for row in stored(conversation)] == list(range(1, 11))


def test_both_write_paths_lock_conversations_in_id_order(live_people: People) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite locks no rows.")
    students = [make_user(f"pupil{number}", RoleChoices.STUDENT, mentor=live_people.teacher) for number in range(3)]
    first, middle, last = conversations = [conversation_of(student, live_people.teacher) for student in students]
    for conversation in (middle, first):
        Conversation.objects.filter(pk=conversation.pk).update(last_seq=0)  # moves the row behind the others
    order = Conversation.objects.raw("SELECT id FROM chat_conversation ORDER BY ctid")
    assert [row.pk for row in order] == [last.pk, middle.pk, first.pk]

    def writing(*extra: Draft) -> list[Any]:
        try:
            with connection.cursor() as cursor:  # as if the table were large: rows are found where they lie
                cursor.execute("SET enable_indexscan = off; SET enable_bitmapscan = off")
            return store([entry(conversation, live_people.teacher, "all") for conversation in conversations] + [*extra])
        finally:
            with connection.cursor() as cursor:
                cursor.execute("RESET enable_indexscan; RESET enable_bitmapscan")
            connection.close()

    refused = entry(first, live_people.teacher, "\0")  # before the statement is made: all goes the portable way
    with ThreadPoolExecutor(2) as threads:
        with transaction.atomic():
            Conversation.objects.select_for_update().get(pk=middle.pk)
            both = [threads.submit(writing), threads.submit(writing, refused)]
            wait_for_locks(2)
        by_statement, by_rows = (call.result(timeout=10) for call in both)
    assert [type(outcome) for outcome in by_statement] == [Sent] * 3
    assert [type(outcome) for outcome in by_rows] == [Sent] * 3 + [UnavailableError]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite locks no rows")
def test_a_batch_that_waited_for_a_lock_continues_the_numbering(live_people: People) -> None:
    """By its one statement: the seq is read anew where the row has changed, for each of several messages."""
    conversation, student = live_people.conversation, live_people.student
    made: list[str] = []

    def writing() -> list[Any]:
        try:
            with recorded_queries() as queries:
                outcomes = store([entry(conversation, student, text) for text in ("three", "four", "five")])
            made.extend(queries)  # Django's: none, unless it went the portable way
            return outcomes
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            store([entry(conversation, student, text) for text in ("one", "two")])
            call = threads.submit(writing)
            wait_for_locks(1)
        outcomes = call.result(timeout=10)
    assert [outcome.event.seq for outcome in outcomes] == [3, 4, 5]
    assert [(seq, text) for seq, _, text, _ in stored(conversation)] == list(
        enumerate(("one", "two", "three", "four", "five"), 1)
    )
    ids = list(conversation.messages.order_by("seq").values_list("pk", flat=True))
    assert ids == sorted(ids)
    assert made == []


def wait_for_locks(count: int) -> None:
    """Wait until this many connections wait for a lock."""
    deadline = time.monotonic() + 5
    with connection.cursor() as cursor:
        while True:
            cursor.execute(
                "SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid) "
                "WHERE NOT granted AND datname = current_database()"
            )
            if cursor.fetchone()[0] == count:
                return
            assert time.monotonic() < deadline
            time.sleep(0.01)
