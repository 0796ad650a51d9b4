"""A person is erased: their texts and their name are gone everywhere, and what others have said stays."""

import asyncio
import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import reduce
from operator import or_
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from accounts.models import RoleChoices, User, UserProfile
from chat.bus.events import TextsErased
from chat.errors import ClientError
from chat.live import presence
from chat.live.conversation_feed import ConversationFeed
from chat.live.healing import healing
from chat.models import Assignment, Conversation, HandoffNote, LastSeen, Message, Report, ReportedMessage
from chat.moderation import erasure
from chat.moderation.erasure import erase_person
from chat.moderation.reassignment import reassign_mentor
from chat.moderation.reports import report_message
from chat.store.drafts import Sent
from chat.store.notice_times import recompute_notice_times
from chat.store.waiting import correct_waiting
from tests.conftest import Connect
from tests.contract import check_frame
from tests.delivery_harness import DeliveryHarness, handshake_of, write
from tests.holder import Holder
from tests.notices import HOUR, later, notify_times, run_round, sent
from tests.people import (
    PASSWORD,
    People,
    client_of,
    conversation_object,
    fill,
    make_user,
    message_object,
    say,
    session_cookie,
)
from tests.queries import paused_after
from tests.service_results import CLOSED, entry, refusal, store
from tests.sockets import connected, established, in_thread, new_message, receive_many, resume_complete, settled

SIGNED_OUT = 4401
SECRETS = ("Student", "student@example.com", "our secret")


class KilledError(BaseException):
    """Stands for the end of the process: nothing after it runs."""


@contextmanager
def killed_at(call: int) -> Iterator[list[str]]:
    """The erasure ends before its statement of this number; yields the statements before it."""
    made: list[str] = []

    def count(self: Any, sql: str, *args: Any) -> Any:
        made.append(sql)
        if len(made) == call:
            raise KilledError
        return execute(self, sql, *args)

    execute = CursorWrapper.execute
    with patch.object(CursorWrapper, "execute", count):
        yield made


def erase(person: User) -> None:
    """As the command does it."""
    assert erase_person(person=User.objects.get(pk=person.pk), by=None)


def talk(people: People) -> Conversation:
    """The student and the teacher say something in turn; the admin has changed the student, who was here."""
    conversation = people.conversation
    for number in range(3):
        Message.objects.create(
            conversation=conversation, sender=people.student, content="our secret", client_id=f"c{number}"
        )
        say(conversation, people.teacher, f"answer {number}")
    for row in (people.student, people.student.profile):
        LogEntry.objects.create(
            user=people.admin,
            content_type=ContentType.objects.get_for_model(row),
            object_id=str(row.pk),
            object_repr=str(row),
            action_flag=CHANGE,
            change_message='[{"changed": {"name": "profile", "object": "Student", "fields": ["Role"]}}]',
        )
    LastSeen.objects.create(user=people.student, at=timezone.now())
    return Conversation.objects.get(pk=conversation.pk)


def state(people: People) -> dict[str, Any]:
    """Return everything that an erasure may change, but for the password, of which it is said whether there is one."""
    user = User.objects.get(pk=people.student.pk)
    about = [("user", user.pk), ("userprofile", user.profile.pk)]
    log = reduce(or_, (LogEntry.objects.filter(content_type__model=model, object_id=pk) for model, pk in about))
    columns = ("username", "email", "first_name", "last_name", "is_active", "is_staff", "is_superuser", "last_login")
    return {
        "user": {name: getattr(user, name) for name in columns} | {"password": user.has_usable_password()},
        "profile": UserProfile.objects.values().get(user=people.student),
        "messages": list(Message.objects.filter(conversation=people.conversation).order_by("pk").values()),
        "conversation": Conversation.objects.values().get(pk=people.conversation.pk),
        "log": list(log.order_by("pk").values()),
        "sessions": list(Session.objects.order_by("pk").values_list("pk", flat=True)),
        "seen": list(LastSeen.objects.values_list("user", flat=True)),
    }


