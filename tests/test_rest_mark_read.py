"""`conversations/<id>/mark-read/`: what becomes read, who receives it, and who is refused."""

from typing import Any

import pytest

from accounts.models import RoleChoices, User, UserProfile
from chat.models import Conversation, Message
from tests.people import People, client_of, fill, say
from tests.queries import recorded_queries
from tests.service_results import read_flags

NOT_SIGNED_IN = {"detail": "Authentication credentials were not provided.", "code": "not_authenticated"}
NOT_YOURS = {"detail": "You are not part of this conversation.", "code": "not_a_participant"}


def mark(user: User | None, conversation_id: object, query: str = "") -> tuple[int, Any]:
    response = client_of(user).post(f"/api/v1/chat/conversations/{conversation_id}/mark-read/{query}")
    return response.status_code, response.json()


def marked(count: int) -> tuple[int, Any]:
    return 200, {"detail": f"{count} messages marked as read."}


def test_marking_marks_all_that_the_other_side_sent_and_says_how_many(people: People) -> None:
    say(people.conversation, people.teacher, "one", "two")
    say(people.conversation, people.student, "three")
    say(people.conversation, people.teacher, "four")
    assert mark(people.student, people.conversation.pk) == marked(3)
    assert read_flags(people.conversation) == "RR-R"
    assert mark(people.teacher, people.conversation.pk) == marked(1)
    assert read_flags(people.conversation) == "RRRR"
    assert Conversation.objects.values_list("student_read_seq", "teacher_read_seq").get() == (4, 3)


def test_marking_again_changes_nothing(people: People) -> None:
    say(people.conversation, people.teacher, "one")
    assert mark(people.student, people.conversation.pk) == marked(1)
    before = list(Message.objects.values()), list(Conversation.objects.values())
    assert mark(people.student, people.conversation.pk) == marked(0)
    assert (list(Message.objects.values()), list(Conversation.objects.values())) == before


def test_only_new_messages_are_counted(people: People) -> None:
    say(people.conversation, people.teacher, "one", "two")
    mark(people.student, people.conversation.pk)
    say(people.conversation, people.teacher, "three")
    assert mark(people.student, people.conversation.pk) == marked(1)


def test_nothing_is_marked_in_an_empty_conversation_or_in_others(people: People) -> None:
    say(people.other_conversation, people.other_student, "theirs")
    assert mark(people.teacher, people.conversation.pk) == marked(0)
    assert read_flags(people.other_conversation) == "-"


def test_a_former_mentor_may_still_mark(people: People) -> None:
    say(people.conversation, people.student, "one")
    UserProfile.objects.filter(user=people.student).update(assigned_mentor=people.trainer.profile)
    assert mark(people.teacher, people.conversation.pk) == marked(1)


def test_a_student_may_still_mark_what_the_former_mentor_sent(people: People) -> None:
    say(people.conversation, people.teacher, "one")
    UserProfile.objects.filter(user=people.student).update(assigned_mentor=None)
    assert mark(people.student, people.conversation.pk) == marked(1)


@pytest.mark.parametrize("who", ["trainer", "other_student", "stranger", "admin"])
def test_foreign_and_missing_conversations_are_both_forbidden(people: People, who: str) -> None:
    say(people.conversation, people.teacher, "one")
    say(people.conversation, people.student, "two")
    for conversation_id in (people.conversation.pk, people.conversation.pk + 1000, 0, "9" * 18):
        assert mark(getattr(people, who), conversation_id) == (403, NOT_YOURS), conversation_id
    assert read_flags(people.conversation) == "--"


def test_a_conversation_of_a_former_role_is_forbidden(people: People) -> None:
    say(people.conversation, people.teacher, "one")
    say(people.conversation, people.student, "two")
    UserProfile.objects.filter(user=people.student).update(role=RoleChoices.TEACHER, assigned_mentor=None)
    UserProfile.objects.filter(user=people.teacher).update(role=RoleChoices.STUDENT)
    for user in (people.student, people.teacher):
        assert mark(user, people.conversation.pk) == (403, NOT_YOURS)
    assert read_flags(people.conversation) == "--"


def test_anonymous_users_are_refused(people: People) -> None:
    say(people.conversation, people.teacher, "one")
    for conversation_id in (people.conversation.pk, people.conversation.pk + 1000):
        assert mark(None, conversation_id) == (401, NOT_SIGNED_IN)
    assert read_flags(people.conversation) == "-"


@pytest.mark.parametrize("conversation_id", ["-1", "x", "1.0", "%00", "١", ""])
def test_an_id_that_is_not_a_number_is_404(people: People, conversation_id: str) -> None:
    assert mark(people.student, conversation_id) == (404, {"detail": "Not found.", "code": "not_found"})


@pytest.mark.parametrize("conversation_id", ["0", "9" * 18, str(2**63 - 1), str(2**63), "9" * 19, "9" * 5000])
def test_any_number_that_is_no_conversation_of_yours_is_403(people: People, conversation_id: str) -> None:
    for user in (people.student, people.teacher):
        assert mark(user, conversation_id) == (403, NOT_YOURS)


def test_marking_is_a_post(people: People) -> None:
    say(people.conversation, people.teacher, "one")
    client = client_of(people.student)
    for method in ("get", "put", "patch", "delete"):
        response = getattr(client, method)(f"/api/v1/chat/conversations/{people.conversation.pk}/mark-read/")
        expected = {"detail": f'Method "{method.upper()}" not allowed.', "code": "method_not_allowed"}
        assert (response.status_code, response.json()) == (405, expected)
    assert read_flags(people.conversation) == "-"


def test_marking_costs_four_queries_besides_session_and_user_whatever_is_unread(people: People) -> None:
    client, path = client_of(people.student), f"/api/v1/chat/conversations/{people.conversation.pk}/mark-read/"
    counts = []
    for number in (1, 200):
        fill(people.conversation, 2 * number)
        with recorded_queries() as queries:
            response = client.post(path)
        assert response.json() == marked(number)[1]
        counts.append(len(queries))
    assert counts == [6, 6]


def test_a_message_id_marks_up_to_that_message(people: People) -> None:
    one, two, three = say(people.conversation, people.teacher, "one", "two", "three")
    assert mark(people.student, people.conversation.pk, f"?message_id={two.pk}") == marked(2)
    assert read_flags(people.conversation) == "RR-"
    assert mark(people.student, people.conversation.pk, f"?message_id={one.pk}") == marked(0)
    assert mark(people.student, people.conversation.pk, f"?message_id={three.pk}") == marked(1)


@pytest.mark.parametrize("message_id", ["", "x", "0", "-1", "1.5", "9223372036854775807", "99999999999999999999", "٣"])
def test_a_message_id_that_is_not_in_the_conversation_marks_nothing(people: People, message_id: str) -> None:
    say(people.conversation, people.teacher, "one")
    status, body = mark(people.student, people.conversation.pk, f"?message_id={message_id}")
    assert (status, body["code"]) == (404, "message_not_found")
    assert read_flags(people.conversation) == "-"
