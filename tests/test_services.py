"""The services: marking as read, and the conversation of a student."""

from functools import partial

import pytest

from accounts.models import RoleChoices, User, UserProfile
from chat import services
from chat.errors import ClientError
from chat.models import Conversation
from tests.people import People, conversation_of, say
from tests.queries import at_once
from tests.service_results import reassign, told, unread

NO_MENTOR = ("no_mentor", "No mentor is assigned.", 404, None, None)


def marks(conversation: Conversation) -> tuple[int, int]:
    return Conversation.objects.values_list("student_read_seq", "teacher_read_seq").get(pk=conversation.pk)


# Reading.


def test_mark_read_marks_what_the_other_side_sent_and_moves_the_readers_mark(people: People) -> None:
    say(people.conversation, people.student, "one", "two")
    say(people.conversation, people.teacher, "three")
    assert services.mark_read(conversation=people.conversation, reader=people.teacher) == 2
    assert unread(people.conversation) == ["three"]
    assert marks(people.conversation) == (0, 2)


def test_what_is_read_stays_read_and_is_not_counted_again(people: People) -> None:
    say(people.conversation, people.student, "one", "two")
    services.mark_read(conversation=people.conversation, reader=people.teacher)
    assert services.mark_read(conversation=people.conversation, reader=people.teacher) == 0
    assert services.mark_read(conversation=people.conversation, reader=people.teacher, up_to=1) == 0
    assert marks(people.conversation) == (0, 2)


def test_the_read_position_never_moves_back(people: People) -> None:
    say(people.conversation, people.student, "one", "two")
    Conversation.objects.update(teacher_read_seq=2)
    assert services.mark_read(conversation=people.conversation, reader=people.teacher, up_to=1) == 1
    assert marks(people.conversation) == (0, 2)


def test_mark_read_up_to_a_message_includes_it_and_leaves_what_is_newer(people: People) -> None:
    _, second, _ = say(people.conversation, people.teacher, "one", "two", "three")
    read = partial(
        services.mark_read_up_to, conversation=people.conversation, reader=people.student, message_id=second.pk
    )
    assert read() == 2
    assert unread(people.conversation) == ["three"]
    assert marks(people.conversation) == (2, 0)
    assert read() == 0


def test_reading_up_to_ones_own_message_reads_what_was_said_before_it(people: People) -> None:
    say(people.conversation, people.teacher, "one")
    (own,) = say(people.conversation, people.student, "two")
    say(people.conversation, people.teacher, "three")
    assert services.mark_read_up_to(conversation=people.conversation, reader=people.student, message_id=own.pk) == 1
    assert unread(people.conversation) == ["two", "three"]
    assert marks(people.conversation) == (1, 0)


def test_a_message_of_another_conversation_marks_nothing(people: People) -> None:
    say(people.conversation, people.teacher, "one")
    (foreign,) = say(people.other_conversation, people.trainer, "theirs")
    for message_id in (foreign.pk, -1, 2**63 - 1):
        with pytest.raises(ClientError) as raised:
            services.mark_read_up_to(conversation=people.conversation, reader=people.student, message_id=message_id)
        assert told(raised.value) == ("message_not_found", "No such message in this conversation.", 404, None, None)
    assert unread(people.conversation) == ["one"]
    assert unread(people.other_conversation) == ["theirs"]


def test_concurrent_marks_count_each_message_once(live_people: People) -> None:
    conversation = live_people.conversation
    say(conversation, live_people.student, *"abcdefghij")
    counts = at_once(*[lambda: services.mark_read(conversation=conversation, reader=live_people.teacher)] * 3)
    assert sum(counts) == 10
    assert marks(conversation) == (0, 10)


# The student's conversation.


def test_a_students_conversation_is_made_at_the_first_use_and_found_at_the_next(people: People) -> None:
    made = services.student_conversation(user=people.student)
    assert (made.student, made.teacher) == (people.student.profile, people.teacher.profile)
    assert services.student_conversation(user=people.student) == made == Conversation.objects.get()


@pytest.mark.parametrize("loaded", ["before", "after"])
@pytest.mark.parametrize("old_exists", [True, False])
@pytest.mark.parametrize("new_exists", [True, False])
def test_after_a_change_of_mentor_the_student_has_the_conversation_with_the_new_one(
    people: People, loaded: str, old_exists: bool, new_exists: bool
) -> None:
    if old_exists:
        services.student_conversation(user=people.student)
    reassign(people.student, people.trainer)
    if new_exists:
        conversation_of(people.student, people.trainer)
    user = people.student if loaded == "before" else User.objects.get(pk=people.student.pk)
    conversation = services.student_conversation(user=user)
    assert (conversation.student, conversation.teacher) == (people.student.profile, people.trainer.profile)
    assert conversation.is_active
    assert Conversation.objects.count() == 1 + old_exists


@pytest.mark.parametrize("loaded", ["before", "after"])
@pytest.mark.parametrize("old_exists", [True, False])
@pytest.mark.parametrize("change", ["mentor removed", "mentor made a student"])
def test_a_student_without_a_mentor_gets_no_conversation(
    people: People, loaded: str, old_exists: bool, change: str
) -> None:
    if old_exists:
        services.student_conversation(user=people.student)
    if change == "mentor removed":
        reassign(people.student, None)
    else:
        UserProfile.objects.filter(user=people.teacher).update(role=RoleChoices.STUDENT)
    user = people.student if loaded == "before" else User.objects.get(pk=people.student.pk)
    with pytest.raises(ClientError) as raised:
        services.student_conversation(user=user)
    assert told(raised.value) == NO_MENTOR
    assert Conversation.objects.count() == old_exists