def erased(before: dict[str, Any], person: User, sessions: list[str]) -> dict[str, Any]:
    """Return the state that an erasure leaves, with these sessions of others."""
    mine = person.pk
    nobody = {"username": f"erased-{mine}", "email": "", "first_name": "", "last_name": "", "last_login": None}
    return before | {
        "user": nobody | dict.fromkeys(("is_active", "is_staff", "is_superuser", "password"), False),
        "profile": before["profile"] | {"full_name": ""},
        "messages": [
            row | {"content": "", "client_id": None, "search_text": "", "is_erased": True}
            if row["sender_id"] == mine
            else row
            for row in before["messages"]
        ],
        "log": [row | {"object_repr": f"erased-{mine}", "change_message": ""} for row in before["log"]],
        "sessions": sessions,
        "seen": [],
    }


def test_texts_name_address_and_password_are_gone_and_the_rest_stays(people: People) -> None:
    talk(people)
    kept = session_cookie(people.teacher)
    session_cookie(people.student)
    before = state(people)
    assert [row["content"] for row in before["messages"][:2]] == ["our secret", "answer 0"]
    assert len(before["log"]) == 2
    erase(people.student)
    assert state(people) == erased(before, people.student, [kept])


@pytest.mark.parametrize("keep", [False, True])
def test_copies_in_reports_are_gone_unless_they_are_to_be_kept(people: People, keep: bool) -> None:
    [theirs] = say(people.conversation, people.teacher, "of the teacher")
    [mine] = say(people.conversation, people.student, "our secret")
    for user, message in ((people.student, theirs), (people.teacher, mine)):
        report_message(user=user, message_id=message.pk, body={"reason": f"by {user.username}"})
    call_command("erase_person", "student", "--yes", *(["--keep-reports"] if keep else []), stdout=io.StringIO())
    gone = (lambda text: text) if keep else (lambda text: "")
    copies = ReportedMessage.objects.order_by("report", "seq").values_list("content", flat=True)
    assert list(copies) == ["of the teacher", gone("our secret")] * 2
    assert list(Report.objects.order_by("pk").values_list("reason", flat=True)) == [gone("by student"), "by teacher"]
    assert list(Message.objects.order_by("pk").values_list("search_text", flat=True)) == ["of the teacher", ""]


def test_only_the_number_and_the_role_of_an_erased_person_are_shown(people: People) -> None:
    conversation = talk(people)
    last = say(conversation, people.student, "our secret")[0]
    erase(people.student)
    client = client_of(people.teacher)
    page = client.get(f"/api/v1/chat/teacher/conversations/{conversation.pk}/messages/?mark_read=false")
    listed = client.get("/api/v1/chat/teacher/conversations/")
    for answer in (page, listed):
        assert not any(secret in answer.content.decode() for secret in SECRETS)
    rows = Message.objects.order_by("seq")
    assert page.json()["results"] == [message_object(row, people.teacher) for row in rows]
    assert page.json()["count"] == 7
    assert page.json()["results"][0]["sender_profile"] == {
        "user_id": people.student.profile.pk,
        "full_name": "",
        "username": "",
        "email": "",
        "role": "STUDENT",
    }
    assert (page.json()["results"][0]["content"], page.json()["results"][0]["is_erased"]) == ("", True)
    unread = Message.objects.filter(sender=people.student, is_read=False).count()
    people.student.refresh_from_db()
    assert listed.json()["results"] == [conversation_object(conversation, people.teacher, last=last, unread=unread)]


def test_an_erased_person_cannot_sign_in_by_any_name(people: People) -> None:
    client = client_of(people.student)
    erase(people.student)
    assert client.get("/api/v1/auth/me/").status_code == 401
    for name in ("student", "student@example.com", f"erased-{people.student.pk}"):
        answer = client.post("/api/v1/auth/login/", {"username": name, "password": PASSWORD})
        assert answer.json()["code"] == "wrong_credentials"


