"""`my-conversation/` and `teacher/conversations/`: access, fields and order."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.urls import reverse

from accounts.models import RoleChoices, User, UserProfile
from chat.models import Conversation, Message
from tests.holder import Holder
from tests.people import People, client_of, conversation_object, conversation_of, make_user, say
from tests.queries import at_once, recorded_queries

MINE = "/api/v1/chat/my-conversation/"
STUDENTS = "/api/v1/chat/teacher/conversations/"
NOT_SIGNED_IN = {"detail": "Authentication credentials were not provided.", "code": "not_authenticated"}
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


def test_a_students_first_request_creates_the_conversation(people: People) -> None:
    status, body = get(people.student, MINE)
    conversation = Conversation.objects.get()
    assert (conversation.student, conversation.teacher) == (people.student.profile, people.teacher.profile)
    assert (status, body) == (200, conversation_object(conversation, people.student))
    assert get(people.student, MINE) == (status, body)
    assert Conversation.objects.count() == 1


def test_a_student_sees_the_last_message_and_counts_what_the_mentor_sent(people: People) -> None:
    say(people.conversation, people.teacher, "one", "two")
    (own,) = say(people.conversation, people.student, "three")
    expected = conversation_object(people.conversation, people.student, last=own, unread=2)
    assert expected["last_message"]["is_own_message"]
    assert get(people.student, MINE) == (200, expected)
    assert Message.objects.filter(is_read=True).count() == 0


def test_a_student_with_a_new_mentor_has_another_conversation(people: People) -> None:
    say(people.conversation, people.teacher, "from the former")
    UserProfile.objects.filter(user=people.student).update(assigned_mentor=people.trainer.profile)
    status, body = get(people.student, MINE)
    new = Conversation.objects.get(teacher=people.trainer.profile)
    assert (status, body) == (200, conversation_object(new, people.student))
    UserProfile.objects.filter(user=people.student).update(assigned_mentor=people.teacher.profile)
    (last,) = Message.objects.all()
    again = conversation_object(people.conversation, people.student, last=last, unread=1)
    assert get(people.student, MINE) == (200, again)


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
def test_a_student_without_a_mentor_gets_404_and_creates_nothing(
    people: People, who: str | None, status: int, body: dict[str, str]
) -> None:
    assert get(getattr(people, who) if who else None, MINE) == (status, body)
    assert Conversation.objects.count() == 0


def test_a_mentor_who_lost_the_role_is_no_mentor(people: People) -> None:
    say(people.conversation, people.teacher, "one")
    UserProfile.objects.filter(user=people.teacher).update(role=RoleChoices.ADMIN)
    assert get(people.student, MINE) == (404, NO_MENTOR)


def test_a_students_conversation_costs_five_queries_whatever_is_in_it(people: People) -> None:
    client = client_of(people.student)
    client.get(MINE)
    with recorded_queries() as empty:
        client.get(MINE)
    for _ in range(20):
        say(people.conversation, people.teacher, "one", "two")
    with recorded_queries() as full:
        client.get(MINE)
    assert (len(empty), len(full)) == (4, 5), full


# The mentor's.


def pupils(mentor: User, count: int) -> list[Conversation]:
    """Conversations with new students, each with one message of the student; the first has the oldest.

    The mentor's students without a conversation leave: the list would hold one for each of them, too.
    """
    mentor.profile.students.filter(conversations_as_student=None).update(assigned_mentor=None)
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


def test_a_mentor_without_students_has_an_empty_list(people: People) -> None:
    UserProfile.objects.update(assigned_mentor=None)
    assert get(people.teacher, STUDENTS) == (200, listed())


def test_the_list_holds_a_conversation_with_every_present_student(people: People) -> None:
    silent = make_user("silent", RoleChoices.STUDENT, mentor=people.teacher)
    make_user("changed", RoleChoices.TRAINER, mentor=people.teacher)  # is no student now
    former = conversation_of(people.stranger, people.teacher)
    status, body = get(people.teacher, STUDENTS)
    made = Conversation.objects.filter(teacher=people.teacher.profile).exclude(pk=former.pk).order_by("-pk")
    assert {row.student.user for row in made} == {people.student, silent}
    assert (status, body["count"]) == (200, 3)
    new = [conversation_object(row, people.teacher) for row in made]
    assert body["results"] == [*new, conversation_object(former, people.teacher, is_active=False)]
    assert get(people.teacher, STUDENTS) == (status, body)


@pytest.mark.parametrize(
    "headers", [{"Sec-Purpose": "prefetch;prerender"}, {"Purpose": "prefetch"}, {"X-Moz": "prefetch"}]
)
def test_what_nobody_has_asked_for_creates_no_conversation(people: People, headers: dict[str, str]) -> None:
    client = client_of(people.teacher)
    assert client.get(STUDENTS, headers=headers).json() == listed()
    assert client.head(STUDENTS).status_code == 200
    assert not Conversation.objects.exists()


def test_missing_conversations_cost_three_statements_however_many_they_are(people: People) -> None:
    client = client_of(people.teacher)
    counts = []
    for names in (["a"], [f"b{number}" for number in range(40)]):
        for name in names:
            make_user(name, RoleChoices.STUDENT, mentor=people.teacher)
        with recorded_queries() as queries:
            client.get(STUDENTS)
        counts.append(len(queries))
    locking = connection.vendor == "postgresql"
    assert counts == [7 + locking] * 2, queries  # no messages yet, so one less than the list below


@pytest.mark.django_db(transaction=True)
def test_lists_that_are_fetched_at_once_create_each_conversation_once_and_are_complete(people: People) -> None:
    for number in range(10):
        make_user(f"student{number}", RoleChoices.STUDENT, mentor=people.teacher)
    clients = [client_of(people.teacher) for _ in range(6)]
    answers = at_once(*(partial(client.get, STUDENTS) for client in clients))
    assert [(answer.status_code, answer.json()["count"]) for answer in answers] == [(200, 11)] * 6
    assert Conversation.objects.count() == 11


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no row locks")
def test_a_student_who_is_being_deleted_holds_up_no_list(people: People) -> None:
    make_user("other", RoleChoices.STUDENT, mentor=people.teacher)
    holder = Holder()
    holder.lock(people.student.profile)
    try:
        assert get(people.teacher, STUDENTS)[1]["count"] == 1
        holder.commit()  # the server takes its time to notice a connection that is closed
    finally:
        holder.close()
    assert get(people.teacher, STUDENTS)[1]["count"] == 2


def test_a_mentor_sees_their_own_conversations_newest_activity_first(people: People) -> None:
    quiet = conversation_of(make_user("quiet", RoleChoices.STUDENT, mentor=people.teacher), people.teacher)
    old, new = pupils(people.teacher, 2)
    say(people.other_conversation, people.trainer, "theirs")
    expected = [
        overview(new, people.teacher),
        overview(old, people.teacher),
        conversation_object(quiet, people.teacher),
    ]
    assert get(people.teacher, STUDENTS) == (200, listed(*expected))
    moment = datetime(2031, 1, 1, tzinfo=UTC)
    own = Message.objects.create(conversation=quiet, sender=people.teacher, content="hello?", timestamp=moment)
    expected = [conversation_object(quiet, people.teacher, last=own), *expected[:2]]
    assert get(people.teacher, STUDENTS) == (200, listed(*expected))


def test_equal_timestamps_are_ordered_by_newest_conversation(people: People) -> None:
    first, second = pupils(people.teacher, 2)
    Conversation.objects.update(updated_at=datetime(2030, 1, 1, tzinfo=UTC))
    expected = [overview(second, people.teacher), overview(first, people.teacher)]
    assert get(people.teacher, STUDENTS) == (200, listed(*expected))


def test_a_trainer_has_the_same_list(people: People) -> None:
    (own,) = say(people.other_conversation, people.trainer, "one")
    expected = conversation_object(people.other_conversation, people.trainer, last=own)
    assert get(people.trainer, STUDENTS) == (200, listed(expected))


def test_unread_counts_unread_messages_of_the_other_side(people: People) -> None:
    read, *_ = say(people.conversation, people.student, "one", "two", "three")
    say(people.conversation, people.teacher, "four")
    Message.objects.filter(pk=read.pk).update(is_read=True)
    last = people.conversation.messages.get(seq=4)
    expected = conversation_object(people.conversation, people.teacher, last=last, unread=2)
    assert get(people.teacher, STUDENTS) == (200, listed(expected))
    expected = conversation_object(people.conversation, people.student, last=last, unread=1)
    assert get(people.student, MINE) == (200, expected)


def test_a_deleted_newest_message_leaves_the_one_before_as_last(people: People) -> None:
    first, second = say(people.conversation, people.student, "one", "two")
    second.delete()
    expected = conversation_object(people.conversation, people.teacher, last=first, unread=1)
    assert get(people.teacher, STUDENTS) == (200, listed(expected))


@pytest.mark.parametrize("new_mentor", ["trainer", None])
def test_a_former_mentor_keeps_an_inactive_conversation(people: People, new_mentor: str | None) -> None:
    (last,) = say(people.conversation, people.student, "one")
    mentor = getattr(people, new_mentor).profile if new_mentor else None
    UserProfile.objects.filter(user=people.student).update(assigned_mentor=mentor)
    expected = conversation_object(people.conversation, people.teacher, last=last, unread=1, is_active=False)
    assert get(people.teacher, STUDENTS) == (200, listed(expected))


def test_the_list_comes_in_pages_that_link_to_each_other(people: People) -> None:
    newest_first = [overview(conversation, people.teacher) for conversation in pupils(people.teacher, 5)[::-1]]
    url = f"http://testserver{STUDENTS}"
    pages = [
        listed(*newest_first[:2], count=5, next=f"{url}?page=2&page_size=2"),
        listed(*newest_first[2:4], count=5, next=f"{url}?page=3&page_size=2", previous=f"{url}?page_size=2"),
        listed(*newest_first[4:], count=5, previous=f"{url}?page=2&page_size=2"),
    ]
    for number, page in enumerate(pages, 1):
        assert get(people.teacher, f"{STUDENTS}?page_size=2&page={number}") == (200, page)
    assert get(people.teacher, f"{STUDENTS}?page_size=2&page=last") == (200, pages[-1])
    link, found = f"{STUDENTS}?page_size=2", []
    while link:
        body = get(people.teacher, link)[1]
        found += body["results"]
        link = body["next"]
    assert found == newest_first


def test_a_page_has_50_conversations_unless_asked_and_200_at_most(people: People) -> None:
    pupils(people.teacher, 201)
    client = client_of(people.teacher)
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
def test_a_page_that_does_not_exist_is_not_found(people: People, page: str) -> None:
    say(people.conversation, people.student, "one")
    status, body = get(people.teacher, f"{STUDENTS}?page={page}")
    assert status == 404
    assert body == {"detail": "Invalid page.", "code": "page_not_found"}


@pytest.mark.parametrize(
    ("who", "status", "body"),
    [
        (None, 401, NOT_SIGNED_IN),
        ("student", 403, NOT_A_MENTOR),
        ("stranger", 403, NOT_A_MENTOR),
        ("admin", 403, NOT_A_MENTOR),
    ],
)
def test_only_mentors_have_a_list(people: People, who: str | None, status: int, body: dict[str, str]) -> None:
    assert get(getattr(people, who) if who else None, STUDENTS) == (status, body)


def test_a_mentor_who_was_a_student_has_only_the_conversations_they_lead(people: People) -> None:
    say(people.conversation, people.teacher, "to the student they were")
    UserProfile.objects.filter(user=people.student).update(role=RoleChoices.TRAINER, assigned_mentor=None)
    assert get(people.student, STUDENTS) == (200, listed())


def test_the_list_costs_seven_queries_for_one_conversation_and_for_fifty(people: People) -> None:
    client = client_of(people.trainer)
    say(people.other_conversation, people.other_student, "one")
    with recorded_queries() as for_one:
        client.get(STUDENTS)
    pupils(people.trainer, 49)
    with recorded_queries() as for_fifty:
        assert len(client.get(STUDENTS).json()["results"]) == 50
    assert len(for_one) == len(for_fifty) == 7, for_fifty  # one of them looks for missing conversations


@pytest.mark.parametrize("path", [MINE, STUDENTS])
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_conversations_are_only_read(people: People, method: str, path: str) -> None:
    client = client_of(people.student if path == MINE else people.teacher)
    response = getattr(client, method)(path, {}, content_type="application/json")
    expected = {"detail": f'Method "{method.upper()}" not allowed.', "code": "method_not_allowed"}
    assert (response.status_code, response.json()) == (405, expected)
