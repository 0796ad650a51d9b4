"""A student's conversations with former mentors: listed, readable, and closed."""

import json
from typing import Any

import pytest

from accounts.models import RoleChoices, User, UserProfile
from chat import services
from chat.models import Conversation, Message
from tests.people import People, client_of, conversation_object, conversation_of, make_user, message_object, say
from tests.queries import counted_queries

FORMER = "/api/v1/chat/my-conversation/former/"
NOT_FOUND = {"detail": "No such conversation.", "code": "conversation_not_found"}
CLOSED = {"detail": "This conversation is closed.", "code": "conversation_closed"}
ACCOUNT_LOCKED = {"detail": "This account is locked.", "code": "account_locked"}


def get(user: User | None, path: str = FORMER) -> tuple[int, Any]:
    response = client_of(user).get(path)
    return response.status_code, response.json()


def post(user: User, path: str, content: str = "may I?") -> tuple[int, Any]:
    response = client_of(user).post(path, json.dumps({"content": content}), content_type="application/json")
    return response.status_code, response.json()


def messages_of(conversation: Conversation) -> str:
    return f"{FORMER}{conversation.pk}/messages/"


def page(*conversations: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return 200, {"count": len(conversations), "next": None, "previous": None, "results": list(conversations)}


@pytest.fixture
def conversation(people: People) -> Conversation:
    """The conversation of student and teacher, who have parted."""
    say(people.conversation, people.student, "from the student")
    say(people.conversation, people.teacher, "from the teacher")
    services.reassign_mentor(people.student.profile, people.trainer.profile, by=people.admin)
    return people.conversation


def test_a_student_with_the_first_mentor_has_none(people: People) -> None:
    say(people.conversation, people.student, "to the present one")
    assert get(people.student) == page()
    assert get(people.stranger) == page()


def test_former_conversations_are_listed_newest_activity_first(people: People, conversation: Conversation) -> None:
    third = make_user("third", RoleChoices.TRAINER)
    services.reassign_mentor(people.student.profile, third.profile, by=people.admin)
    middle = conversation_of(people.student, people.trainer)
    expected = [
        conversation_object(middle, people.student, is_active=False),
        conversation_object(
            conversation, people.student, last=Message.objects.latest("seq"), unread=0, is_active=False
        ),
    ]
    assert get(people.student) == page(*expected)
    say(conversation, people.teacher, "by the shell")
    assert [one["id"] for one in get(people.student)[1]["results"]] == [conversation.pk, middle.pk]
    client = client_of(people.student)
    assert client.get(FORMER, {"page_size": 1}).json()["next"] == f"http://testserver{FORMER}?page=2&page_size=1"
    assert client.get(FORMER, {"page": 3}).status_code == 404


@pytest.mark.parametrize("change", ["no mentor", "the mentor is none any more"])
def test_a_conversation_without_a_successor_is_a_former_one_too(people: People, change: str) -> None:
    say(people.conversation, people.student, "before")
    if change == "no mentor":
        services.reassign_mentor(people.student.profile, None, by=people.admin)
    else:
        UserProfile.objects.filter(user=people.teacher).update(role=RoleChoices.ADMIN)
    assert [one["id"] for one in get(people.student)[1]["results"]] == [people.conversation.pk]
    assert get(people.student, messages_of(people.conversation))[0] == 200


def test_its_messages_are_read_and_marked(people: People, conversation: Conversation) -> None:
    first, second = conversation.messages.order_by("seq")
    code, body = get(people.student, messages_of(conversation) + "?mark_read=false")
    assert (code, body["results"]) == (200, [message_object(one, people.student) for one in (first, second)])
    assert [one["is_read"] for one in body["results"]] == [False, False]
    _, body = get(people.student, messages_of(conversation))
    assert body == page(*[message_object(one, people.student) for one in (first, second)])[1]
    assert [one["is_read"] for one in body["results"]] == [False, True]


def test_nothing_can_be_written(people: People, conversation: Conversation) -> None:
    assert post(people.student, messages_of(conversation)) == (403, CLOSED)
    assert post(people.student, messages_of(conversation), "") == (403, CLOSED)
    services.lock_person(people.student.profile, by=people.admin)
    assert post(people.student, messages_of(conversation)) == (403, ACCOUNT_LOCKED)
    assert conversation.messages.count() == 2


def test_any_other_conversation_is_not_found(people: People, conversation: Conversation) -> None:
    present = conversation_of(people.student, people.trainer)
    foreign = people.other_conversation
    for path in (messages_of(present), messages_of(foreign), f"{FORMER}999999/messages/", f"{FORMER}0/messages/"):
        assert get(people.student, path) == (404, NOT_FOUND)
        assert post(people.student, path) == (404, NOT_FOUND)


def test_back_with_the_mentor_it_is_the_present_one_again(people: People, conversation: Conversation) -> None:
    services.reassign_mentor(people.student.profile, people.teacher.profile, by=people.admin)
    assert [one["teacher_profile"]["username"] for one in get(people.student)[1]["results"]] == ["trainer"]
    assert get(people.student, messages_of(conversation)) == (404, NOT_FOUND)
    assert get(people.student, "/api/v1/chat/my-conversation/")[1]["id"] == conversation.pk


def test_the_list_takes_few_queries(people: People, conversation: Conversation) -> None:
    client = client_of(people.student)
    with counted_queries() as queries:
        client.get(FORMER)
    assert len(queries) <= 7, queries
