"""The write path: what a batch of messages stores, and the result of each message."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import RoleChoices, User, UserProfile
from chat.models import Conversation, Message
from chat.store.drafts import Sent
from tests.people import People, say
from tests.queries import at_once
from tests.service_results import CLOSED, UNAVAILABLE, entry, posted, reassign, refusal, store, store_all, stored

SAME_CLOCK = timedelta(minutes=1)


@pytest.fixture
def people(live_people: People) -> People:
    """What the writer stores is committed, and it sees only what is."""
    return live_people


def test_a_batch_numbers_each_conversations_messages_in_the_order_they_came(people: People) -> None:
    say(people.conversation, people.teacher, "one")
    before = timezone.now()
    outcomes = store(
        [
            entry(people.conversation, people.student, "two", "a"),
            entry(people.other_conversation, people.trainer, "one of theirs"),
            entry(people.conversation, people.teacher, "three"),
            entry(people.other_conversation, people.other_student, "two of theirs"),
            entry(people.conversation, people.student, "four"),
        ]
    )
    student, teacher = people.student.pk, people.teacher.pk
    assert stored(people.conversation) == [
        (1, teacher, "one", None),
        (2, student, "two", "a"),
        (3, teacher, "three", None),
        (4, student, "four", None),
    ]
    assert stored(people.other_conversation) == [
        (1, people.trainer.pk, "one of theirs", None),
        (2, people.other_student.pk, "two of theirs", None),
    ]
    by_content = {message.content: message for message in Message.objects.all()}
    contents = ["two", "one of theirs", "three", "two of theirs", "four"]
    ids = {"two": "a"}
    assert outcomes == [Sent(posted(by_content[text], ids.get(text)), created=True) for text in contents]
    for conversation, last in [(people.conversation, 4), (people.other_conversation, 2)]:
        row = Conversation.objects.get(pk=conversation.pk)
        assert row.last_seq == last
        assert before <= row.updated_at == row.messages.get(seq=last).timestamp


@pytest.mark.parametrize("portably", [False, True])
def test_the_times_of_a_conversation_do_not_go_back(live_people: People, portably: bool) -> None:
    """Whichever clock was ahead: another host's, or that of the database before a fail-over."""
    conversation, ahead = live_people.conversation, timezone.now() + timedelta(minutes=5)
    Conversation.objects.filter(pk=conversation.pk).update(updated_at=ahead)
    others = [entry(live_people.other_conversation, live_people.trainer, "free")]
    others += [entry(live_people.other_conversation, live_people.trainer, None)] if portably else []
    answer, free, *_ = store([entry(conversation, live_people.student, "answer"), *others])
    assert isinstance(answer, Sent)
    assert isinstance(free, Sent)
    assert answer.event.message.timestamp == ahead == Conversation.objects.get(pk=conversation.pk).updated_at
    assert free.event.message.timestamp < ahead
    assert [answer.event, free.event] == [posted(message) for message in Message.objects.order_by("-timestamp")]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite is a part of the process")
@pytest.mark.parametrize("portably", [False, True])
def test_the_time_of_a_message_is_that_of_the_database(
    live_people: People, monkeypatch: pytest.MonkeyPatch, portably: bool
) -> None:
    conversation, before = live_people.conversation, timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: before + timedelta(minutes=5))  # this host's clock
    store([entry(conversation, live_people.student, text) for text in ("one", None if portably else "two")])
    say(conversation, live_people.teacher, "by the ORM")
    for message in Message.objects.all():
        assert before - SAME_CLOCK < message.timestamp < before + SAME_CLOCK
    assert conversation.created_at < before + SAME_CLOCK


def test_a_client_id_repeated_in_a_batch_stores_once(people: People) -> None:
    batch = [entry(people.conversation, people.student, text, "same") for text in ("first", "second", "third")]
    outcomes = store(batch)
    event = posted(Message.objects.get(), "same")
    assert event.message.content == "first"
    assert outcomes == [Sent(event, created=True), Sent(event, created=False), Sent(event, created=False)]
    assert Conversation.objects.get().last_seq == 1


def test_a_client_id_repeated_in_a_later_batch_stores_once(people: People) -> None:
    store([entry(people.conversation, people.student, "first", "same")])
    event = posted(Message.objects.get(), "same")
    before = Conversation.objects.values().get()
    assert store([entry(people.conversation, people.student, "second", "same")]) == [Sent(event, created=False)]
    assert Conversation.objects.values().get() == before
    assert Message.objects.get().content == "first"


def test_a_repeated_client_id_is_answered_even_if_the_conversation_has_closed(people: People) -> None:
    store([entry(people.conversation, people.student, "first", "same")])
    reassign(people.student, people.trainer)
    again = entry(people.conversation, people.student, "first", "same")
    assert store([again]) == [Sent(posted(Message.objects.get(), "same"), created=False)]


def test_one_client_id_in_batches_at_once_stores_once(live_people: People) -> None:
    conversation = live_people.conversation

    def writing(name: str) -> Callable[[], Any]:
        batch = [entry(conversation, live_people.student, text, text) for text in (name, "same", f"{name} again")]
        return lambda: store_all(batch)

    outcomes = at_once(*[writing(name) for name in "abcd"])
    event = posted(conversation.messages.get(client_id="same"), "same")
    answers = [outcome[1] for outcome in outcomes]
    assert sorted(sent.created for sent in answers) == [False, False, False, True]
    assert [sent.event for sent in answers] == [event] * 4
    assert [row[0] for row in stored(conversation)] == list(range(1, 10))
    for before, _, after in outcomes:
        assert before.event.seq < after.event.seq


