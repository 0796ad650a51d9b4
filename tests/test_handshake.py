"""What a handshake reads from the database: access, the first frames, missed messages."""

from typing import Any

import pytest

from accounts.models import RoleChoices, User, UserProfile
from chat import services
from chat.errors import ClientError
from chat.live.handshake import Handshake, connect_participant
from chat.models import Message
from tests.people import People, fill, say
from tests.service_results import event_of, unread


def entrance(people: People, **changes: Any) -> Handshake:
    who: dict[str, Any] = {"user": people.student, "conversation": people.conversation}
    reads = {people.student.pk: 0, people.teacher.pk: 0}
    rest: dict[str, Any] = {"missed": [], "recovered": None, "read_up_to": None}
    return Handshake(**who | {"first": 0, "last": 0, "reads": reads} | rest | changes)


def begin(people: People, **changes: Any) -> Handshake:
    arguments: dict[str, Any] = {"session": None, "conversation_id": None, "mark": False, "after": None}
    arguments["check"] = lambda user_id: None
    return connect_participant(**({"user": people.student} | arguments | changes))


def test_a_socket_of_an_empty_conversation_begins_at_zero(people: People) -> None:
    assert begin(people, mark=True) == entrance(people)


MAY_ENTER = [
    # Who comes, in which role, to the student's own conversation or to the mentor's; why they may not.
    ("student", RoleChoices.STUDENT, "own", None),
    ("student", RoleChoices.TEACHER, "own", "not_a_student"),
    ("student", RoleChoices.TRAINER, "own", "not_a_student"),
    ("student", RoleChoices.ADMIN, "own", "not_a_student"),
    ("student", RoleChoices.STUDENT, "its", "not_a_mentor"),
    ("student", RoleChoices.TEACHER, "its", "conversation_not_found"),
    ("teacher", RoleChoices.TEACHER, "its", None),
    ("teacher", RoleChoices.TRAINER, "its", None),
    ("teacher", RoleChoices.STUDENT, "its", "not_a_mentor"),
    ("teacher", RoleChoices.ADMIN, "its", "not_a_mentor"),
    ("teacher", RoleChoices.TEACHER, "own", "not_a_student"),
    ("teacher", RoleChoices.STUDENT, "own", "no_mentor"),
    ("trainer", RoleChoices.TRAINER, "its", "conversation_not_found"),
    ("admin", None, "its", "not_a_mentor"),
    ("admin", None, "own", "not_a_student"),
]


@pytest.mark.parametrize(("who", "role", "where", "refusal"), MAY_ENTER)
def test_the_current_role_decides_who_may_connect(
    people: People, who: str, role: RoleChoices | None, where: str, refusal: str | None
) -> None:
    pk = people.conversation.pk
    person = getattr(people, who)
    UserProfile.objects.filter(user=person).update(role=role)
    user = User.objects.get(pk=person.pk)
    arguments = {"user": user, "conversation_id": None if where == "own" else pk}
    if refusal is None:
        connected = begin(people, **arguments)
        assert (connected.user, connected.conversation) == (user, people.conversation)
    else:
        with pytest.raises(ClientError) as raised:
            begin(people, **arguments)
        assert raised.value.code == refusal


@pytest.mark.parametrize("role", [RoleChoices.STUDENT, RoleChoices.ADMIN])
def test_a_student_whose_mentor_lost_the_role_has_no_conversation(people: People, role: RoleChoices) -> None:
    assert begin(people) == entrance(people)
    UserProfile.objects.filter(user=people.teacher).update(role=role)
    with pytest.raises(ClientError) as raised:
        begin(people)
    assert raised.value.code == "no_mentor"


def test_a_socket_begins_after_what_is_stored(people: People) -> None:
    say(people.conversation, people.teacher, "one", "two")
    assert begin(people) == entrance(people, first=2, last=2)
    assert unread(people.conversation) == ["one", "two"]


