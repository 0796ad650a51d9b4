"""The one write path: what a batch of messages stores, and what becomes of each of them."""

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import RoleChoices, User, UserProfile
from chat.models import Conversation, Message
from chat.store.batch import Sent, store
from tests.people import Cast, say
from tests.queries import at_once
from tests.service_results import CLOSED, UNAVAILABLE, entry, posted, reassign, refusal, stored


def test_a_batch_numbers_each_conversations_messages_in_the_order_they_came(cast: Cast) -> None:
    say(cast.conversation, cast.teacher, "one")
    before = timezone.now()
    outcomes = store(
        [
            entry(cast.conversation, cast.student, "two", "a"),
            entry(cast.other_conversation, cast.trainer, "one of theirs"),
            entry(cast.conversation, cast.teacher, "three"),
            entry(cast.other_conversation, cast.other_student, "two of theirs"),
            entry(cast.conversation, cast.student, "four"),
        ]
    )
    student, teacher = cast.student.pk, cast.teacher.pk
    assert stored(cast.conversation) == [
        (1, teacher, "one", None),
        (2, student, "two", "a"),
        (3, teacher, "three", None),
        (4, student, "four", None),
    ]
    assert stored(cast.other_conversation) == [
        (1, cast.trainer.pk, "one of theirs", None),
        (2, cast.other_student.pk, "two of theirs", None),
    ]
    by_content = {message.content: message for message in Message.objects.all()}
    contents = ["two", "one of theirs", "three", "two of theirs", "four"]
    ids = {"two": "a"}
    assert outcomes == [Sent(posted(by_content[text], ids.get(text)), created=True) for text in contents]
    for conversation, last in [(cast.conversation, 4), (cast.other_conversation, 2)]:
        row = Conversation.objects.get(pk=conversation.pk)
        assert row.last_seq == last
        assert before <= row.updated_at == row.messages.get(seq=last).timestamp


def test_a_client_id_repeated_in_a_batch_stores_once(cast: Cast) -> None:
    batch = [entry(cast.conversation, cast.student, text, "same") for text in ("first", "second", "third")]
    outcomes = store(batch)
    event = posted(Message.objects.get(), "same")
    assert event.message.content == "first"
    assert outcomes == [Sent(event, created=True), Sent(event, created=False), Sent(event, created=False)]
    assert Conversation.objects.get().last_seq == 1


def test_a_client_id_repeated_in_a_later_batch_stores_once(cast: Cast) -> None:
    store([entry(cast.conversation, cast.student, "first", "same")])
    event = posted(Message.objects.get(), "same")
    before = Conversation.objects.values().get()
    assert store([entry(cast.conversation, cast.student, "second", "same")]) == [Sent(event, created=False)]
    assert Conversation.objects.values().get() == before
    assert Message.objects.get().content == "first"


def test_a_repeated_client_id_is_answered_though_the_conversation_is_closed_by_now(cast: Cast) -> None:
    store([entry(cast.conversation, cast.student, "first", "same")])
    reassign(cast.student, cast.trainer)
    again = entry(cast.conversation, cast.student, "first", "same")
    assert store([again]) == [Sent(posted(Message.objects.get(), "same"), created=False)]


def test_one_client_id_in_batches_at_once_stores_once(live_cast: Cast) -> None:
    conversation = live_cast.conversation

    def writing(name: str) -> Callable[[], Any]:
        batch = [entry(conversation, live_cast.student, text, text) for text in (name, "same", f"{name} again")]
        return lambda: store(batch)

    outcomes = at_once(*[writing(name) for name in "abcd"])
    event = posted(conversation.messages.get(client_id="same"), "same")
    answers = [outcome[1] for outcome in outcomes]
    assert sorted(sent.created for sent in answers) == [False, False, False, True]
    assert [sent.event for sent in answers] == [event] * 4
    assert [row[0] for row in stored(conversation)] == list(range(1, 10))
    for before, _, after in outcomes:
        assert before.event.seq < after.event.seq


