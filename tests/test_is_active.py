"""Three places decide whether a conversation is active, each for speed; they must agree."""

from itertools import product

import pytest
from django.db import connection

from accounts.models import RoleChoices, UserProfile
from chat.models import Conversation
from chat.store.batch import Draft, Sent, _store_by_statement, store
from chat.store.overview import entry_states
from tests.people import People

CASES = list(product(RoleChoices, RoleChoices, ["this mentor", "another", "none"]))


@pytest.fixture(params=CASES, ids=", ".join)
def conversation(people: People, request: pytest.FixtureRequest) -> Conversation:
    """A conversation, and afterwards each side in some role and the student with some mentor."""
    conversation = people.conversation
    student_role, teacher_role, mentor = request.param
    mentors = {"this mentor": people.teacher.profile, "another": people.trainer.profile, "none": None}
    UserProfile.objects.filter(user=people.teacher).update(role=teacher_role)
    UserProfile.objects.filter(user=people.student).update(role=student_role, assigned_mentor=mentors[mentor])
    return Conversation.objects.with_people().get(pk=conversation.pk)


def test_all_three_places_agree_whether_a_conversation_is_active(conversation: Conversation) -> None:
    people = [conversation.student, conversation.teacher]
    shown = [found[conversation.pk].is_active for found in entry_states(people).values() if conversation.pk in found]
    drafts = [Draft(conversation.pk, profile.user_id, "may I?", None) for profile in people]
    if connection.vendor == "postgresql":
        taken = _store_by_statement(drafts)
        assert [draft in taken for draft in drafts] == [conversation.is_active] * 2
    outcomes = store([Draft(conversation.pk, profile.user_id, "may I?", None) for profile in people])
    assert [isinstance(outcome, Sent) for outcome in outcomes] == [conversation.is_active] * 2
    assert set(shown) <= {conversation.is_active}
    assert len(shown) == conversation.student.is_student + conversation.teacher.is_mentor


def test_some_conversations_are_active_and_some_are_not(conversation: Conversation) -> None:
    case = conversation.student.role, conversation.teacher.role, conversation.student.assigned_mentor_id
    mentors = (RoleChoices.TEACHER, RoleChoices.TRAINER)
    assert conversation.is_active == (case in {("STUDENT", role, conversation.teacher_id) for role in mentors})
