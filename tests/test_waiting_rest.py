"""Who waits, over REST: the mentor's list by `ordering` and `waiting`, and `done`."""

from typing import Any
from urllib.parse import urlsplit

import pytest

from accounts.models import RoleChoices, User
from chat.models import Conversation
from tests.people import People, client_of, conversation_object, conversation_of, make_user, say
from tests.queries import recorded_queries
from tests.service_results import reassign
from tests.waiting import since_of

STUDENTS = "/api/v1/chat/teacher/conversations/"
NOT_YOURS = {"detail": "You are not part of this conversation.", "code": "not_a_participant"}


@pytest.fixture
def talks(people: People) -> dict[str, Conversation]:
    """The teacher's conversations: "first" and "second" wait, the others do not."""
    found = {}
    for name in ("first", "answered", "empty", "second", "former", "alone"):
        pupil = make_user(name, RoleChoices.STUDENT, mentor=people.teacher)
        found[name] = conversation_of(pupil, people.teacher)
        if name != "empty":
            say(found[name], pupil, "a question")
        if name == "answered":
            say(found[name], people.teacher, "an answer")
        if name in {"former", "alone"}:
            reassign(pupil, people.trainer if name == "former" else None)
    reassign(people.student, None)  # whose conversation the list would make
    say(found["first"], found["first"].student.user, "another question")  # the newest activity
    return found


def listed(people: People, talks: dict[str, Conversation], query: str) -> list[str]:
    """Return the names of the conversations that a mentor's list has for this query."""
    answer = client_of(people.teacher).get(f"{STUDENTS}?{query}")
    assert answer.status_code == 200, answer.content
    names = {talk.pk: name for name, talk in talks.items()}
    assert answer.json()["count"] == len(answer.json()["results"])
    return [names[one["id"]] for one in answer.json()["results"]]


ALL = ["first", "former", "alone", "second", "answered", "empty"]


def in_order_of_activity(talks: dict[str, Conversation]) -> list[str]:
    order = Conversation.objects.order_by("-updated_at", "-pk").values_list("pk", flat=True)
    names = {talk.pk: name for name, talk in talks.items()}
    return [names[pk] for pk in order]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ALL),
        ("ordering=-updated_at", ALL),
        ("ordering=waiting_since", ALL),
        ("waiting=true", ["first", "second"]),
        ("waiting=1&ordering=waiting_since", ["first", "second"]),
        ("waiting=TRUE&waiting=TRUE", ["first", "second"]),
        ("waiting=false", ["former", "alone", "answered", "empty"]),
        ("waiting=0&ordering=waiting_since", ["former", "alone", "answered", "empty"]),
    ],
)
def test_the_list_is_ordered_and_filtered_by_who_waits(
    people: People, talks: dict[str, Conversation], query: str, expected: list[str]
) -> None:
    found = listed(people, talks, query)
    assert sorted(found) == sorted(expected)
    order = in_order_of_activity(talks)
    if "waiting_since" in query:
        waiting = [name for name in ("first", "second") if name in expected]
        assert found == waiting + [name for name in order if name in expected and name not in waiting]
    else:
        assert found == [name for name in order if name in expected]


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("ordering=updated_at", {"ordering": ["-updated_at or waiting_since is expected."]}),
        ("ordering=-waiting_since", {"ordering": ["-updated_at or waiting_since is expected."]}),
        ("ordering=", {"ordering": ["-updated_at or waiting_since is expected."]}),
        ("ordering=waiting_since&ordering=-updated_at", {"ordering": ["Given twice, with different values."]}),
        ("waiting=yes", {"waiting": ["true or false is expected."]}),
        ("waiting=", {"waiting": ["true or false is expected."]}),
        ("waiting=true&waiting=1", {"waiting": ["Given twice, with different values."]}),
    ],
)
def test_anything_else_is_refused_and_makes_no_conversation(people: People, query: str, body: dict[str, Any]) -> None:
    answer = client_of(people.teacher).get(f"{STUDENTS}?{query}")
    assert (answer.status_code, answer.json()) == (400, body | {"code": "invalid_parameter"})
    assert not Conversation.objects.exists()


