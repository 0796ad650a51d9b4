"""Where a socket begins: what it is told first, and what its client has missed."""

from typing import Any

import pytest

from accounts.models import RoleChoices, User, UserProfile
from chat import services
from chat.errors import ClientError
from chat.live.handshake import Handshake, connect_participant
from tests.people import Cast, fill, say
from tests.service_results import event_of, unread


def entrance(cast: Cast, **changes: Any) -> Handshake:
    who: dict[str, Any] = {"user": cast.student, "conversation": cast.conversation}
    reads = {cast.student.pk: 0, cast.teacher.pk: 0}
    rest: dict[str, Any] = {"missed": [], "recovered": None, "read_up_to": None}
    return Handshake(**who | {"first": 0, "last": 0, "reads": reads} | rest | changes)


def begin(cast: Cast, **changes: Any) -> Handshake:
    arguments: dict[str, Any] = {"session": None, "conversation_id": None, "mark": False, "after": None}
    arguments["check"] = lambda user_id: None
    return connect_participant(**({"user": cast.student} | arguments | changes))


def test_a_socket_of_an_empty_conversation_begins_at_zero(cast: Cast) -> None:
    assert begin(cast, mark=True) == entrance(cast)


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
def test_who_enters_where_is_decided_by_their_role_as_it_is_now(
    cast: Cast, who: str, role: RoleChoices | None, where: str, refusal: str | None
) -> None:
    pk = cast.conversation.pk
    person = getattr(cast, who)
    UserProfile.objects.filter(user=person).update(role=role)
    user = User.objects.get(pk=person.pk)
    arguments = {"user": user, "conversation_id": None if where == "own" else pk}
    if refusal is None:
        entered = begin(cast, **arguments)
        assert (entered.user, entered.conversation) == (user, cast.conversation)
    else:
        with pytest.raises(ClientError) as raised:
            begin(cast, **arguments)
        assert raised.value.code == refusal


@pytest.mark.parametrize("role", [RoleChoices.STUDENT, RoleChoices.ADMIN])
def test_a_student_whose_mentor_is_none_any_more_finds_no_conversation(cast: Cast, role: RoleChoices) -> None:
    assert begin(cast) == entrance(cast)
    UserProfile.objects.filter(user=cast.teacher).update(role=role)
    with pytest.raises(ClientError) as raised:
        begin(cast)
    assert raised.value.code == "no_mentor"


def test_a_socket_begins_after_what_is_stored(cast: Cast) -> None:
    say(cast.conversation, cast.teacher, "one", "two")
    assert begin(cast) == entrance(cast, first=2, last=2)
    assert unread(cast.conversation) == ["one", "two"]


def test_entering_marks_what_the_other_side_sent_as_read(cast: Cast) -> None:
    say(cast.conversation, cast.teacher, "one", "two")
    say(cast.conversation, cast.student, "three")
    reads = {cast.student.pk: 2, cast.teacher.pk: 0}
    assert begin(cast, mark=True) == entrance(cast, first=3, last=3, reads=reads)
    assert unread(cast.conversation) == ["three"]


def test_whoever_is_refused_has_read_nothing(cast: Cast) -> None:
    say(cast.conversation, cast.teacher, "one")
    checked: list[int] = []

    def refuse(user_id: int) -> None:
        checked.append(user_id)
        raise ClientError("too_many_sockets", "Too many open connections.", 429)

    with pytest.raises(ClientError):
        begin(cast, mark=True, check=refuse)
    assert checked == [cast.student.pk]
    assert unread(cast.conversation) == ["one"]


def test_resuming_replays_what_came_after_the_message_in_order(cast: Cast) -> None:
    first, *_ = say(cast.conversation, cast.student, "one", "two")
    say(cast.conversation, cast.teacher, "three")
    missed = [event_of(message) for message in cast.conversation.messages.filter(seq__gt=1).order_by("seq")]
    assert [event.message.content for event in missed] == ["two", "three"]
    assert begin(cast, after=first.pk) == entrance(cast, first=1, last=3, missed=missed, recovered=True)


def test_resuming_after_the_newest_message_replays_nothing(cast: Cast) -> None:
    *_, last = say(cast.conversation, cast.teacher, "one", "two")
    assert begin(cast, after=last.pk) == entrance(cast, first=2, last=2, recovered=True)


def test_resuming_tells_the_newest_own_message_that_the_other_side_has_read(cast: Cast) -> None:
    _, second = say(cast.conversation, cast.student, "one", "two")
    services.mark_read(conversation=cast.conversation, reader=cast.teacher)
    *_, last = say(cast.conversation, cast.student, "three")
    reads = {cast.student.pk: 0, cast.teacher.pk: 2}
    expected = entrance(cast, first=3, last=3, reads=reads, recovered=True, read_up_to=second.pk)
    assert begin(cast, after=last.pk) == expected


def test_resuming_shows_as_read_what_entering_has_just_marked(cast: Cast) -> None:
    (own,) = say(cast.conversation, cast.student, "one")
    say(cast.conversation, cast.teacher, "two")
    entered = begin(cast, mark=True, after=own.pk)
    assert [event.message.is_read for event in entered.missed] == [True]


@pytest.mark.parametrize("after", ["foreign", "erased", -1, 2**63 - 1])
def test_resuming_after_what_is_no_message_of_the_conversation_replays_nothing(cast: Cast, after: int | str) -> None:
    say(cast.conversation, cast.teacher, "one", "two")
    erased = say(cast.conversation, cast.teacher, "three")[0]
    ids: dict[Any, int] = {"foreign": say(cast.other_conversation, cast.trainer, "theirs")[0].pk, "erased": erased.pk}
    erased.delete()
    assert begin(cast, after=ids.get(after, after)) == entrance(cast, first=3, last=3, recovered=False)


def test_at_most_500_missed_messages_are_replayed(cast: Cast) -> None:
    first, second, *_ = fill(cast.conversation, 502)
    assert begin(cast, after=first.pk) == entrance(cast, first=502, last=502, recovered=False)
    rows = cast.conversation.messages.select_related("sender__profile").filter(seq__gt=2).order_by("seq")
    missed = [event_of(message) for message in rows]
    assert len(missed) == 500
    assert begin(cast, after=second.pk) == entrance(cast, first=2, last=502, missed=missed, recovered=True)
