"""The audit trail: who looked at and searched what, that PostgreSQL keeps it, and how long."""

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, OperationalError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from chat.admin import audit as admin_audit
from chat.models import AuditAction, AuditEntry
from chat.moderation import audit, audit_retention
from chat.moderation.audit import record
from tests.admin import CONVERSATIONS, MESSAGES, change_url, rows
from tests.people import People, client_of, say

ENTRIES = reverse("admin:chat_auditentry_changelist")
only_postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no such triggers of ours")


@pytest.fixture
def browser(people: People) -> Client:
    """An administrator's browser."""
    return client_of(people.admin)


def trail() -> list[tuple[Any, ...]]:
    """All entries, oldest first: who, what, which conversation, which person, detail."""
    fields = ("actor_id", "action", "conversation_id", "person_id", "detail")
    return list(AuditEntry.objects.order_by("pk").values_list(*fields))


def entry_of(age: timedelta) -> AuditEntry:
    """A new entry of this age."""
    return AuditEntry.objects.create(
        actor_id=1, action=AuditAction.EXPORTED, created_at=timezone.now() - age, detail=f"{age.days} days"
    )


@pytest.mark.django_db
def test_an_entry_has_who_what_whom_and_when() -> None:
    begin = timezone.now()
    record(AuditAction.LOCKED, actor_id=7, conversation_id=8, person_id=9, detail="by hand")
    assert trail() == [(7, "locked", 8, 9, "by hand")]
    assert abs(AuditEntry.objects.get().created_at - begin) < timedelta(seconds=10)


@pytest.mark.django_db
def test_a_look_at_the_same_within_a_minute_is_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(action: AuditAction = AuditAction.OPENED, actor: int = 7, detail: str = "messages 1") -> None:
        record(action, actor_id=actor, conversation_id=8, detail=detail)

    look()
    look()
    assert len(trail()) == 1
    look(actor=6)
    look(detail="messages 1, 2")
    assert len(trail()) == 3
    for _ in range(2):
        look(AuditAction.EXPORTED)  # what leaves the house counts each time
    assert len(trail()) == 5
    monkeypatch.setattr(audit, "ONE_LOOK", timedelta(0))
    look()
    assert len(trail()) == 6


def test_a_search_is_recorded_with_where_and_how_many_but_not_what(people: People, browser: Client) -> None:
    say(people.conversation, people.student, "needle", "needle too")
    chosen = people.conversation.pk
    found = {query: len(rows(browser, f"{MESSAGES}?{query}")) for query in ("q=needle", "q=nothing")}
    found |= {"in one": len(rows(browser, f"{MESSAGES}?q=too&conversation__id__exact={chosen}"))}
    found |= {"people": len(rows(browser, f"{CONVERSATIONS}?q=student"))}
    found |= {"nobody": len(rows(browser, f"{CONVERSATIONS}?q=nobody"))}
    assert found == {"q=needle": 2, "q=nothing": 0, "in one": 1, "people": 1, "nobody": 0}
    assert [entry for entry in trail() if entry[1] == "searched"] == [
        (people.admin.pk, "searched", None, None, "message: 2 found"),
        (people.admin.pk, "searched", None, None, "message: 0 found"),
        (people.admin.pk, "searched", chosen, None, "message: 1 found"),
        (people.admin.pk, "searched", None, None, "conversation: 1 found"),
        (people.admin.pk, "searched", None, None, "conversation: 0 found"),
    ]
    assert "needle" not in str(list(AuditEntry.objects.values()))


def test_each_search_is_recorded_also_where_another_one_found_as_many(people: People, browser: Client) -> None:
    for term in ("one", "two"):
        browser.get(f"{MESSAGES}?q={term}")
    assert trail() == [(people.admin.pk, "searched", None, None, "message: 0 found")] * 2


def test_a_search_that_finds_very_much_says_so(
    people: People, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_audit, "MAX_LISTED", 2)
    say(people.conversation, people.student, "needle", "needle", "needle")
    browser.get(f"{MESSAGES}?q=needle")
    assert trail()[0][4] == "message: 2 or more found"


def test_lists_without_a_search_are_no_search(people: People, browser: Client) -> None:
    for path in (MESSAGES, CONVERSATIONS, f"{MESSAGES}?q=", f"{MESSAGES}?is_read__exact=0"):
        assert browser.get(path).status_code == 200
    assert trail() == []


def test_an_empty_transcript_is_recorded_too(people: People, browser: Client) -> None:
    assert browser.get(reverse("admin:chat_conversation_transcript", args=[people.conversation.pk])).status_code == 200
    assert trail() == [(people.admin.pk, "opened", people.conversation.pk, None, "transcript, empty")]


@pytest.mark.parametrize("headers", [{"Sec-Purpose": "prefetch;prerender"}, {"Purpose": "prefetch"}, {"HEAD": "1"}])
def test_nothing_is_shown_or_recorded_before_somebody_looks(
    people: People, browser: Client, headers: dict[str, str]
) -> None:
    message = say(people.conversation, people.student, "a secret")[0]
    ask: Callable[..., Any] = browser.head if "HEAD" in headers else browser.get
    transcript = reverse("admin:chat_conversation_transcript", args=[people.conversation.pk])
    for path in (MESSAGES, f"{MESSAGES}?q=secret", CONVERSATIONS, change_url(message), transcript):
        answer = ask(path, headers=headers)
        assert (answer.status_code, answer.content) == (403, b""), path
    assert trail() == []
    assert browser.get(MESSAGES).status_code == 200
    assert len(trail()) == 1


