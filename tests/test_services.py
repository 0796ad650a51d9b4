"""The verbs and the one write path: who has read how far, where a socket begins, what a batch stores."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import RoleChoices, User, UserProfile
from accounts.serializers import ProfileBody
from chat import services
from chat.batch import Draft, Sent, store
from chat.errors import ClientError, UnavailableError
from chat.events import MessagePosted
from chat.models import Conversation, Message
from chat.serializers import MessageBody
from tests.conftest import Cast, at_once, conversation_of, fill, make_user, profile_object, say

CLOSED = ("conversation_closed", "This conversation is closed.", 403, None, None)
NO_MENTOR = ("no_mentor", "No mentor is assigned.", 404, None, None)


def told(error: ClientError) -> tuple[Any, ...]:
    """Everything that a client is told by an error."""
    return error.code, error.text, error.status, error.field, error.retry_after


def unread(conversation: Conversation) -> list[str]:
    return list(conversation.messages.filter(is_read=False).order_by("seq").values_list("content", flat=True))


def marks(conversation: Conversation) -> tuple[int, int]:
    return Conversation.objects.values_list("student_read_seq", "teacher_read_seq").get(pk=conversation.pk)


def posted(message: Message, client_id: str | None = None) -> MessagePosted:
    """The event that tells of a stored message, from the database's row."""
    return event_of(Message.objects.select_related("sender__profile").get(pk=message.pk), client_id)


def event_of(message: Message, client_id: str | None = None) -> MessagePosted:
    body = MessageBody(
        id=message.pk,
        sender=message.sender_id,
        sender_profile=ProfileBody(**profile_object(message.sender)),
        content=message.content,
        timestamp=message.timestamp,
        is_read=message.is_read,
        is_own_message=False,
    )
    return MessagePosted(message.conversation_id, message.seq, body, client_id)


def reassign(student: User, mentor: User | None) -> None:
    UserProfile.objects.filter(user=student).update(assigned_mentor=mentor.profile if mentor else None)


# Reading.


def test_mark_read_marks_what_the_other_side_sent_and_moves_the_readers_mark(cast: Cast) -> None:
    say(cast.conversation, cast.student, "one", "two")
    say(cast.conversation, cast.teacher, "three")
    assert services.mark_read(conversation=cast.conversation, reader=cast.teacher) == 2
    assert unread(cast.conversation) == ["three"]
    assert marks(cast.conversation) == (0, 2)


def test_what_is_read_stays_read_and_is_not_counted_again(cast: Cast) -> None:
    say(cast.conversation, cast.student, "one", "two")
    services.mark_read(conversation=cast.conversation, reader=cast.teacher)
    assert services.mark_read(conversation=cast.conversation, reader=cast.teacher) == 0
    assert services.mark_read(conversation=cast.conversation, reader=cast.teacher, up_to=1) == 0
    assert marks(cast.conversation) == (0, 2)


def test_the_readers_mark_never_goes_back(cast: Cast) -> None:
    say(cast.conversation, cast.student, "one", "two")
    Conversation.objects.update(teacher_read_seq=2)
    assert services.mark_read(conversation=cast.conversation, reader=cast.teacher, up_to=1) == 1
    assert marks(cast.conversation) == (0, 2)


def test_mark_read_up_to_a_message_includes_it_and_leaves_what_is_newer(cast: Cast) -> None:
    _, second, _ = say(cast.conversation, cast.teacher, "one", "two", "three")
    read = {"conversation": cast.conversation, "reader": cast.student, "message_id": second.pk}
    assert services.mark_read_up_to(**read) == 2
    assert unread(cast.conversation) == ["three"]
    assert marks(cast.conversation) == (2, 0)
    assert services.mark_read_up_to(**read) == 0


def test_reading_up_to_ones_own_message_reads_what_was_said_before_it(cast: Cast) -> None:
    say(cast.conversation, cast.teacher, "one")
    (own,) = say(cast.conversation, cast.student, "two")
    say(cast.conversation, cast.teacher, "three")
    assert services.mark_read_up_to(conversation=cast.conversation, reader=cast.student, message_id=own.pk) == 1
    assert unread(cast.conversation) == ["two", "three"]
    assert marks(cast.conversation) == (1, 0)


