"""Mentor reassignment as one verb: the old conversation closes, the new one opens, everybody concerned is told."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.urls import reverse

from accounts.models import RoleChoices, User, UserProfile
from chat import services
from chat.models import Assignment, Conversation, HandoffNote
from chat.models.moderation import MAX_NOTE_LENGTH
from chat.store.batch import STATEMENT
from chat.store.drafts import Draft, Sent
from tests.admin import open_page
from tests.conftest import Connect, Socket
from tests.conversation_sockets import ConversationSockets, open_and_silent
from tests.holder import Holder
from tests.people import People, client_of, conversation_object, conversation_of, make_user, say
from tests.queries import at_once, counted_queries
from tests.service_results import CLOSED, reassign, refusal, store, stored
from tests.sockets import connected, in_thread

NOT_ALLOWED = 4403
NEVER = 1000


@pytest.fixture
def people(live_people: People) -> People:
    """What the writer stores is committed, and it sees only what is."""
    return live_people


def assigned(student: User) -> User | None:
    mentor = UserProfile.objects.get(user=student).assigned_mentor
    return mentor.user if mentor else None


def user_of(profile: UserProfile | None) -> User | None:
    return profile.user if profile else None


def history(student: User) -> list[tuple[User | None, User | None, User | None]]:
    """From whom to whom, and by whom, oldest first."""
    rows = Assignment.objects.filter(student=student.profile).order_by("pk")
    return [(user_of(row.former), user_of(row.mentor), row.by) for row in rows]


def active(student: User) -> dict[User, bool]:
    rows = Conversation.objects.with_people().filter(student=student.profile)
    return {row.teacher.user: row.is_active for row in rows}


def may_write(student: User, mentor: User) -> list[bool]:
    """Whether each side's message is stored, the student's first."""
    conversation = conversation_of(student, mentor)
    outcomes = store([Draft(conversation.pk, user.pk, "may I?", None) for user in (student, mentor)])
    return [isinstance(outcome, Sent) for outcome in outcomes]


def by_service(people: People, student: User, mentor: User | None) -> None:
    services.reassign_mentor(student.profile, mentor.profile if mentor else None, by=people.admin)


def by_save(people: People, student: User, mentor: User | None) -> None:
    profile = UserProfile.objects.get(user=student)
    profile.assigned_mentor, profile.changed_by = mentor.profile if mentor else None, people.admin
    profile.save()


def by_save_of_one_field(people: People, student: User, mentor: User | None) -> None:
    profile = UserProfile.objects.get(user=student)
    profile.assigned_mentor_id, profile.changed_by = mentor.profile.pk if mentor else None, people.admin
    profile.save(update_fields=["assigned_mentor"])


def by_admin_form(people: People, student: User, mentor: User | None) -> None:
    browser, path = client_of(people.admin), reverse("admin:accounts_userprofile_change", args=[student.profile.pk])
    fields = open_page(browser, path)
    response = browser.post(path, fields | {"assigned_mentor": mentor.profile.pk if mentor else ""})
    assert response.status_code == 302, response.content


Change = Callable[[People, User, User | None], None]
WAYS = [by_service, by_save, by_save_of_one_field, by_admin_form]


@pytest.fixture(params=WAYS, ids=[way.__name__ for way in WAYS])
def change(request: pytest.FixtureRequest) -> Change:
    """A way to give a student another mentor."""
    way: Change = request.param
    return way


def test_the_old_conversation_closes_and_the_new_one_exists(people: People, change: Change) -> None:
    say(people.conversation, people.student, "before")
    change(people, people.student, people.trainer)
    assert assigned(people.student) == people.trainer
    assert active(people.student) == {people.teacher: False, people.trainer: True}
    assert history(people.student) == [(people.teacher, people.trainer, people.admin)]
    assert may_write(people.student, people.teacher) == [False, False]
    assert may_write(people.student, people.trainer) == [True, True]


def test_back_again_opens_the_old_conversation(people: People, change: Change) -> None:
    old = people.conversation
    say(old, people.student, "before")
    change(people, people.student, people.trainer)
    change(people, people.student, people.teacher)
    assert active(people.student) == {people.teacher: True, people.trainer: False}
    assert history(people.student) == [
        (people.teacher, people.trainer, people.admin),
        (people.trainer, people.teacher, people.admin),
    ]
    assert conversation_of(people.student, people.teacher) == old
    assert may_write(people.student, people.teacher) == [True, True]


def test_the_same_mentor_again_changes_nothing(people: People, change: Change) -> None:
    people.conversation  # noqa: B018 - makes it
    change(people, people.student, people.teacher)
    assert (history(people.student), active(people.student)) == ([], {people.teacher: True})
    assert not Conversation.objects.exclude(pk=people.conversation.pk).exists()


def test_a_mentor_can_be_taken_away_and_given(people: People, change: Change) -> None:
    say(people.conversation, people.student, "before")
    change(people, people.student, None)
    assert (assigned(people.student), active(people.student)) == (None, {people.teacher: False})
    change(people, people.student, people.trainer)
    assert history(people.student) == [
        (people.teacher, None, people.admin),
        (None, people.trainer, people.admin),
    ]
    assert active(people.student) == {people.teacher: False, people.trainer: True}


def test_an_import_creates_the_first_conversation_itself(people: People) -> None:
    student = make_user("imported", RoleChoices.STUDENT)
    student.profile.assigned_mentor = people.teacher.profile
    student.profile.save()
    conversation = Conversation.objects.create(student=student.profile, teacher=people.teacher.profile)
    assert active(student) == {people.teacher: True}
    assert history(student) == [(None, people.teacher, None)]
    by_service(people, student, people.trainer)
    assert active(student) == {people.teacher: False, people.trainer: True}
    assert conversation.pk


def test_other_changes_of_a_profile_are_no_reassignment(people: People) -> None:
    profile = UserProfile.objects.get(user=people.student)
    profile.full_name = "Another Name"
    profile.save()
    UserProfile.objects.get(user=people.teacher).save()
    assert not Assignment.objects.exists()


def test_a_stale_profile_brings_its_mentor_back_on_record(people: People) -> None:
    stale = UserProfile.objects.get(user=people.student)
    by_service(people, people.student, people.trainer)
    stale.full_name = "Another Name"
    stale.save()
    assert history(people.student) == [
        (people.teacher, people.trainer, people.admin),
        (people.trainer, people.teacher, None),
    ]
    assert may_write(people.student, people.teacher) == [True, True]


def test_the_profiles_that_were_given_may_be_stale(people: People) -> None:
    student, mentor = UserProfile.objects.get(user=people.student), UserProfile.objects.get(user=people.trainer)
    assert services.reassign_mentor(student, mentor, by=people.admin) is not None
    student.save()  # it knows its new mentor
    assert (assigned(people.student), len(history(people.student))) == (people.trainer, 1)
    reassign(people.student, people.teacher)
    services.reassign_mentor(student, mentor, by=people.admin)
    assert assigned(people.student) == people.trainer


@pytest.mark.parametrize(
    ("student", "mentor"), [("teacher", "trainer"), ("admin", "trainer"), ("student", "other_student")]
)
def test_only_students_get_mentors_and_only_mentors_are_given(people: People, student: str, mentor: str) -> None:
    pupil = getattr(getattr(people, student), "profile", None) or UserProfile(pk=10**9)
    with pytest.raises(ValidationError):
        services.reassign_mentor(pupil, getattr(people, mentor).profile, by=people.admin)
    if student != "student":
        with pytest.raises(ValidationError):
            services.reassign_mentor(pupil, None, by=people.admin)
    assert not Assignment.objects.exists()
    assert assigned(people.student) == people.teacher


def test_a_mentor_who_lost_the_role_meanwhile_is_refused(people: People) -> None:
    UserProfile.objects.filter(user=people.trainer).update(role=RoleChoices.ADMIN)
    with pytest.raises(ValidationError):
        services.reassign_mentor(people.student.profile, people.trainer.profile, by=people.admin)
    assert assigned(people.student) == people.teacher


def test_the_note_is_kept_beside_the_record(people: People) -> None:
    assignment = services.reassign_mentor(
        people.student.profile, people.trainer.profile, by=people.admin, note="Likes fractions."
    )
    assert [(note.assignment, note.text) for note in HandoffNote.objects.all()] == [(assignment, "Likes fractions.")]


@pytest.mark.parametrize("note", ["x" * (MAX_NOTE_LENGTH + 1), "a\0b"])
def test_a_note_that_cannot_be_stored_leaves_the_mentor(people: People, note: str) -> None:
    with pytest.raises(ValidationError):
        services.reassign_mentor(people.student.profile, people.trainer.profile, by=people.admin, note=note)
    assert (assigned(people.student), active(people.student)) == (people.teacher, {})
    assert not Assignment.objects.exists()


def test_a_failure_leaves_nothing_half_done(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails at the end takes the saved mentor back with it, in a save, too."""
    people.conversation  # noqa: B018 - makes it
    profile = UserProfile.objects.get(user=people.student)
    profile.assigned_mentor = people.trainer.profile
    profile.changed_by = User(pk=None)  # cannot be referred to
    with pytest.raises(ValueError, match="unsaved"):
        profile.save()
    assert (assigned(people.student), active(people.student)) == (people.teacher, {people.teacher: True})


