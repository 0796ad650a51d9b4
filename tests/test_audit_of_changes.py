"""What the staff changes or takes out is in the audit trail: who did it, and to whom, in the same transaction."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from django.test import Client

from accounts.models import UserProfile
from chat import services
from chat.models import AuditEntry, Conversation
from tests.admin import CONVERSATIONS, USERS, act, change_url, open_page
from tests.people import People, client_of, conversation_of, say
from tests.test_audit import trail


@pytest.fixture
def browser(people: People) -> Client:
    """An administrator's browser."""
    return client_of(people.admin)


def command(name: str, *options: Any) -> None:
    call_command(name, *options, stdout=StringIO())


class FailedError(Exception):
    """What ends a transaction of a test."""


def test_locking_is_recorded_if_it_changes_anything(people: People, browser: Client) -> None:
    for action in ("lock_people", "lock_people", "unlock_people", "unlock_people"):
        act(browser, action, people.student)
    for action in ("lock_conversations", "lock_conversations", "unlock_conversations", "unlock_conversations"):
        act(browser, action, people.conversation, path=CONVERSATIONS)
    actor, talk = people.admin.pk, people.conversation.pk
    assert trail() == [
        (actor, "locked", None, people.student.pk, ""),
        (actor, "unlocked", None, people.student.pk, ""),
        (actor, "locked", talk, None, ""),
        (actor, "unlocked", talk, None, ""),
    ]


def test_a_change_that_is_rolled_back_is_not_in_the_trail(people: People) -> None:
    with pytest.raises(FailedError), transaction.atomic():
        services.lock_conversation(people.conversation, by=people.admin)
        services.lock_person(people.student.profile, by=people.admin)
        services.reassign_mentor(people.student.profile, people.trainer.profile, by=people.admin)
        assert len(trail()) == 3
        raise FailedError
    assert trail() == []


def test_another_mentor_is_recorded_by_the_verb_and_by_the_form(people: People, browser: Client) -> None:
    student, teacher, trainer, admin = (
        person.pk for person in (people.student, people.teacher, people.trainer, people.admin)
    )
    services.reassign_mentor(people.student.profile, people.trainer.profile, by=people.admin)
    services.reassign_mentor(people.student.profile, people.trainer.profile, by=people.admin)  # is the mentor already
    services.reassign_mentor(people.student.profile, None, by=None)
    page = change_url(people.student)
    posted = open_page(browser, page) | {"profile-0-assigned_mentor": [str(people.teacher.profile.pk)]}
    assert browser.post(page, posted).status_code == 302
    assert UserProfile.objects.get(user=people.student).mentor == people.teacher.profile
    assert trail() == [
        (admin, "reassigned", None, student, f"mentor: user {teacher} before, user {trainer} now"),
        (None, "reassigned", None, student, f"mentor: user {trainer} before, nobody now"),
        (admin, "reassigned", None, student, f"mentor: nobody before, user {teacher} now"),
    ]


def test_an_export_is_recorded_with_each_conversation_in_it(people: People, browser: Client, tmp_path: Path) -> None:
    former = conversation_of(people.student, people.trainer).pk
    talk, other, student, admin = (
        row.pk for row in (people.conversation, people.other_conversation, people.student, people.admin)
    )
    command("export_chat", "--user", "student", "--out", tmp_path / "person.zip")
    mine = [(None, "exported", pk, student, "") for pk in (None, *sorted((talk, former)))]
    assert trail() == mine
    command("export_chat", "--conversation", talk, "--out", tmp_path / "conversation.zip")
    assert trail()[3:] == [(None, "exported", talk, None, "")]
    act(browser, "export_people", people.student)
    assert trail()[4:] == [(admin, *entry[1:]) for entry in mine]
    act(browser, "export_conversations", people.conversation, people.other_conversation, path=CONVERSATIONS)
    assert trail()[7:] == [(admin, "exported", pk, None, "") for pk in sorted((talk, other))]


def test_erasing_is_recorded_when_it_begins_and_when_it_is_done(people: People, browser: Client) -> None:
    say(people.conversation, people.student, "our secret")
    act(browser, "erase_people", people.student, confirmed="yes", path=USERS)
    command("erase_person", "stranger", "--yes", "--keep-reports")
    command("erase_person", f"erased-{people.student.pk}", "--yes")  # is erased already
    admin, student, stranger = (person.pk for person in (people.admin, people.student, people.stranger))
    assert trail() == [
        (admin, "erased", None, student, "begun"),
        (admin, "erased", None, student, "done"),
        (None, "erased", None, stranger, "begun"),
        (None, "erased", None, stranger, "done, reports kept"),
    ]
    assert not any(word in str(list(AuditEntry.objects.values())) for word in ("our secret", "student", "example.com"))


def test_a_conversation_leads_to_its_entries(people: People, browser: Client) -> None:
    services.lock_conversation(people.conversation, by=people.admin)
    services.lock_conversation(people.other_conversation, by=people.admin)
    page = browser.get(change_url(people.conversation)).content.decode()
    link = f"/admin/chat/auditentry/?conversation_id__exact={people.conversation.pk}"
    assert f'href="{link}"' in page
    shown = browser.get(link).context["cl"].result_list
    assert [(entry.action, entry.conversation_id) for entry in shown] == [
        ("opened", people.conversation.pk),
        ("locked", people.conversation.pk),
    ]
    assert Conversation.objects.filter(is_locked=True).count() == 2