def test_a_message_of_another_conversation_marks_nothing(cast: Cast) -> None:
    say(cast.conversation, cast.teacher, "one")
    (foreign,) = say(cast.other_conversation, cast.trainer, "theirs")
    for message_id in (foreign.pk, -1, 2**63 - 1):
        with pytest.raises(ClientError) as raised:
            services.mark_read_up_to(conversation=cast.conversation, reader=cast.student, message_id=message_id)
        assert told(raised.value) == ("message_not_found", "No such message in this conversation.", 404, None, None)
    assert unread(cast.conversation) == ["one"]
    assert unread(cast.other_conversation) == ["theirs"]


def test_two_who_mark_at_once_count_each_message_once(live_cast: Cast) -> None:
    conversation = live_cast.conversation
    say(conversation, live_cast.student, *"abcdefghij")
    counts = at_once(*[lambda: services.mark_read(conversation=conversation, reader=live_cast.teacher)] * 3)
    assert sum(counts) == 10
    assert marks(conversation) == (0, 10)


# Where a socket begins.


def entrance(cast: Cast, **changes: Any) -> services.Entrance:
    reads = {cast.student.pk: 0, cast.teacher.pk: 0}
    rest: dict[str, Any] = {"missed": [], "recovered": None, "read_up_to": None}
    return services.Entrance(**{"first": 0, "last": 0, "reads": reads} | rest | changes)


def enter(cast: Cast, **changes: Any) -> services.Entrance:
    arguments: dict[str, Any] = {"user": cast.student, "mark": False, "after": None}
    return services.enter(conversation=cast.conversation, **(arguments | changes))


def test_a_socket_of_an_empty_conversation_begins_at_zero(cast: Cast) -> None:
    assert enter(cast, mark=True) == entrance(cast)


def test_a_socket_begins_after_what_is_stored(cast: Cast) -> None:
    say(cast.conversation, cast.teacher, "one", "two")
    assert enter(cast) == entrance(cast, first=2, last=2)
    assert unread(cast.conversation) == ["one", "two"]


def test_entering_marks_what_the_other_side_sent_as_read(cast: Cast) -> None:
    say(cast.conversation, cast.teacher, "one", "two")
    say(cast.conversation, cast.student, "three")
    reads = {cast.student.pk: 2, cast.teacher.pk: 0}
    assert enter(cast, mark=True) == entrance(cast, first=3, last=3, reads=reads)
    assert unread(cast.conversation) == ["three"]


def test_resuming_replays_what_came_after_the_message_in_order(cast: Cast) -> None:
    first, *_ = say(cast.conversation, cast.student, "one", "two")
    say(cast.conversation, cast.teacher, "three")
    missed = [posted(message) for message in cast.conversation.messages.filter(seq__gt=1).order_by("seq")]
    assert [event.message.content for event in missed] == ["two", "three"]
    assert enter(cast, after=first.pk) == entrance(cast, first=1, last=3, missed=missed, recovered=True)


def test_resuming_after_the_newest_message_replays_nothing(cast: Cast) -> None:
    *_, last = say(cast.conversation, cast.teacher, "one", "two")
    assert enter(cast, after=last.pk) == entrance(cast, first=2, last=2, recovered=True)


def test_resuming_tells_the_newest_own_message_that_the_other_side_has_read(cast: Cast) -> None:
    _, second = say(cast.conversation, cast.student, "one", "two")
    services.mark_read(conversation=cast.conversation, reader=cast.teacher)
    *_, last = say(cast.conversation, cast.student, "three")
    reads = {cast.student.pk: 0, cast.teacher.pk: 2}
    expected = entrance(cast, first=3, last=3, reads=reads, recovered=True, read_up_to=second.pk)
    assert enter(cast, after=last.pk) == expected


def test_resuming_shows_as_read_what_entering_has_just_marked(cast: Cast) -> None:
    (own,) = say(cast.conversation, cast.student, "one")
    say(cast.conversation, cast.teacher, "two")
    entered = enter(cast, mark=True, after=own.pk)
    assert [event.message.is_read for event in entered.missed] == [True]


@pytest.mark.parametrize("after", ["foreign", "erased", -1, 2**63 - 1])
def test_resuming_after_what_is_no_message_of_the_conversation_replays_nothing(cast: Cast, after: int | str) -> None:
    say(cast.conversation, cast.teacher, "one", "two")
    erased = say(cast.conversation, cast.teacher, "three")[0]
    ids: dict[Any, int] = {"foreign": say(cast.other_conversation, cast.trainer, "theirs")[0].pk, "erased": erased.pk}
    erased.delete()
    assert enter(cast, after=ids.get(after, after)) == entrance(cast, first=3, last=3, recovered=False)


