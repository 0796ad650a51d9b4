"""`my-conversation/` and `teacher/conversations/`: who gets which conversations, in what shape and order."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.urls import reverse

from accounts.models import RoleChoices, User, UserProfile
from chat.models import Conversation, Message
from tests.people import Cast, client_of, conversation_object, conversation_of, make_user, say
from tests.queries import recorded_queries

MINE = "/api/v1/chat/my-conversation/"
STUDENTS = "/api/v1/chat/teacher/conversations/"
NOT_SIGNED_IN = {"detail": "Authentication credentials were not provided."}
NOT_A_STUDENT = {"detail": "Only students have a mentor.", "code": "not_a_student"}
NOT_A_MENTOR = {"detail": "Only teachers and trainers have students.", "code": "not_a_mentor"}
NO_MENTOR = {"detail": "No mentor is assigned.", "code": "no_mentor"}


def get(user: User | None, path: str) -> tuple[int, Any]:
    response = client_of(user).get(path)
    return response.status_code, response.json()


def listed(*results: Any, **envelope: Any) -> dict[str, Any]:
    return {"count": len(results), "next": None, "previous": None} | envelope | {"results": list(results)}


def test_the_names_of_the_paths_are_those_that_the_platform_knows() -> None:
    pk = {"conversation_pk": 7}
    assert reverse("api:v1:chat:student-my-conversation") == MINE
    assert reverse("api:v1:chat:student-my-conversation-messages") == f"{MINE}messages/"
    assert reverse("api:v1:chat:teacher-conversations-list") == STUDENTS
    assert reverse("api:v1:chat:teacher-conversation-messages", kwargs=pk) == f"{STUDENTS}7/messages/"
    assert reverse("api:v1:chat:conversation-mark-read", kwargs=pk) == "/api/v1/chat/conversations/7/mark-read/"


# The student's.


def test_a_students_first_look_makes_the_conversation(cast: Cast) -> None:
    status, body = get(cast.student, MINE)
    conversation = Conversation.objects.get()
    assert (conversation.student, conversation.teacher) == (cast.student.profile, cast.teacher.profile)
    assert (status, body) == (200, conversation_object(conversation, cast.student))
    assert get(cast.student, MINE) == (status, body)
    assert Conversation.objects.count() == 1


def test_a_student_sees_the_last_message_and_counts_what_the_mentor_sent(cast: Cast) -> None:
    say(cast.conversation, cast.teacher, "one", "two")
    (own,) = say(cast.conversation, cast.student, "three")
    expected = conversation_object(cast.conversation, cast.student, last=own, unread=2)
    assert expected["last_message"]["is_own_message"]
    assert get(cast.student, MINE) == (200, expected)
    assert Message.objects.filter(is_read=True).count() == 0


def test_after_a_change_of_mentor_the_student_has_another_conversation(cast: Cast) -> None:
    say(cast.conversation, cast.teacher, "from the former")
    UserProfile.objects.filter(user=cast.student).update(assigned_mentor=cast.trainer.profile)
    status, body = get(cast.student, MINE)
    new = Conversation.objects.get(teacher=cast.trainer.profile)
    assert (status, body) == (200, conversation_object(new, cast.student))
    UserProfile.objects.filter(user=cast.student).update(assigned_mentor=cast.teacher.profile)
    (last,) = Message.objects.all()
    again = conversation_object(cast.conversation, cast.student, last=last, unread=1)
    assert get(cast.student, MINE) == (200, again)


@pytest.mark.parametrize(
    ("who", "status", "body"),
    [
        (None, 401, NOT_SIGNED_IN),
        ("teacher", 403, NOT_A_STUDENT),
        ("trainer", 403, NOT_A_STUDENT),
        ("admin", 403, NOT_A_STUDENT),
        ("stranger", 404, NO_MENTOR),
    ],
)
def test_who_has_no_mentor_is_told_so_and_makes_nothing(
    cast: Cast, who: str | None, status: int, body: dict[str, str]
) -> None:
    assert get(getattr(cast, who) if who else None, MINE) == (status, body)
    assert Conversation.objects.count() == 0


def test_a_mentor_who_is_none_any_more_is_no_mentor(cast: Cast) -> None:
    say(cast.conversation, cast.teacher, "one")
    UserProfile.objects.filter(user=cast.teacher).update(role=RoleChoices.ADMIN)
    assert get(cast.student, MINE) == (404, NO_MENTOR)


def test_a_students_conversation_costs_five_queries_whatever_is_in_it(cast: Cast) -> None:
    client = client_of(cast.student)
    client.get(MINE)
    with recorded_queries() as empty:
        client.get(MINE)
    for _ in range(20):
        say(cast.conversation, cast.teacher, "one", "two")
    with recorded_queries() as full:
        client.get(MINE)
    assert (len(empty), len(full)) == (4, 5), full


# The mentor's.


def pupils(mentor: User, count: int) -> list[Conversation]:
    """Conversations with new students, each with one message of the student; the first has the oldest."""
    users = [User(username=f"pupil{number}", email=f"pupil{number}@example.com") for number in range(count)]
    User.objects.bulk_create(users)
    profiles = [UserProfile(user=user, full_name=user.username, assigned_mentor=mentor.profile) for user in users]
    UserProfile.objects.bulk_create(profiles)
    moments = [
        datetime(2030, 1, 1 + number // 1440, number // 60 % 24, number % 60, tzinfo=UTC) for number in range(count)
    ]
    conversations = [
        Conversation(student=profile, teacher=mentor.profile, last_seq=1, updated_at=moment)
        for profile, moment in zip(profiles, moments, strict=True)
    ]
    Conversation.objects.bulk_create(conversations)
    Message.objects.bulk_create(
        Message(conversation=conversation, sender=user, content=user.username, seq=1, timestamp=conversation.updated_at)
        for conversation, user in zip(conversations, users, strict=True)
    )
    return conversations


def overview(conversation: Conversation, reader: User) -> dict[str, Any]:
    """What `reader` sees of one of `pupils`."""
    return conversation_object(conversation, reader, last=conversation.messages.get(), unread=1)


def test_a_mentor_without_conversations_has_an_empty_list(cast: Cast) -> None:
    assert get(cast.teacher, STUDENTS) == (200, listed())


def test_a_mentor_sees_their_own_conversations_newest_activity_first(cast: Cast) -> None:
    quiet = conversation_of(make_user("quiet", RoleChoices.STUDENT, mentor=cast.teacher), cast.teacher)
    old, new = pupils(cast.teacher, 2)
    say(cast.other_conversation, cast.trainer, "theirs")
    expected = [overview(new, cast.teacher), overview(old, cast.teacher), conversation_object(quiet, cast.teacher)]
    assert get(cast.teacher, STUDENTS) == (200, listed(*expected))
    moment = datetime(2031, 1, 1, tzinfo=UTC)
    own = Message.objects.create(conversation=quiet, sender=cast.teacher, content="hello?", timestamp=moment)
    expected = [conversation_object(quiet, cast.teacher, last=own), *expected[:2]]
    assert get(cast.teacher, STUDENTS) == (200, listed(*expected))


def test_of_two_with_the_same_moment_the_younger_conversation_is_first(cast: Cast) -> None:
    first, second = pupils(cast.teacher, 2)
    Conversation.objects.update(updated_at=datetime(2030, 1, 1, tzinfo=UTC))
    expected = [overview(second, cast.teacher), overview(first, cast.teacher)]
    assert get(cast.teacher, STUDENTS) == (200, listed(*expected))


def test_a_trainer_has_the_same_list(cast: Cast) -> None:
    (own,) = say(cast.other_conversation, cast.trainer, "one")
    expected = conversation_object(cast.other_conversation, cast.trainer, last=own)
    assert get(cast.trainer, STUDENTS) == (200, listed(expected))


def test_unread_is_what_the_other_side_sent_and_one_has_not_read(cast: Cast) -> None:
    read, *_ = say(cast.conversation, cast.student, "one", "two", "three")
    say(cast.conversation, cast.teacher, "four")
    Message.objects.filter(pk=read.pk).update(is_read=True)
    last = cast.conversation.messages.get(seq=4)
    expected = conversation_object(cast.conversation, cast.teacher, last=last, unread=2)
    assert get(cast.teacher, STUDENTS) == (200, listed(expected))
    expected = conversation_object(cast.conversation, cast.student, last=last, unread=1)
    assert get(cast.student, MINE) == (200, expected)


def test_where_the_newest_message_was_erased_the_one_before_is_the_last(cast: Cast) -> None:
    first, second = say(cast.conversation, cast.student, "one", "two")
    second.delete()
    expected = conversation_object(cast.conversation, cast.teacher, last=first, unread=1)
    assert get(cast.teacher, STUDENTS) == (200, listed(expected))


@pytest.mark.parametrize("new_mentor", ["trainer", None])
def test_the_former_mentor_keeps_the_conversation_which_is_not_active(cast: Cast, new_mentor: str | None) -> None:
    (last,) = say(cast.conversation, cast.student, "one")
    mentor = getattr(cast, new_mentor).profile if new_mentor else None
    UserProfile.objects.filter(user=cast.student).update(assigned_mentor=mentor)
    expected = conversation_object(cast.conversation, cast.teacher, last=last, unread=1, is_active=False)
    assert get(cast.teacher, STUDENTS) == (200, listed(expected))


def test_the_list_comes_in_pages_that_link_to_each_other(cast: Cast) -> None:
    newest_first = [overview(conversation, cast.teacher) for conversation in pupils(cast.teacher, 5)[::-1]]
    url = f"http://testserver{STUDENTS}"
    pages = [
        listed(*newest_first[:2], count=5, next=f"{url}?page=2&page_size=2"),
        listed(*newest_first[2:4], count=5, next=f"{url}?page=3&page_size=2", previous=f"{url}?page_size=2"),
        listed(*newest_first[4:], count=5, previous=f"{url}?page=2&page_size=2"),
    ]
    for number, page in enumerate(pages, 1):
        assert get(cast.teacher, f"{STUDENTS}?page_size=2&page={number}") == (200, page)
    assert get(cast.teacher, f"{STUDENTS}?page_size=2&page=last") == (200, pages[-1])
    link, found = f"{STUDENTS}?page_size=2", []
    while link:
        body = get(cast.teacher, link)[1]
        found += body["results"]
        link = body["next"]
    assert found == newest_first


def test_a_page_has_50_conversations_unless_asked_and_200_at_most(cast: Cast) -> None:
    pupils(cast.teacher, 201)
    client = client_of(cast.teacher)
    for query, size in {
        "": 50,
        "?page_size=200": 200,
        "?page_size=1000": 200,
        "?page_size=0": 50,
        "?page_size=-1": 50,
        "?page_size=many": 50,
    }.items():
        assert len(client.get(STUDENTS + query).json()["results"]) == size, query


@pytest.mark.parametrize("page", ["0", "2", "-1", "junk", "1.5", "%00", "9" * 30, "9" * 5000])
def test_a_page_that_does_not_exist_is_not_found(cast: Cast, page: str) -> None:
    say(cast.conversation, cast.student, "one")
    status, body = get(cast.teacher, f"{STUDENTS}?page={page}")
    assert status == 404
    assert body == {"detail": "Invalid page."}


@pytest.mark.parametrize(
    ("who", "status", "body"),
    [
        (None, 401, NOT_SIGNED_IN),
        ("student", 403, NOT_A_MENTOR),
        ("stranger", 403, NOT_A_MENTOR),
        ("admin", 403, NOT_A_MENTOR),
    ],
)
def test_only_mentors_have_a_list(cast: Cast, who: str | None, status: int, body: dict[str, str]) -> None:
    assert get(getattr(cast, who) if who else None, STUDENTS) == (status, body)


def test_a_mentor_who_was_a_student_has_only_the_conversations_they_lead(cast: Cast) -> None:
    say(cast.conversation, cast.teacher, "to the student they were")
    UserProfile.objects.filter(user=cast.student).update(role=RoleChoices.TRAINER, assigned_mentor=None)
    assert get(cast.student, STUDENTS) == (200, listed())


def test_the_list_costs_six_queries_for_one_conversation_and_for_fifty(cast: Cast) -> None:
    client = client_of(cast.trainer)
    say(cast.other_conversation, cast.other_student, "one")
    with recorded_queries() as for_one:
        client.get(STUDENTS)
    pupils(cast.trainer, 49)
    with recorded_queries() as for_fifty:
        assert len(client.get(STUDENTS).json()["results"]) == 50
    assert len(for_one) == len(for_fifty) == 6, for_fifty


@pytest.mark.parametrize("path", [MINE, STUDENTS])
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_conversations_are_only_read(cast: Cast, method: str, path: str) -> None:
    client = client_of(cast.student if path == MINE else cast.teacher)
    response = getattr(client, method)(path, {}, content_type="application/json")
    expected = {"detail": f'Method "{method.upper()}" not allowed.'}
    assert (response.status_code, response.json()) == (405, expected)