def test_connecting_marks_the_other_sides_messages_as_read(people: People) -> None:
    say(people.conversation, people.teacher, "one", "two")
    say(people.conversation, people.student, "three")
    reads = {people.student.pk: 2, people.teacher.pk: 0}
    assert begin(people, mark=True) == entrance(people, first=3, last=3, reads=reads)
    assert unread(people.conversation) == ["three"]


def test_a_refused_handshake_marks_nothing_as_read(people: People) -> None:
    say(people.conversation, people.teacher, "one")
    checked: list[int] = []

    def refuse(user_id: int) -> None:
        checked.append(user_id)
        raise ClientError("too_many_sockets", "Too many open connections.", 429)

    with pytest.raises(ClientError):
        begin(people, mark=True, check=refuse)
    assert checked == [people.student.pk]
    assert unread(people.conversation) == ["one"]


def test_resuming_replays_what_came_after_the_message_in_order(people: People) -> None:
    first, *_ = say(people.conversation, people.student, "one", "two")
    say(people.conversation, people.teacher, "three")
    missed = [event_of(message) for message in people.conversation.messages.filter(seq__gt=1).order_by("seq")]
    assert [event.message.content for event in missed] == ["two", "three"]
    assert begin(people, after=first.pk) == entrance(people, first=1, last=3, missed=missed, recovered=True)


def test_resuming_after_the_newest_message_replays_nothing(people: People) -> None:
    *_, last = say(people.conversation, people.teacher, "one", "two")
    assert begin(people, after=last.pk) == entrance(people, first=2, last=2, recovered=True)


def test_resuming_returns_the_newest_own_message_that_was_read(people: People) -> None:
    _, second = say(people.conversation, people.student, "one", "two")
    services.mark_read(conversation=people.conversation, reader=people.teacher)
    *_, last = say(people.conversation, people.student, "three")
    reads = {people.student.pk: 0, people.teacher.pk: 2}
    expected = entrance(people, first=3, last=3, reads=reads, recovered=True, read_up_to=second.pk)
    assert begin(people, after=last.pk) == expected


def test_resuming_shows_messages_just_marked_as_read(people: People) -> None:
    (own,) = say(people.conversation, people.student, "one")
    say(people.conversation, people.teacher, "two")
    connected = begin(people, mark=True, after=own.pk)
    assert [event.message.is_read for event in connected.missed] == [True]


def test_resuming_after_an_erased_message_continues_where_it_stood(people: People) -> None:
    _, second, erased = say(people.conversation, people.teacher, "one", "two", "three")
    pk = erased.pk
    erased.delete()
    assert begin(people, after=pk) == entrance(people, first=2, last=3, recovered=True)
    second_event = event_of(Message.objects.get(pk=second.pk))
    begun = begin(people, after=0)
    assert (begun.first, begun.recovered, begun.missed[1:]) == (0, True, [second_event])


@pytest.mark.parametrize("after", ["foreign", "never", -1, 2**63 - 1])
def test_resuming_after_an_unknown_message_replays_nothing(people: People, after: int | str) -> None:
    say(people.conversation, people.teacher, "one", "two")
    foreign = say(people.other_conversation, people.trainer, "theirs")[0].pk
    ids: dict[Any, int] = {"foreign": foreign, "never": foreign + 1}
    assert begin(people, after=ids.get(after, after)) == entrance(people, first=2, last=2, recovered=False)


def test_at_most_500_missed_messages_are_replayed(people: People) -> None:
    first, second, *_ = fill(people.conversation, 502)
    assert begin(people, after=first.pk) == entrance(people, first=502, last=502, recovered=False)
    rows = people.conversation.messages.select_related("sender__profile").filter(seq__gt=2).order_by("seq")
    missed = [event_of(message) for message in rows]
    assert len(missed) == 500
    assert begin(people, after=second.pk) == entrance(people, first=2, last=502, missed=missed, recovered=True)