def test_at_most_500_missed_messages_are_replayed(cast: Cast) -> None:
    first, second, *_ = fill(cast.conversation, 502)
    assert enter(cast, after=first.pk) == entrance(cast, first=502, last=502, recovered=False)
    rows = cast.conversation.messages.select_related("sender__profile").filter(seq__gt=2).order_by("seq")
    missed = [event_of(message) for message in rows]
    assert len(missed) == 500
    assert enter(cast, after=second.pk) == entrance(cast, first=2, last=502, missed=missed, recovered=True)


# The student's conversation.


def test_a_students_conversation_is_made_at_the_first_use_and_found_at_the_next(cast: Cast) -> None:
    made = services.student_conversation(user=cast.student)
    assert (made.student, made.teacher) == (cast.student.profile, cast.teacher.profile)
    assert services.student_conversation(user=cast.student) == made == Conversation.objects.get()


@pytest.mark.parametrize("loaded", ["before", "after"])
@pytest.mark.parametrize("old_exists", [True, False])
@pytest.mark.parametrize("new_exists", [True, False])
def test_after_a_change_of_mentor_the_student_has_the_conversation_with_the_new_one(
    cast: Cast, loaded: str, old_exists: bool, new_exists: bool
) -> None:
    if old_exists:
        services.student_conversation(user=cast.student)
    reassign(cast.student, cast.trainer)
    if new_exists:
        conversation_of(cast.student, cast.trainer)
    user = cast.student if loaded == "before" else User.objects.get(pk=cast.student.pk)
    conversation = services.student_conversation(user=user)
    assert (conversation.student, conversation.teacher) == (cast.student.profile, cast.trainer.profile)
    assert conversation.is_active
    assert Conversation.objects.count() == 1 + old_exists


@pytest.mark.parametrize("loaded", ["before", "after"])
@pytest.mark.parametrize("old_exists", [True, False])
@pytest.mark.parametrize("change", ["mentor removed", "mentor made a student"])
def test_without_a_mentor_the_student_has_no_conversation_and_none_is_made(
    cast: Cast, loaded: str, old_exists: bool, change: str
) -> None:
    if old_exists:
        services.student_conversation(user=cast.student)
    if change == "mentor removed":
        reassign(cast.student, None)
    else:
        UserProfile.objects.filter(user=cast.teacher).update(role=RoleChoices.STUDENT)
    user = cast.student if loaded == "before" else User.objects.get(pk=cast.student.pk)
    with pytest.raises(ClientError) as raised:
        services.student_conversation(user=user)
    assert told(raised.value) == NO_MENTOR
    assert Conversation.objects.count() == old_exists


# Batches of the writer.

EntryOf = Callable[..., Draft]


@pytest.fixture
def entry() -> EntryOf:
    """A message that waits to be stored."""

    def waiting(conversation: Conversation, sender: User, content: Any, client_id: str | None = None) -> Draft:
        return Draft(conversation.pk, sender.pk, content, client_id)

    return waiting


def stored(conversation: Conversation) -> list[tuple[int, int, str, str | None]]:
    rows = Message.objects.filter(conversation_id=conversation.pk).order_by("seq")
    return list(rows.values_list("seq", "sender", "content", "client_id"))


def refusal(outcome: Sent | ClientError) -> tuple[Any, ...]:
    assert isinstance(outcome, ClientError)
    return told(outcome)


def test_a_batch_numbers_each_conversations_messages_in_the_order_they_came(cast: Cast, entry: EntryOf) -> None:
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


def test_a_client_id_repeated_in_a_batch_stores_once(cast: Cast, entry: EntryOf) -> None:
    batch = [entry(cast.conversation, cast.student, text, "same") for text in ("first", "second", "third")]
    outcomes = store(batch)
    event = posted(Message.objects.get(), "same")
    assert event.message.content == "first"
    assert outcomes == [Sent(event, created=True), Sent(event, created=False), Sent(event, created=False)]
    assert Conversation.objects.get().last_seq == 1


def test_a_client_id_repeated_in_a_later_batch_stores_once(cast: Cast, entry: EntryOf) -> None:
    store([entry(cast.conversation, cast.student, "first", "same")])
    event = posted(Message.objects.get(), "same")
    before = Conversation.objects.values().get()
    assert store([entry(cast.conversation, cast.student, "second", "same")]) == [Sent(event, created=False)]
    assert Conversation.objects.values().get() == before
    assert Message.objects.get().content == "first"


