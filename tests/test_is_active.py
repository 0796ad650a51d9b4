"""Three places decide whether a conversation is active, each for speed; they must agree."""

from itertools import product

import pytest
from django.db import connection

from accounts.models import RoleChoices, UserProfile
from chat.models import Conversation
from chat.store.drafts import Draft, Sent
from chat.store.overview import entry_states
from chat.store.portable_batch import LOCK_STATEMENT
from tests.people import People
from tests.queries import counted_queries
from tests.service_results import store

CASES = list(product(RoleChoices, RoleChoices, ["this mentor", "another", "none"]))


@pytest.fixture(params=CASES, ids=", ".join)
def conversation(live_people: People, request: pytest.FixtureRequest) -> Conversation:
    """A conversation, and afterwards each side in some role and the student with some mentor."""
    conversation = live_people.conversation
    student_role, teacher_role, mentor = request.param
    mentors = {"this mentor": live_people.teacher.profile, "another": live_people.trainer.profile, "none": None}
    UserProfile.objects.filter(user=live_people.teacher).update(role=teacher_role)
    UserProfile.objects.filter(user=live_people.student).update(role=student_role, assigned_mentor=mentors[mentor])
    return Conversation.objects.with_people().get(pk=conversation.pk)


def test_all_three_places_agree_whether_a_conversation_is_active(conversation: Conversation) -> None:
    people = [conversation.student, conversation.teacher]
    shown = [found[conversation.pk].is_active for found in entry_states(people).values() if conversation.pk in found]
    with counted_queries() as queries:
        outcomes = store([Draft(conversation.pk, profile.user_id, "may I?", None) for profile in people])
    assert [isinstance(outcome, Sent) for outcome in outcomes] == [conversation.is_active] * 2
    if connection.vendor == "postgresql":
        assert (LOCK_STATEMENT not in queries) is conversation.is_active, "the statement stores what is allowed"
    assert set(shown) <= {conversation.is_active}
    assert len(shown) == conversation.student.is_student + conversation.teacher.is_mentor


def test_some_conversations_are_active_and_some_are_not(conversation: Conversation) -> None:
    case = conversation.student.role, conversation.teacher.role, conversation.student.assigned_mentor_id
    mentors = (RoleChoices.TEACHER, RoleChoices.TRAINER)
    assert conversation.is_active == (case in {("STUDENT", role, conversation.teacher_id) for role in mentors})