@pytest.fixture
async def sockets(connect: Connect, live_people: People, live_conversation: Conversation, settings: Any) -> Any:
    """The room, where events do all the work and the rounds none."""
    settings.CHAT_HEAL_SECONDS = NEVER
    async with AsyncExitStack() as stack:
        yield ConversationSockets(connect, live_people, live_conversation, stack)


async def inbox_of(sockets: ConversationSockets, user: User) -> Socket:
    socket: Socket = await sockets.stack.enter_async_context(sockets.connect(user, "inbox/"))
    assert (await socket.receive_json())["type"] == "inbox_established"
    return socket


async def told(socket: Socket, reader: User, states: dict[Conversation, bool]) -> None:
    """Check that the inbox is told these states of exactly these conversations, perhaps after older ones."""
    expected = {
        conversation.pk: await in_thread(conversation_object, conversation, reader, is_active=is_active)
        for conversation, is_active in states.items()
    }
    latest: dict[int, Any] = {}
    async with asyncio.timeout(5):
        while latest != expected:
            frame = await socket.receive_json()
            assert frame["type"] == "conversation_update"
            latest[frame["conversation"]["id"]] = frame["conversation"]
            assert latest.keys() <= expected.keys()


async def test_everybody_is_told_and_the_old_sockets_close(
    sockets: ConversationSockets, live_people: People, live_conversation: Conversation, change: Change
) -> None:
    student, teacher, trainer = live_people.student, live_people.teacher, live_people.trainer
    inboxes = {user: await inbox_of(sockets, user) for user in (student, teacher, trainer)}
    ending, staying = [await sockets.student(), await sockets.teacher()], await sockets.bystanders()
    conversation_of_bystanders = await in_thread(lambda: live_people.other_conversation)
    await told(inboxes[trainer], trainer, {conversation_of_bystanders: True})
    await in_thread(change, live_people, student, trainer)
    for socket in ending:
        assert await socket.close_code() == NOT_ALLOWED
    new = await Conversation.objects.aget(student=student.profile, teacher=trainer.profile)
    await told(inboxes[student], student, {live_conversation: False, new: True})
    await told(inboxes[teacher], teacher, {live_conversation: False})
    await told(inboxes[trainer], trainer, {new: True})
    await in_thread(change, live_people, student, teacher)
    await told(inboxes[student], student, {live_conversation: True, new: False})
    await told(inboxes[teacher], teacher, {live_conversation: True})
    await told(inboxes[trainer], trainer, {new: False})
    await open_and_silent(*staying)