def test_people_without_a_profile_or_messages_are_erased_too(people: People) -> None:
    for person in (people.admin, people.stranger):
        erase(person)
        assert User.objects.get(pk=person.pk).username == f"erased-{person.pk}"
    assert not User.objects.get(pk=people.admin.pk).is_superuser


def test_hand_off_notes_about_an_erased_student_are_gone_and_others_stay(people: People) -> None:
    for student in (people.student, people.other_student):
        for mentor in (None, people.trainer.profile, people.teacher.profile):
            reassign_mentor(student.profile, mentor, by=people.admin, note=f"about {student.username}")
    assert HandoffNote.objects.filter(text="about student").exists()
    others = list(HandoffNote.objects.filter(text="about other_student").values())
    assert others
    history = Assignment.objects.count()
    erase(people.student)
    assert list(HandoffNote.objects.values()) == others
    assert Assignment.objects.count() == history


def test_nobody_keeps_the_name_that_is_left_of_somebody_else(people: People) -> None:
    other = make_user(f"erased-{people.student.pk}", RoleChoices.STUDENT)
    erase(people.student)
    names = User.objects.in_bulk([people.student.pk, other.pk])
    assert [names[row.pk].username for row in (people.student, other)] == [
        other.username,
        f"{other.username}-{other.pk}",
    ]


@pytest.mark.parametrize("name", ["erased-{}", "Erased-{}", "erased-999"])
def test_a_name_that_is_kept_for_erased_people_is_refused(people: People, name: str) -> None:
    given = name.format(people.student.pk)
    for user in (User(username=given, password="x"), people.student):
        user.username = given
        with pytest.raises(ValidationError, match="This name is kept for people who are erased"):
            user.full_clean()
    erase(people.student)
    User.objects.get(pk=people.student.pk).full_clean()


def test_erasing_again_changes_nothing(people: People) -> None:
    talk(people)
    erase(people.student)
    after = state(people)
    erase(people.student)
    assert state(people) == after


def test_whatever_statement_a_killed_erasure_ends_at_the_next_one_leads_to_the_same_state(
    live_people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "ERASED_AT_ONCE", 2)
    monkeypatch.setattr(erasure, "SESSIONS_AT_ONCE", 1)
    call, was_killed = 0, True
    while was_killed:
        call += 1
        student = make_user(f"pupil{call}", RoleChoices.STUDENT, mentor=live_people.teacher)
        people = replace(live_people, student=student)
        talk(people)
        session_cookie(student)
        before = state(people)
        with killed_at(call):
            try:
                erase(student)
                was_killed = False
            except KilledError:
                connection.close()
        erase(student)
        assert state(people) == erased(before, student, []), f"killed at statement {call}"
    assert call > 20


def test_it_stops_at_its_time_and_goes_on_when_it_is_called_again(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "ERASED_AT_ONCE", 2)
    talk(people)
    counts: list[int] = []
    assert not erase_person(person=people.student, by=None, until=0, on_batch=counts.append)
    assert counts == [2]
    assert User.objects.get(pk=people.student.pk).username == "student"
    assert erase_person(person=User.objects.get(pk=people.student.pk), by=None, on_batch=counts.append)
    assert counts == [2, 1]
    assert not Message.objects.filter(content="our secret").exists()


def test_a_message_that_the_person_sends_meanwhile_does_not_survive(live_people: People) -> None:
    """The batch has read that they may write, and commits before the erasure may go on."""
    conversation = live_people.conversation
    outcomes: list[Any] = []
    erasing = threading.Thread(target=closing(erase), args=[live_people.student])
    text = "INSERT INTO chat_message" if connection.vendor == "postgresql" else 'INSERT INTO "chat_message"'
    with paused_after(text) as (made, go_on):
        sending = threading.Thread(
            target=closing(lambda: outcomes.extend(store([entry(conversation, live_people.student, "our secret")])))
        )
        sending.start()
        assert made.wait(5)
        erasing.start()
        go_on.set()
        sending.join(10)
        erasing.join(10)
    assert isinstance(outcomes[0], Sent)
    assert list(Message.objects.values_list("content", "is_erased")) == [("", True)]
    [refused] = store([entry(conversation, live_people.student, "and again")])
    assert refusal(refused) == CLOSED