def test_a_repeated_client_id_is_answered_though_the_conversation_is_closed_by_now(cast: Cast, entry: EntryOf) -> None:
    store([entry(cast.conversation, cast.student, "first", "same")])
    reassign(cast.student, cast.trainer)
    again = entry(cast.conversation, cast.student, "first", "same")
    assert store([again]) == [Sent(posted(Message.objects.get(), "same"), created=False)]


def test_one_client_id_in_batches_at_once_stores_once(live_cast: Cast, entry: EntryOf) -> None:
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


def test_each_draft_is_told_what_became_of_it_in_their_order(cast: Cast, entry: EntryOf) -> None:
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


@pytest.mark.xfail(
    connection.vendor == "postgresql", strict=True, reason="the one statement numbers a repeated draft at its repeat"
)
def test_a_repeat_in_a_batch_moves_nothing_behind_what_came_later(cast: Cast, entry: EntryOf) -> None:
    store(
        [
            entry(cast.conversation, cast.student, "one", "a"),
            entry(cast.conversation, cast.student, "two"),
            entry(cast.conversation, cast.student, "one", "a"),
        ]
    )
    assert [row[2] for row in stored(cast.conversation)] == ["one", "two"]


def test_the_same_client_id_of_another_sender_or_conversation_is_another_message(cast: Cast, entry: EntryOf) -> None:
    outcomes = store(
        [
            entry(cast.conversation, cast.student, "one", "same"),
            entry(cast.conversation, cast.teacher, "two", "same"),
            entry(cast.other_conversation, cast.trainer, "three", "same"),
        ]
    )
    rows = {message.content: message for message in Message.objects.all()}
    assert outcomes == [Sent(posted(rows[text], "same"), created=True) for text in ("one", "two", "three")]


def test_one_bad_row_fails_alone(live_cast: Cast, entry: EntryOf) -> None:
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
    assert refusal(outcomes.pop(1)) == (
        "temporarily_unavailable",
        "Temporarily unavailable. Try again.",
        503,
        None,
        None,
    )
    assert outcomes == [
        Sent(posted(one, "a"), created=True),
        Sent(posted(theirs), created=True),
        Sent(posted(one, "a"), created=False),
        Sent(posted(two, "b"), created=True),
    ]
    assert Conversation.objects.get(pk=live_cast.conversation.pk).last_seq == 2


def test_a_conversation_that_vanished_is_closed_and_the_rest_is_stored(cast: Cast, entry: EntryOf) -> None:
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
def test_who_may_not_write_any_more_is_told_and_stores_nothing(
    cast: Cast, entry: EntryOf, change: str, senders: list[str]
) -> None:
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


def test_the_other_side_may_write_to_somebody_deactivated(cast: Cast, entry: EntryOf) -> None:
    User.objects.filter(pk=cast.student.pk).update(is_active=False)
    outcomes = store([entry(cast.conversation, cast.teacher, "where are you?")])
    assert outcomes == [Sent(posted(Message.objects.get()), created=True)]


def test_a_batch_that_nobody_waits_for_is_rolled_back(cast: Cast, entry: EntryOf) -> None:
    batch = [entry(cast.conversation, cast.student, text) for text in ("one", "two")]
    for given_up in batch:
        given_up.given_up = True
    with pytest.raises(UnavailableError):
        store(batch)
    assert stored(cast.conversation) == []
    assert cast.conversation.last_seq == 0


def test_processes_that_write_to_the_same_conversations_at_once_never_lock_each_other_out(
    live_cast: Cast, entry: EntryOf
) -> None:
    students = [make_user(f"pupil{number}", RoleChoices.STUDENT, mentor=live_cast.teacher) for number in range(5)]
    conversations = [conversation_of(student, live_cast.teacher) for student in students]

    def writing(order: list[Conversation]) -> Callable[[], list[Any]]:
        batches = [[entry(conversation, live_cast.teacher, "all") for conversation in order] for _ in range(5)]
        return lambda: [store(batch) for batch in batches]

    at_once(writing(conversations), writing(conversations[::-1]))
    for conversation in conversations:
        assert [row[0] for row in stored(conversation)] == list(range(1, 11))
