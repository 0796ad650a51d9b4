"""The verbs: who has read how far, where a socket begins, which conversation a student has."""

from typing import Any

import pytest

from accounts.models import RoleChoices, User, UserProfile
from chat import services
from chat.errors import ClientError
from chat.models import Conversation
from tests.cast import Cast, conversation_of, fill, say
from tests.measure import at_once
from tests.outcomes import event_of, posted, reassign, told

NO_MENTOR = ("no_mentor", "No mentor is assigned.", 404, None, None)


def unread(conversation: Conversation) -> list[str]:
    return list(conversation.messages.filter(is_read=False).order_by("seq").values_list("content", flat=True))


def marks(conversation: Conversation) -> tuple[int, int]:
    return Conversation.objects.values_list("student_read_seq", "teacher_read_seq").get(pk=conversation.pk)


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