@pytest.mark.skipif(connection.vendor != "postgresql", reason="on SQLite the report holds the whole database")
def test_a_report_that_is_made_meanwhile_copies_no_text(live_people: People) -> None:
    """It has found the message, and holds the row of who reports it; then the text is erased."""
    people = live_people
    [message] = say(people.conversation, people.student, "our secret")
    body = {"reason": ""}
    reporting = threading.Thread(
        target=closing(lambda: report_message(user=people.teacher, message_id=message.pk, body=body))
    )
    with paused_after("FOR NO KEY UPDATE") as (made, go_on):
        reporting.start()
        assert made.wait(5)
        erase(people.student)
        go_on.set()
        reporting.join(10)
    assert list(ReportedMessage.objects.values_list("message_id", "content")) == [(message.pk, "")]


def test_whoever_is_erased_reports_nothing_any_more(people: People) -> None:
    [message] = say(people.conversation, people.teacher, "hello")
    as_before = User.objects.select_related("profile").get(pk=people.student.pk)
    erase(people.student)
    with pytest.raises(ClientError, match="No such message"):
        report_message(user=as_before, message_id=message.pk, body={"reason": "our secret"})
    assert not Report.objects.exists()


def closing(call: Any) -> Any:
    """Return the call, after which the thread's connection is closed."""

    def run(*args: Any) -> None:
        try:
            call(*args)
        finally:
            connection.close()

    return run


def test_somebody_who_is_let_in_again_meanwhile_is_shut_out_again(people: People) -> None:
    talk(people)

    let: list[int] = []

    def let_in(count: int) -> None:
        if not let:
            let.append(count)
            User.objects.filter(pk=people.student.pk).update(is_active=True)
            say(people.conversation, people.student, "late")

    assert erase_person(person=people.student, by=None, on_batch=let_in)
    assert not User.objects.get(pk=people.student.pk).is_active
    assert not Message.objects.filter(sender=people.student).exclude(content="").exists()


async def test_open_sockets_are_told_where_they_asked_for_it(
    connect: Connect, live_people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "ERASED_AT_ONCE", 2)
    conversation = await in_thread(talk, live_people)
    ids = [row.pk async for row in Message.objects.filter(sender=live_people.student).order_by("seq")]
    told = connected(connect, live_people.teacher, conversation, "?events=1")
    untold = connected(connect, live_people.teacher, conversation)
    async with told as socket, untold as v1, connected(connect, live_people.student, None, "?mark_read=false") as own:
        state = {"type": "conversation_state", "is_active": True, "is_locked": False}
        assert await socket.receive_json() == state
        await in_thread(erase, live_people.student)
        assert await own.close_code() == SIGNED_OUT
        assert await receive_many(socket, 2) == [
            {"type": "messages_erased", "message_ids": ids[:2]},
            {"type": "messages_erased", "message_ids": ids[2:]},
        ]
        await socket.silence()
        await v1.silence()


async def test_what_a_killed_erasure_has_told_nobody_is_told_by_healing(connect: Connect, live_people: People) -> None:
    conversation = await in_thread(talk, live_people)
    ids = [row.pk async for row in Message.objects.filter(sender=live_people.student).order_by("seq")]
    await Message.objects.filter(pk=ids[0]).aupdate(**erasure.EMPTY)
    async with connected(connect, live_people.teacher, conversation, "?events=1&mark_read=false") as socket:
        assert (await socket.receive_json())["type"] == "conversation_state"
        await settled()
        await in_thread(erase, live_people.student)
        assert await socket.receive_json() == {"type": "messages_erased", "message_ids": ids[1:]}
        await healing().heal_all()
        assert await socket.receive_json() == {"type": "messages_erased", "message_ids": ids[:1]}
        await healing().heal_all()
        await socket.silence()


