"""Models: message numbers, one conversation for each pair, mentors."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.utils import timezone

from accounts.models import RoleChoices, UserProfile
from chat.models import Conversation, Message
from tests.people import People, conversation_of, make_user, say
from tests.queries import at_once

COUNTERS = ("last_seq", "student_read_seq", "teacher_read_seq", "updated_at", "waiting_since", "answered_seq")


def counters(conversation: Conversation) -> tuple[Any, ...]:
    return Conversation.objects.values_list(*COUNTERS).get(pk=conversation.pk)


def seqs(conversation: Conversation) -> list[int]:
    return list(conversation.messages.order_by("pk").values_list("seq", flat=True))


def test_messages_are_numbered_per_conversation_from_1(people: People) -> None:
    say(people.conversation, people.student, "one")
    say(people.other_conversation, people.trainer, "one of theirs")
    say(people.conversation, people.teacher, "two", "three")
    assert seqs(people.conversation) == [1, 2, 3]
    assert seqs(people.other_conversation) == [1]


def test_a_message_moves_the_conversations_counters_and_nothing_else(people: People) -> None:
    moment = datetime(2030, 1, 2, 3, 4, 5, 678901, UTC)
    conversation = people.conversation
    message = Message.objects.create(
        conversation=conversation, sender=people.student, content="later", timestamp=moment, client_id="a"
    )
    assert counters(conversation) == (1, 0, 0, moment, moment, 0)
    assert Message.objects.values().get() == {
        "id": message.pk,
        "conversation_id": conversation.pk,
        "sender_id": people.student.pk,
        "content": "later",
        "timestamp": moment,
        "is_read": False,
        "seq": 1,
        "client_id": "a",
        "is_erased": False,
        "search_text": "later",
    }


def test_saving_a_message_again_leaves_its_number(people: People) -> None:
    message, _ = say(people.conversation, people.student, "one", "two")
    message.is_read = True
    message.save()
    assert seqs(people.conversation) == [1, 2]
    assert counters(people.conversation)[0] == 2


def test_a_message_that_cannot_be_stored_takes_no_number(live_people: People) -> None:
    fields: dict[str, Any] = {
        "conversation": live_people.conversation,
        "sender": live_people.student,
        "client_id": "same",
    }
    Message.objects.create(content="first", **fields)
    with pytest.raises(IntegrityError):
        Message.objects.create(content="second", **fields)
    assert counters(live_people.conversation)[0] == 1
    say(live_people.conversation, live_people.student, "next")
    assert seqs(live_people.conversation) == [1, 2]


def test_the_number_of_a_deleted_message_is_never_reused(people: People) -> None:
    say(people.conversation, people.student, "one", "two")[-1].delete()
    say(people.conversation, people.student, "three")
    assert seqs(people.conversation) == [1, 3]


def test_messages_created_at_once_get_different_numbers(live_people: People) -> None:
    conversation = live_people.conversation
    people = [live_people.student, live_people.teacher] * 2
    at_once(*[lambda person=person: say(conversation, person, *"abcdefghij") for person in people])
    assert sorted(seqs(conversation)) == list(range(1, 41))
    assert counters(conversation)[0] == 40


def test_a_pair_has_one_conversation(people: People) -> None:
    pair = {"student_profile": people.student.profile, "teacher_profile": people.teacher.profile}
    first, made = Conversation.get_or_create_conversation(**pair)
    again, made_again = Conversation.get_or_create_conversation(**pair)
    assert (made, made_again) == (True, False)
    assert first == again == Conversation.objects.get()
    assert (again.student, again.teacher) == (people.student.profile, people.teacher.profile)


def test_the_pair_may_be_passed_by_position(people: People) -> None:
    pair = (people.student.profile, people.teacher.profile)
    conversation, made = Conversation.get_or_create_conversation(*pair)
    assert made
    assert Conversation.get_or_create_conversation(*pair) == (conversation, False)
    assert (conversation.student, conversation.teacher) == pair
    stored = Conversation.objects.get()
    assert (conversation.created_at, conversation.updated_at) == (stored.created_at, stored.updated_at)


def test_a_message_is_never_older_than_the_one_before(people: People) -> None:
    """As after a fail-over to a server whose clock is behind; a time that is given is kept."""
    conversation, ahead = people.conversation, timezone.now() + timedelta(minutes=5)
    Conversation.objects.update(updated_at=ahead)
    (answer,) = say(conversation, people.teacher, "answer")
    assert answer.timestamp == ahead == Message.objects.get().timestamp == Conversation.objects.get().updated_at
    given = Message.objects.create(
        conversation=conversation, sender=people.teacher, content="of last year", timestamp=ahead - timedelta(days=365)
    )
    assert given.timestamp == ahead - timedelta(days=365)
    assert Conversation.objects.get().updated_at == ahead


def test_concurrent_calls_return_the_same_conversation(live_people: People) -> None:
    pair = {"student_profile": live_people.student.profile, "teacher_profile": live_people.teacher.profile}
    answers = at_once(*[lambda: Conversation.get_or_create_conversation(**pair)] * 4)
    assert sorted(made for _, made in answers) == [False, False, False, True]
    assert {conversation.pk for conversation, _ in answers} == {Conversation.objects.get().pk}


def test_a_pair_cannot_have_two_rows(people: People) -> None:
    pair = {"student": people.student.profile, "teacher": people.teacher.profile}
    Conversation.objects.create(**pair)
    with pytest.raises(IntegrityError):
        Conversation.objects.create(**pair)


def test_a_number_cannot_be_used_twice(people: People) -> None:
    (message,) = say(people.conversation, people.student, "one")
    with pytest.raises(IntegrityError):
        Message.objects.create(conversation=people.conversation, sender=people.teacher, content="x", seq=message.seq)


def test_a_client_id_is_unique_per_sender_and_conversation(people: People) -> None:
    elsewhere = conversation_of(people.student, people.trainer)
    for conversation, sender in [
        (people.conversation, people.student),
        (people.conversation, people.teacher),
        (elsewhere, people.student),
    ]:
        Message.objects.create(conversation=conversation, sender=sender, content="x", client_id="same")
    assert Message.objects.filter(client_id="same").count() == 3


def test_messages_without_a_client_id_never_clash(people: People) -> None:
    say(people.conversation, people.student, "x", "x", "x")
    assert Message.objects.filter(client_id=None).count() == 3


@pytest.mark.parametrize(
    ("changed", "fields", "is_active"),
    [
        ("student", {}, True),
        ("student", {"assigned_mentor": None}, False),
        ("student", {"assigned_mentor": "trainer"}, False),
        ("student", {"role": RoleChoices.TEACHER}, False),
        ("student", {"role": RoleChoices.ADMIN}, False),
        ("teacher", {"role": RoleChoices.TRAINER}, True),
        ("teacher", {"role": RoleChoices.STUDENT}, False),
        ("teacher", {"role": RoleChoices.ADMIN}, False),
    ],
)
def test_a_conversation_is_active_while_its_teacher_mentors_its_student(
    people: People, changed: str, fields: dict[str, Any], is_active: bool
) -> None:
    conversation = people.conversation
    fields = fields | ({"assigned_mentor": people.trainer.profile} if fields.get("assigned_mentor") else {})
    UserProfile.objects.filter(user=getattr(people, changed)).update(**fields)
    assert Conversation.objects.with_people().get(pk=conversation.pk).is_active is is_active


def test_a_mentor_assigned_again_makes_the_old_conversation_active_again(people: People) -> None:
    conversation = people.conversation
    student = UserProfile.objects.filter(user=people.student)
    student.update(assigned_mentor=people.trainer.profile)
    student.update(assigned_mentor=people.teacher.profile)
    pair = {"student_profile": student.get(), "teacher_profile": people.teacher.profile}
    assert Conversation.get_or_create_conversation(**pair) == (conversation, False)
    assert Conversation.objects.get().is_active


def test_saving_a_stale_conversation_does_not_reset_its_counters(people: People) -> None:
    stale = Conversation.objects.get(pk=people.conversation.pk)
    say(people.conversation, people.student, "one", "two")
    Conversation.objects.filter(pk=stale.pk).update(student_read_seq=1, teacher_read_seq=2)
    before = counters(stale)
    stale.save()
    assert counters(stale) == before
    assert before[:3] == (2, 1, 2)


def test_saving_a_conversation_stores_what_else_was_changed(people: People) -> None:
    conversation = people.conversation
    conversation.teacher = people.trainer.profile
    conversation.save()
    assert Conversation.objects.get().teacher == people.trainer.profile


def test_conversation_members_are_checked_by_current_role(people: People) -> None:
    conversation = people.conversation
    assert conversation.member(people.student.pk) == people.student.profile
    assert conversation.member(people.teacher.pk) == people.teacher.profile
    for stranger in (people.trainer, people.other_student, people.admin):
        assert conversation.member(stranger.pk) is None
    UserProfile.objects.filter(user=people.student).update(role=RoleChoices.TEACHER)
    UserProfile.objects.filter(user=people.teacher).update(role=RoleChoices.STUDENT)
    conversation = Conversation.objects.get()
    assert conversation.member(people.student.pk) is None
    assert conversation.member(people.teacher.pk) is None


def test_for_user_returns_own_conversations_by_current_role(people: People) -> None:
    mine, theirs = people.conversation, people.other_conversation
    assert [list(Conversation.objects.for_user(user)) for user in (people.student, people.teacher)] == [[mine], [mine]]
    assert list(Conversation.objects.for_user(people.trainer)) == [theirs]
    assert not Conversation.objects.for_user(people.stranger)
    assert not Conversation.objects.for_user(people.admin)
    UserProfile.objects.filter(user=people.teacher).update(role=RoleChoices.STUDENT)
    assert not Conversation.objects.for_user(people.teacher)


def test_a_profile_has_defaults_for_all_but_its_user(db: None) -> None:
    profile = UserProfile.objects.create(user=make_user("newcomer", None))
    profile.refresh_from_db()
    assert (profile.full_name, profile.role, profile.assigned_mentor) == ("", RoleChoices.STUDENT, None)


@pytest.mark.parametrize(
    ("role", "mentor_role", "error"),
    [
        (RoleChoices.STUDENT, RoleChoices.TEACHER, None),
        (RoleChoices.STUDENT, RoleChoices.TRAINER, None),
        (RoleChoices.STUDENT, None, None),
        (RoleChoices.TEACHER, None, None),
        (RoleChoices.STUDENT, RoleChoices.STUDENT, "A mentor must be a teacher or a trainer."),
        (RoleChoices.STUDENT, RoleChoices.ADMIN, "A mentor must be a teacher or a trainer."),
        (RoleChoices.TEACHER, RoleChoices.TRAINER, "Only students have a mentor."),
        (RoleChoices.TRAINER, RoleChoices.TEACHER, "Only students have a mentor."),
        (RoleChoices.ADMIN, RoleChoices.TEACHER, "Only students have a mentor."),
    ],
)
def test_only_students_have_a_mentor_who_teaches_or_trains(
    db: None, role: RoleChoices, mentor_role: RoleChoices | None, error: str | None
) -> None:
    mentor = make_user("mentor", mentor_role).profile if mentor_role else None
    profile = UserProfile(user=make_user("person", None), role=role, assigned_mentor=mentor)
    if error is None:
        profile.clean()
        return
    with pytest.raises(ValidationError) as raised:
        profile.clean()
    assert raised.value.message_dict == {"assigned_mentor": [error]}


def test_nobody_is_their_own_mentor(people: People) -> None:
    with pytest.raises(IntegrityError):
        UserProfile.objects.filter(user=people.student).update(assigned_mentor=people.student.profile)


def test_a_mentor_who_lost_the_role_is_no_longer_the_students_mentor(people: People) -> None:
    assert people.student.profile.mentor == people.teacher.profile
    UserProfile.objects.filter(user=people.teacher).update(role=RoleChoices.ADMIN)
    assert UserProfile.objects.get(user=people.student).mentor is None
    UserProfile.objects.filter(user=people.student).update(
        role=RoleChoices.TRAINER, assigned_mentor=people.trainer.profile
    )
    assert UserProfile.objects.get(user=people.student).mentor is None