@pytest.mark.parametrize("query", ["ordering=waiting_since", "ordering=waiting_since&waiting=0", "waiting=1"])
def test_the_pages_of_a_list_have_each_conversation_once(
    people: People, talks: dict[str, Conversation], query: str
) -> None:
    """Those of equal times, too; and the links keep what was asked for."""
    Conversation.objects.filter(waiting_since__isnull=False).update(waiting_since="2026-01-01T00:00:00Z")
    Conversation.objects.update(updated_at="2026-01-02T00:00:00Z")
    whole = listed(people, talks, query)
    paged, link = [], f"{STUDENTS}?{query}&page_size=1"
    while link:
        page = client_of(people.teacher).get(link).json()
        assert page["count"] == len(whole)
        paged += [one["id"] for one in page["results"]]
        link = page["next"] and f"{urlsplit(page['next']).path}?{urlsplit(page['next']).query}"
    assert paged == [talks[name].pk for name in whole]
    assert len(set(paged)) == len(paged)


def test_the_list_costs_the_same_by_any_order(people: People, talks: dict[str, Conversation]) -> None:
    def cost(query: str) -> int:
        with recorded_queries() as queries:
            listed(people, talks, query)
        return len(queries)

    assert cost("ordering=waiting_since") == cost("waiting=0&ordering=waiting_since") == cost("")


def test_both_sides_see_since_when_the_student_waits(people: People) -> None:
    [first, last] = say(people.conversation, people.student, "one", "two")
    first.refresh_from_db()
    for reader, path in ((people.teacher, STUDENTS), (people.student, "/api/v1/chat/my-conversation/")):
        body = client_of(reader).get(path).json()
        [shown] = body.get("results", [body])
        expected = conversation_object(people.conversation, reader, last=last, unread=2 * (reader == people.teacher))
        assert shown == expected
        assert shown["waiting_since"] == first.timestamp.isoformat().replace("+00:00", "Z")
    reassign(people.student, people.trainer)
    [former] = client_of(people.teacher).get(STUDENTS).json()["results"]
    assert (former["is_active"], former["waiting_since"]) == (False, None)


def finish(user: User | None, conversation_id: object) -> tuple[int, Any]:
    response = client_of(user).post(f"/api/v1/chat/conversations/{conversation_id}/done/")
    return response.status_code, response.json()


def test_the_mentor_says_that_no_reply_is_needed(people: People) -> None:
    [message] = say(people.conversation, people.student, "thank you!")
    before = Conversation.objects.values("updated_at", "last_seq").get()
    assert since_of(people.conversation) == message.timestamp
    expected = conversation_object(people.conversation, people.teacher, last=message, unread=1) | {
        "waiting_since": None
    }
    for _ in range(2):  # also if nobody waits
        assert finish(people.teacher, people.conversation.pk) == (200, expected)
    assert Conversation.objects.values("updated_at", "last_seq").get() == before
    [again] = say(people.conversation, people.student, "and one more thing")
    assert since_of(people.conversation) == again.timestamp


def test_nobody_waits_in_an_empty_conversation(people: People) -> None:
    expected = conversation_object(people.conversation, people.teacher)
    assert finish(people.teacher, people.conversation.pk) == (200, expected)


@pytest.mark.parametrize("who", ["student", "other_student", "trainer", "admin", "former mentor"])
def test_nobody_else_may(people: People, who: str) -> None:
    say(people.conversation, people.student, "one")
    since, pk = since_of(people.conversation), people.conversation.pk
    if who == "former mentor":
        reassign(people.student, people.trainer)
    user = people.teacher if who == "former mentor" else getattr(people, who)
    for number in (pk, pk + 1000, 0, 2**63, "9" * 30):
        assert finish(user, number) == (403, NOT_YOURS), number
    assert since_of(people.conversation) == since


def test_reading_is_not_answering(people: People) -> None:
    [message] = say(people.conversation, people.student, "one")
    mentor = client_of(people.teacher)
    assert mentor.get(f"{STUDENTS}{people.conversation.pk}/messages/").status_code == 200
    assert since_of(people.conversation) == message.timestamp