def test_each_draft_gets_its_result_in_order(people: People) -> None:
    store([entry(people.conversation, people.teacher, "one", "old")])
    outcomes = store(
        [
            entry(people.conversation, people.trainer, "not mine"),
            entry(people.conversation, people.student, "two", "new"),
            entry(people.conversation, people.teacher, "again", "old"),
            entry(people.conversation, people.teacher, "three"),
        ]
    )
    one, two, three = (posted(row, row.client_id) for row in people.conversation.messages.order_by("seq"))
    assert [event.message.content for event in (one, two, three)] == ["one", "two", "three"]
    assert refusal(outcomes[0]) == CLOSED
    assert outcomes[1:] == [Sent(two, created=True), Sent(one, created=False), Sent(three, created=True)]


def test_a_repeat_does_not_change_the_order_of_a_batch(people: People) -> None:
    store(
        [
            entry(people.conversation, people.student, "one", "a"),
            entry(people.conversation, people.student, "two"),
            entry(people.conversation, people.student, "one", "a"),
        ]
    )
    assert [row[2] for row in stored(people.conversation)] == ["one", "two"]


def test_the_same_client_id_of_another_sender_or_conversation_is_another_message(people: People) -> None:
    outcomes = store(
        [
            entry(people.conversation, people.student, "one", "same"),
            entry(people.conversation, people.teacher, "two", "same"),
            entry(people.other_conversation, people.trainer, "three", "same"),
        ]
    )
    rows = {message.content: message for message in Message.objects.all()}
    assert outcomes == [Sent(posted(rows[text], "same"), created=True) for text in ("one", "two", "three")]


def test_one_bad_row_fails_alone(live_people: People) -> None:
    outcomes = store(
        [
            entry(live_people.conversation, live_people.student, "one", "a"),
            entry(live_people.conversation, live_people.student, None, "bad"),
            entry(live_people.other_conversation, live_people.trainer, "one of theirs"),
            entry(live_people.conversation, live_people.student, "two", "a"),
            entry(live_people.conversation, live_people.student, "two", "b"),
        ]
    )
    one, two = live_people.conversation.messages.order_by("seq")
    theirs = live_people.other_conversation.messages.get()
    assert (one.content, one.seq, two.content, two.seq) == ("one", 1, "two", 2)
    assert refusal(outcomes.pop(1)) == UNAVAILABLE
    assert outcomes == [
        Sent(posted(one, "a"), created=True),
        Sent(posted(theirs), created=True),
        Sent(posted(one, "a"), created=False),
        Sent(posted(two, "b"), created=True),
    ]
    assert Conversation.objects.get(pk=live_people.conversation.pk).last_seq == 2


def test_a_deleted_conversation_is_refused_and_the_rest_is_stored(people: People) -> None:
    lost = entry(people.other_conversation, people.trainer, "into nothing")
    people.other_conversation.delete()
    outcomes = store([lost, entry(people.conversation, people.student, "one")])
    assert refusal(outcomes[0]) == CLOSED
    assert outcomes[1:] == [Sent(posted(Message.objects.get()), created=True)]


@pytest.mark.parametrize(
    ("change", "senders"),
    [
        ("mentor changed", ["student", "teacher"]),
        ("mentor removed", ["student", "teacher"]),
        ("student made a teacher", ["student", "teacher"]),
        ("teacher made a student", ["student", "teacher"]),
        ("sender deactivated", ["student"]),
        ("nothing", ["other_student", "trainer", "admin", "stranger"]),
    ],
)
def test_a_sender_without_write_access_is_refused(people: People, change: str, senders: list[str]) -> None:
    conversation = people.conversation
    profiles = UserProfile.objects.all()
    match change:
        case "mentor changed":
            reassign(people.student, people.trainer)
        case "mentor removed":
            reassign(people.student, None)
        case "student made a teacher":
            profiles.filter(user=people.student).update(role=RoleChoices.TEACHER)
        case "teacher made a student":
            profiles.filter(user=people.teacher).update(role=RoleChoices.STUDENT)
        case "sender deactivated":
            User.objects.filter(pk=people.student.pk).update(is_active=False)
    batch = [entry(conversation, getattr(people, sender), "let me in", "a") for sender in senders]
    batch.append(entry(people.other_conversation, people.trainer, "allowed"))
    *outcomes, allowed = store(batch)
    assert [refusal(outcome) for outcome in outcomes] == [CLOSED] * len(senders)
    assert allowed == Sent(posted(Message.objects.get()), created=True)
    assert Conversation.objects.get(pk=conversation.pk).last_seq == 0


def test_the_other_side_may_write_to_somebody_deactivated(people: People) -> None:
    User.objects.filter(pk=people.student.pk).update(is_active=False)
    outcomes = store([entry(people.conversation, people.teacher, "where are you?")])
    assert outcomes == [Sent(posted(Message.objects.get()), created=True)]