async def test_who_connects_when_it_is_done_is_not_told(connect: Connect, live_people: People) -> None:
    conversation = await in_thread(talk, live_people)
    await in_thread(erase, live_people.student)
    async with connected(connect, live_people.teacher, conversation, "?events=1") as socket:
        assert (await socket.receive_json())["type"] == "conversation_state"
        await settled()
        await healing().heal_all()
        await socket.silence()


async def test_somebody_who_is_erased_was_never_here(
    connect: Connect, live_people: People, live_conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "GRACE_SECONDS", 0.3)
    async with connected(connect, live_people.teacher, live_conversation, "?presence=1") as teacher:
        async with connected(connect, live_people.student) as student:
            online = await teacher.receive_json()
            while not online["is_online"]:
                online = await teacher.receive_json()
            await in_thread(erase, live_people.student)
            assert await student.close_code() == SIGNED_OUT
        away = {"type": "presence", "user": live_people.student.pk, "is_online": False, "last_seen": None}
        assert await teacher.receive_json() == away
    assert not await LastSeen.objects.filter(user=live_people.student).aexists()


def test_nobody_waits_for_an_answer_to_somebody_who_is_erased(people: People, notices_on: None) -> None:
    say(people.conversation, people.student, "our secret")
    assert [one.pk for one in Conversation.objects.waiting()] == [people.conversation.pk]
    erase(people.student)
    later(HOUR)
    for _ in range(2):
        assert run_round() == sent()
        listed = client_of(people.teacher).get("/api/v1/chat/teacher/conversations/?waiting=true")
        assert listed.json()["results"] == []
        assert notify_times(people.conversation) == (None, None)
        assert correct_waiting([people.conversation.pk]) == []
        assert recompute_notice_times([people.conversation.pk]) == 0


async def test_a_frame_names_at_most_500_messages(live_people: People, live_conversation: Conversation) -> None:
    sent: asyncio.Queue[Any] = asyncio.Queue()

    async def write_frame(text: str) -> None:
        check_frame("/ws/chat/my-conversation/", text)
        sent.put_nowait(json.loads(text))

    options: dict[str, Any] = {"session_key": None, "wants_presence": False, "wants_events": True, "close": sent.put}
    reader = live_people.student
    feed = ConversationFeed(live_conversation, user_id=reader.pk, write=write_frame, **options)
    feed.start(handshake_of(live_conversation, reader, 0, (), {}))
    assert [(await sent.get())["type"] for _ in range(2)] == ["connection_established", "conversation_state"]
    feed.on_event(TextsErased(live_conversation.pk, live_people.teacher.pk, list(range(1, 1002))))
    frames = [await asyncio.wait_for(sent.get(), 5) for _ in range(3)]
    assert [len(frame["message_ids"]) for frame in frames] == [500, 500, 1]
    assert [pk for frame in frames for pk in frame["message_ids"]] == list(range(1, 1002))


async def test_what_waits_for_a_client_or_was_read_before_is_sent_as_erased(
    live_people: People, live_conversation: Conversation
) -> None:
    """The event comes between the reading of a gap and its frames, and nothing that follows it has a text."""
    harness = DeliveryHarness(live_conversation, live_people)
    harness.start()
    events = await write(harness, 3)
    teacher = live_people.teacher
    harness.receive(events[2], TextsErased(live_conversation.pk, teacher.pk, [event.message.id for event in events]))
    profile = await in_thread(lambda: teacher.profile.pk)
    nobody = {"user_id": profile, "full_name": "", "username": "", "email": "", "role": "TEACHER"}
    for event in events:
        message = await Message.objects.aget(pk=event.message.id)
        erased: dict[str, Any] = {"content": "", "is_erased": True, "sender_profile": nobody}
        assert await harness.next() == await new_message(message, live_people.student, **erased)
    await harness.nothing_more()