def test_each_draft_is_told_what_became_of_it_in_their_order(cast: Cast) -> None:
    store([entry(cast.conversation, cast.teacher, "one", "old")])
    outcomes = store(
        [
            entry(cast.conversation, cast.trainer, "not mine"),
            entry(cast.conversation, cast.student, "two", "new"),
            entry(cast.conversation, cast.teacher, "again", "old"),
            entry(cast.conversation, cast.teacher, "three"),
        ]
    )
    one, two, three = (posted(row, row.client_id) for row in cast.conversation.messages.order_by("seq"))
    assert [event.message.content for event in (one, two, three)] == ["one", "two", "three"]
    assert refusal(outcomes[0]) == CLOSED
    assert outcomes[1:] == [Sent(two, created=True), Sent(one, created=False), Sent(three, created=True)]


def test_a_repeat_in_a_batch_moves_nothing_behind_what_came_later(cast: Cast) -> None:
    store(
        [
            entry(cast.conversation, cast.student, "one", "a"),
            entry(cast.conversation, cast.student, "two"),
            entry(cast.conversation, cast.student, "one", "a"),
        ]
    )
    assert [row[2] for row in stored(cast.conversation)] == ["one", "two"]


def test_the_same_client_id_of_another_sender_or_conversation_is_another_message(cast: Cast) -> None:
    outcomes = store(
        [
            entry(cast.conversation, cast.student, "one", "same"),
            entry(cast.conversation, cast.teacher, "two", "same"),
            entry(cast.other_conversation, cast.trainer, "three", "same"),
        ]
    )
    rows = {message.content: message for message in Message.objects.all()}
    assert outcomes == [Sent(posted(rows[text], "same"), created=True) for text in ("one", "two", "three")]


def test_one_bad_row_fails_alone(live_cast: Cast) -> None:
    outcomes = store(
        [
            entry(live_cast.conversation, live_cast.student, "one", "a"),
            entry(live_cast.conversation, live_cast.student, None, "bad"),
            entry(live_cast.other_conversation, live_cast.trainer, "one of theirs"),
            entry(live_cast.conversation, live_cast.student, "two", "a"),
            entry(live_cast.conversation, live_cast.student, "two", "b"),
        ]
    )
    one, two = live_cast.conversation.messages.order_by("seq")
    theirs = live_cast.other_conversation.messages.get()
    assert (one.content, one.seq, two.content, two.seq) == ("one", 1, "two", 2)
    assert refusal(outcomes.pop(1)) == UNAVAILABLE
    assert outcomes == [
        Sent(posted(one, "a"), created=True),
        Sent(posted(theirs), created=True),
        Sent(posted(one, "a"), created=False),
        Sent(posted(two, "b"), created=True),
    ]
    assert Conversation.objects.get(pk=live_cast.conversation.pk).last_seq == 2


def test_a_conversation_that_vanished_is_closed_and_the_rest_is_stored(cast: Cast) -> None:
    lost = entry(cast.other_conversation, cast.trainer, "into nothing")
    cast.other_conversation.delete()
    outcomes = store([lost, entry(cast.conversation, cast.student, "one")])
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
def test_who_may_not_write_any_more_is_told_and_stores_nothing(cast: Cast, change: str, senders: list[str]) -> None:
    conversation = cast.conversation
    profiles = UserProfile.objects.all()
    match change:
        case "mentor changed":
            reassign(cast.student, cast.trainer)
        case "mentor removed":
            reassign(cast.student, None)
        case "student made a teacher":
            profiles.filter(user=cast.student).update(role=RoleChoices.TEACHER)
        case "teacher made a student":
            profiles.filter(user=cast.teacher).update(role=RoleChoices.STUDENT)
        case "sender deactivated":
            User.objects.filter(pk=cast.student.pk).update(is_active=False)
    batch = [entry(conversation, getattr(cast, sender), "let me in", "a") for sender in senders]
    batch.append(entry(cast.other_conversation, cast.trainer, "allowed"))
    *outcomes, allowed = store(batch)
    assert [refusal(outcome) for outcome in outcomes] == [CLOSED] * len(senders)
    assert allowed == Sent(posted(Message.objects.get()), created=True)
    assert Conversation.objects.get(pk=conversation.pk).last_seq == 0


def test_the_other_side_may_write_to_somebody_deactivated(cast: Cast) -> None:
    User.objects.filter(pk=cast.student.pk).update(is_active=False)
    outcomes = store([entry(cast.conversation, cast.teacher, "where are you?")])
    assert outcomes == [Sent(posted(Message.objects.get()), created=True)]
