"""Batches with timed-out senders, a lost database, or other writers in the same conversations."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection

from accounts.models import RoleChoices
from chat.errors import UnavailableError
from chat.models import Conversation
from chat.store.drafts import Sent
from tests.holder import Holder
from tests.people import People, conversation_of, make_user
from tests.queries import at_once, watched_statements
from tests.service_results import CLOSED, UNAVAILABLE, entry, event_of, refusal, store, store_all, stored


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
        return lambda: [store_all(batch) for batch in batches]

    at_once(writing(conversations), writing(conversations[::-1]))
    for conversation in conversations:
        assert [row[0] for row in stored(conversation)] == list(range(1, 11))


@pytest.mark.parametrize("portably", [False, True])
@pytest.mark.parametrize("locked", ["conversation", "sender"])
def test_what_somebody_else_has_locked_is_left_out_and_waited_for_by_nobody(
    live_people: People, holder: Holder, locked: str, portably: bool
) -> None:
    conversation, student = live_people.conversation, live_people.student
    holder.lock(conversation if locked == "conversation" else student)
    batch = [entry(conversation, student, text, text) for text in ("one", "two")]
    batch.append(entry(live_people.other_conversation, live_people.trainer, None if portably else "bad"))
    batch.append(entry(live_people.other_conversation, live_people.other_student, "free"))
    batch.append(entry(conversation, student, "three"))
    one, two, bad, _, three = store(batch)
    assert [one, two, three] == [None] * 3
    assert isinstance(bad, UnavailableError if portably else Sent)
    assert [row[2] for row in stored(live_people.other_conversation)] == ["free"] if portably else ["bad", "free"]
    assert stored(conversation) == []
    holder.commit()
    sent = store([draft for draft in batch if draft.conversation_id == conversation.pk])
    assert [outcome.event.seq for outcome in sent if isinstance(outcome, Sent)] == [1, 2, 3]
    assert [row[2] for row in stored(conversation)] == ["one", "two", "three"]


@pytest.mark.parametrize("portably", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE accounts_user SET is_active = false WHERE username = 'student'",
        "UPDATE accounts_userprofile SET assigned_mentor_id = NULL WHERE full_name = 'Student'",
        "UPDATE accounts_userprofile SET role = 'TEACHER' WHERE full_name = 'Student'",
        "UPDATE accounts_userprofile SET role = 'STUDENT' WHERE full_name = 'Teacher'",
    ],
)
def test_who_may_write_is_decided_when_the_lock_is_held(
    live_people: People, holder: Holder, change: str, portably: bool
) -> None:
    """The sender waits for the conversation; meanwhile it is taken from them."""
    conversation, student = live_people.conversation, live_people.student
    batch = [entry(conversation, student, "too late"), entry(conversation, student, None if portably else "and later")]
    holder.lock(conversation)
    assert store(batch)[0] is None
    holder.execute(change)
    assert store(batch)[0] is None
    holder.commit()
    assert refusal(store(batch)[0]) == CLOSED
    assert stored(conversation) == []


def test_a_table_that_is_locked_fails_no_message(live_people: People, holder: Holder) -> None:
    """As for a moment by a migration: all of them are tried again, and a batch takes a few waits, not one for each."""
    holder.execute("LOCK TABLE chat_message")
    pairs = [(live_people.conversation, live_people.student), (live_people.other_conversation, live_people.trainer)]
    batch = [entry(*pairs[number % 2], str(number)) for number in range(60)]
    begin = time.monotonic()
    assert store(batch) == [None] * len(batch)
    assert time.monotonic() - begin < 3  # a wait of 0.1 s for each would be 6 s
    holder.commit()
    assert all(isinstance(outcome, Sent) for outcome in store(batch))
    assert [row[2] for row in stored(live_people.conversation)] == [str(number) for number in range(0, 60, 2)]