async def test_the_inbox_receives_the_entry_without_name_and_text(connect: Connect, live_people: People) -> None:
    conversation = await in_thread(talk, live_people)
    [last] = await in_thread(say, conversation, live_people.student, "our secret")
    async with connect(live_people.teacher, "inbox/") as inbox:
        assert (await inbox.receive_json())["type"] == "inbox_established"
        await in_thread(erase, live_people.student)
        await live_people.student.arefresh_from_db()
        count = await Message.objects.filter(sender=live_people.student, is_read=False).acount()
        expected = await in_thread(conversation_object, conversation, live_people.teacher, last=last, unread=count)
        while (frame := await inbox.receive_json()) != {"type": "conversation_update", "conversation": expected}:
            assert frame["type"] == "conversation_update"


async def test_a_replay_shows_the_messages_as_erased(connect: Connect, live_people: People) -> None:
    conversation = await in_thread(talk, live_people)
    await in_thread(erase, live_people.student)
    rows = [row async for row in Message.objects.order_by("seq")]
    async with connect(live_people.teacher, conversation, "?after=0&mark_read=false") as socket:
        assert await socket.receive_json() == established(conversation)
        expected = [await new_message(row, live_people.teacher) for row in rows]
        assert await receive_many(socket, len(rows)) == expected
        assert [frame["message"]["content"] for frame in expected[:2]] == ["", "answer 0"]
        assert await socket.receive_json() == resume_complete(6)


@pytest.mark.parametrize("query", ["?presence=2", "?events=yes", "?events=1&events=0"])
async def test_another_value_of_the_flag_refuses_the_handshake(
    connect: Connect, live_people: People, query: str
) -> None:
    _socket, accepted, code = await connect.try_connect(live_people.student, None, query)
    assert (accepted, code) == (False, 4403)


def test_the_command_erases_and_says_so(live_people: People) -> None:
    talk(live_people)
    out = io.StringIO()
    call_command("erase_person", "student", "--yes", stdout=out)
    assert out.getvalue() == f"User {live_people.student.pk} is erased, with the texts of 3 messages.\n"
    assert User.objects.get(pk=live_people.student.pk).is_erased
    again = io.StringIO()
    call_command("erase_person", f"erased-{live_people.student.pk}", "--yes", stdout=again)
    assert again.getvalue() == out.getvalue()
    with pytest.raises(CommandError, match=r"^Nobody has the user name student\.$"):
        call_command("erase_person", "student", "--yes")


def test_the_command_does_nothing_where_it_can_ask_nobody(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    talk(people)
    with pytest.raises(CommandError, match=r"^Nobody can be asked here: confirm with --yes\.$"):
        call_command("erase_person", "student")
    assert Message.objects.filter(content="our secret").count() == 3


@pytest.mark.parametrize(("answer", "erased"), [("y", True), ("", False), ("no", False)])
def test_the_command_asks_on_a_terminal(
    live_people: People, monkeypatch: pytest.MonkeyPatch, answer: str, erased: bool
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(f"{answer}\n"))
    if erased:
        call_command("erase_person", "student", stdout=io.StringIO())
    else:
        with pytest.raises(CommandError, match=r"^Nothing was erased\.$"):
            call_command("erase_person", "student", stdout=io.StringIO())
    assert User.objects.get(pk=live_people.student.pk).is_erased is erased


class Terminal(io.StringIO):
    """What somebody types."""

    def isatty(self) -> bool:
        return True


def test_a_batch_leaves_out_what_is_locked_and_the_next_round_takes_it(holder: Holder, live_people: People) -> None:
    conversation = live_people.conversation
    fill(conversation, 4)
    mine = Message.objects.filter(sender=live_people.student).order_by("seq")
    first = mine.first()
    assert first is not None
    holder.lock(first)
    seen: list[int] = []
    for _ in range(2):
        assert not erase_person(person=live_people.student, by=None, until=time.monotonic(), on_batch=seen.append)
        assert (seen, mine.exclude(content="").count()) == ([1], 1)
    holder.commit()
    assert erase_person(person=live_people.student, by=None, on_batch=seen.append)
    assert seen == [1, 1]
    assert not mine.exclude(content="").exists()