async def test_the_student_connects_to_the_new_conversation_at_once(
    sockets: ConversationSockets, live_people: People
) -> None:
    await in_thread(by_service, live_people, live_people.student, live_people.trainer)
    new = await Conversation.objects.aget(teacher=live_people.trainer.profile, student=live_people.student.profile)
    async with connected(sockets.connect, live_people.trainer, new) as trainer:
        await trainer.silence()
    async with sockets.connect(live_people.student) as student:
        assert (await student.receive_json())["conversation_id"] == str(new.pk)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="on SQLite one transaction follows the other")
class TestWhileOthersWrite:
    """Concurrent with sends and with other changes; PostgreSQL only."""

    def test_no_message_enters_behind_the_change(self, live_people: People, monkeypatch: pytest.MonkeyPatch) -> None:
        """A statement that began before the change and gets the lock after it must not store by what it saw."""
        conversation = live_people.conversation
        slow = STATEMENT.replace(
            "WHERE id = ANY(%(conversation)s::bigint[])\n        FOR NO KEY",
            "WHERE id = ANY(%(conversation)s::bigint[]) AND (SELECT pg_advisory_xact_lock(21)) IS NOT NULL\n"
            "        FOR NO KEY",
        )
        assert slow != STATEMENT
        monkeypatch.setattr("chat.store.batch.STATEMENT", slow)
        holder = Holder()
        holder.execute("SELECT pg_advisory_xact_lock(21)")
        draft = Draft(conversation.pk, live_people.student.pk, "too late", None)

        def change() -> None:
            while not waits_for_advisory_lock():
                pass
            by_service(live_people, live_people.student, live_people.trainer)
            holder.commit()

        [outcome], _ = at_once(lambda: store([draft]), change)
        holder.close()
        assert outcome is None  # as if it had met a locked row: the writer tries again
        assert refusal(store([draft])[0]) == CLOSED
        assert stored(conversation) == []

    def test_two_changes_at_once_follow_each_other(self, live_people: People) -> None:
        changes = [
            lambda mentor=mentor: by_service(live_people, live_people.student, mentor)
            for mentor in (live_people.trainer, None, live_people.trainer, None)
        ]
        at_once(*changes)
        steps = history(live_people.student)
        assert [former for former, _, _ in steps] == [live_people.teacher, *(mentor for _, mentor, _ in steps[:-1])]
        assert assigned(live_people.student) == steps[-1][1]


def waits_for_advisory_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)")
        return bool(cursor.fetchone()[0])


def test_a_reassignment_takes_few_statements(people: People) -> None:
    people.conversation  # noqa: B018 - makes it
    profiles = people.student.profile, people.trainer.profile
    with counted_queries() as queries:
        services.reassign_mentor(*profiles, by=people.admin)
    assert len([sql for sql in queries if "SAVEPOINT" not in sql]) <= 13, queries