def test_no_choice_of_a_form_searches_conversations(people: People, browser: Client) -> None:
    say(people.conversation, people.student, "a secret")
    fields = {"app_label": "chat", "model_name": "message", "field_name": "conversation", "term": "student"}
    assert browser.get("/admin/autocomplete/", fields).json()["results"] == []
    assert trail() == []


def test_the_list_names_who_and_whom_and_finds_by_name(people: People, browser: Client) -> None:
    record(AuditAction.LOCKED, actor_id=people.admin.pk, person_id=people.student.pk, detail="first")
    record(AuditAction.PURGED, actor_id=None, detail="second")
    record(AuditAction.EXPORTED, actor_id=people.teacher.pk, conversation_id=77, detail="third")
    record(AuditAction.ERASED, actor_id=people.admin.pk, person_id=999_999, detail="fourth")
    assert [row[1:] for row in rows(browser, ENTRIES)] == [
        ["admin", "erased", "-", "#999999", "fourth"],
        ["teacher", "exported", "#77", "-", "third"],
        ["-", "purged", "-", "-", "second"],
        ["admin", "locked", "-", "student", "first"],
    ]
    assert [row[5] for row in rows(browser, ENTRIES, {"q": "student"})] == ["first"]
    assert [row[5] for row in rows(browser, ENTRIES, {"q": "teacher"})] == ["third"]
    assert rows(browser, ENTRIES, {"q": "nobody"}) == []
    assert [row[5] for row in rows(browser, ENTRIES, {"conversation_id__exact": "77"})] == ["third"]


def test_a_conversation_leads_to_its_trail_for_those_who_may_see_it(people: People, browser: Client) -> None:
    link = f'href="{ENTRIES}?conversation_id__exact={people.conversation.pk}"'
    assert link in browser.get(change_url(people.conversation)).content.decode()


@only_postgresql
@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE chat_auditentry SET detail = 'nothing'",
        "DELETE FROM chat_auditentry",
        "TRUNCATE chat_auditentry",
    ],
)
def test_postgresql_keeps_every_entry_from_its_owner_too(statement: str) -> None:
    record(AuditAction.LOCKED, actor_id=7)
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE chat_auditentry ENABLE TRIGGER chat_auditentry_not_emptied"
        )  # as migrations leave it
        with pytest.raises(DatabaseError, match="neither changed nor deleted"), transaction.atomic():
            cursor.execute(statement)
        cursor.execute("ALTER TABLE chat_auditentry DISABLE TRIGGER chat_auditentry_not_emptied")
    assert trail() == [(7, "locked", None, None, "")]


def purge() -> str:
    """Run the command and return what it says."""
    output = StringIO()
    call_command("purge_audit", stdout=output)
    return output.getvalue()


@pytest.mark.django_db
def test_old_entries_are_purged_in_steps_and_each_step_is_an_entry(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.AUDIT_KEEP_DAYS = 100
    monkeypatch.setattr(audit_retention, "AT_ONCE", 2)
    for days in (99, 101, 300, 102):
        entry_of(timedelta(days=days))
    assert purge() == "3 entries of the audit trail deleted, older than 100 days.\n"
    before = f"{timezone.now() - timedelta(days=100):%Y-%m-%d}"
    assert trail() == [
        (1, "exported", None, None, "99 days"),
        (None, "purged", None, None, f"audit trail before {before}: 2"),
        (None, "purged", None, None, f"audit trail before {before}: 1"),
    ]
    assert purge() == "0 entries of the audit trail deleted, older than 100 days.\n"
    assert len(trail()) == 3


@only_postgresql
@pytest.mark.django_db
def test_after_a_purge_entries_are_kept_as_before() -> None:
    entry_of(timedelta(days=5000))
    purge()
    with pytest.raises(DatabaseError, match="neither changed nor deleted"), transaction.atomic():
        AuditEntry.objects.all().delete()
    assert len(trail()) == 1


@only_postgresql
@pytest.mark.django_db
def test_who_does_not_own_the_table_purges_nothing() -> None:
    entry_of(timedelta(days=5000))
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE no_owner; GRANT SELECT, INSERT, UPDATE, DELETE ON chat_auditentry TO no_owner")
        cursor.execute("SET ROLE no_owner")
        try:
            with transaction.atomic(), pytest.raises(CommandError, match="only the owner"):
                purge()
        except DatabaseError:
            pass  # the transaction of the test is rolled back to before the failure
        finally:
            cursor.execute("RESET ROLE")
    assert len(trail()) == 1


@pytest.mark.django_db
def test_a_purge_that_cannot_have_the_table_says_that_it_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("canceling statement due to lock timeout\nDETAIL: more")

    monkeypatch.setattr(audit_retention, "_purge_oldest", fail)
    with pytest.raises(CommandError, match=r"^run it again later: canceling statement due to lock timeout$"):
        purge()
