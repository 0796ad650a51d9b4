"""A person is deleted with their conversations, whatever is written meanwhile."""

import threading
from collections.abc import Callable
from typing import Any, Self

import pytest
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from accounts.models import RoleChoices, User, UserProfile
from chat.errors import ClientError
from chat.models import Assignment, Conversation, Message
from chat.moderation.reassignment import reassign_mentor
from chat.store.drafts import Outcome, Sent
from chat.store.last_seen import save_last_seen
from tests.admin import rows
from tests.people import People, client_of, conversation_of, fill, make_user, say
from tests.queries import at_once, paused_after
from tests.service_results import CLOSED, entry, refusal, store

DELETIONS: dict[str, Callable[[People], Any]] = {
    "instance": lambda people: User.objects.get(pk=people.student.pk).delete(),
    "profile": lambda people: UserProfile.objects.get(user=people.student).delete(),
    "queryset": lambda people: User.objects.filter(pk__in=[people.stranger.pk, people.student.pk]).delete(),
    "conversation": lambda people: Conversation.objects.get(pk=people.conversation.pk).delete(),
    "conversations": lambda people: Conversation.objects.filter(student__user=people.student).delete(),
    "mentor": lambda people: UserProfile.objects.filter(user=people.teacher).delete(),
}


class Writing:
    """The mentor writes to their students, one batch after the other, in a thread; keeps what became of it."""

    def __init__(self, teacher: User, conversations: list[Conversation]) -> None:
        self.batch = [entry(conversation, teacher, "hello") for conversation in conversations]
        self.outcomes: list[list[Outcome | None]] = []
        self.error: Exception | None = None
        self._wrote, self._enough = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait_for_another()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join(10)

    def wait_for_another(self) -> None:
        """Return when a batch that began after this call has ended."""
        for _ in range(2):
            self._wrote.clear()
            assert self._wrote.wait(10)

    def _write(self) -> None:
        try:
            while not self._enough.is_set():
                self.outcomes.append(store(self.batch))
                self._wrote.set()
        except Exception as error:  # told to the test's thread
            self.error = error
        finally:
            connection.close()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite lets one transaction write at a time")
@pytest.mark.parametrize("way", DELETIONS)
def test_a_person_is_deleted_while_the_other_side_writes(live_people: People, way: str) -> None:
    conversations = [live_people.conversation]
    for number in range(3):
        student = make_user(f"extra{number}", RoleChoices.STUDENT, mentor=live_people.teacher)
        conversations.append(conversation_of(student, live_people.teacher))
    fill(live_people.conversation, 2000)
    with Writing(live_people.teacher, conversations) as writing:
        DELETIONS[way](live_people)
        writing.wait_for_another()
    assert writing.error is None
    gone = conversations if way == "mentor" else conversations[:1]
    assert not Conversation.objects.filter(pk__in=[one.pk for one in gone]).exists()
    assert not Message.objects.filter(conversation__in=[one.pk for one in gone]).exists()
    last = dict(zip(conversations, writing.outcomes[-1], strict=True))
    assert [one for one in conversations if not isinstance(last[one], Sent)] == gone
    refused = [one for outcomes in writing.outcomes for one in outcomes if isinstance(one, ClientError)]
    assert {refusal(one) for one in refused} == {CLOSED}  # None, which is "locked", is tried again


def test_two_people_of_one_conversation_are_deleted_at_once(live_people: People) -> None:
    fill(live_people.conversation, 200)
    student, teacher = live_people.student, live_people.teacher
    at_once(lambda: User.objects.get(pk=student.pk).delete(), lambda: User.objects.get(pk=teacher.pk).delete())
    assert not User.objects.filter(pk__in=[student.pk, teacher.pk]).exists()
    assert not Conversation.objects.exists()


def test_what_begins_while_a_person_is_deleted_neither_stays_nor_stops_it(live_people: People) -> None:
    """Django has read what belongs to the student; then they get a conversation, a message and a last online time."""
    student, teacher = live_people.student, live_people.teacher

    def begin() -> None:
        conversation = conversation_of(student, teacher)
        say(conversation, student, "hello")
        save_last_seen({student.pk: timezone.now()})

    def delete() -> None:
        User.objects.get(pk=student.pk).delete()
        connection.close()

    with paused_after('FROM "chat_conversation"') as (read, go_on):
        deleting = threading.Thread(target=delete)
        deleting.start()
        assert read.wait(5)
        begin()
        go_on.set()
        deleting.join(10)
    assert not User.objects.filter(pk=student.pk).exists()
    assert not Conversation.objects.exists()


def test_a_process_of_the_version_before_deletes_people_whose_mentor_was_changed(live_people: People) -> None:
    """It knows nothing of who mentored whom, and deletes only what it knows."""
    student, mentor, admin = live_people.student.profile, live_people.teacher.profile, live_people.admin
    reassign_mentor(student, None, by=admin)
    reassign_mentor(student, mentor, by=admin)
    Conversation.objects.all().delete()
    with connection.cursor() as cursor:
        for row in (student, live_people.student, mentor, live_people.teacher, admin):
            if isinstance(row, UserProfile):
                cursor.execute("UPDATE accounts_userprofile SET assigned_mentor_id = NULL")
            cursor.execute(f"DELETE FROM {row._meta.db_table} WHERE id = %s", [row.pk])
    assert Assignment.objects.count() == 2
    connection.check_constraints()
    browser = client_of(make_user("other_admin", RoleChoices.ADMIN, is_superuser=True, is_staff=True))
    assert rows(browser, reverse("admin:chat_assignment_changelist")) == []
