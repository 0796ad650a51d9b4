"""Conversations and messages in the admin: read-only, every view of texts recorded, cheap for large tables."""

import logging
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import OperationalError
from django.test import Client
from django.urls import reverse

from accounts.models import RoleChoices, UserProfile
from chat import admin as chat_admin
from chat.models import Conversation, Message
from tests.admin import CONVERSATIONS, MESSAGES, act, change_url, rows
from tests.people import People, client_of, conversation_of, make_user, say
from tests.queries import recorded_queries


@pytest.fixture
def browser(people: People) -> Client:
    """An administrator's browser."""
    return client_of(people.admin)


def test_conversations_are_listed_with_activity_and_counts(people: People, browser: Client) -> None:
    talks = [
        (people.conversation, people.student, people.teacher),
        (people.other_conversation, people.other_student, people.trainer),
    ]
    for conversation, student, teacher in talks:
        say(conversation, student, "one", "two")
        say(conversation, teacher, "three")
    people.conversation.messages.filter(sender=people.student).update(is_read=True)
    UserProfile.objects.filter(user=people.other_student).update(assigned_mentor=None)
    moment = datetime(2026, 3, 4, 15, 6, tzinfo=UTC)
    Conversation.objects.update(updated_at=moment)
    assert rows(browser, CONVERSATIONS) == [
        [
            f"#{talks[1][0].pk}",
            "Other_Student",
            "Trainer",
            "March 4, 2026, 3:06 p.m.",
            "3",
            "3",
            "False",
        ],
        [f"#{talks[0][0].pk}", "Student", "Teacher", "March 4, 2026, 3:06 p.m.", "3", "1", "True"],
    ]


@pytest.mark.parametrize("term", ["other_student@example.com", "Trainer", "other_stud"])
def test_conversations_are_found_by_either_side(people: People, browser: Client, term: str) -> None:
    conversation_of(people.student, people.teacher)
    wanted = people.other_conversation
    assert [row[0] for row in rows(browser, CONVERSATIONS, {"q": term})] == [f"#{wanted.pk}"]


def test_the_list_of_conversations_costs_the_same_for_any_number(people: People, browser: Client) -> None:
    def cost() -> int:
        with recorded_queries() as queries:
            assert rows(browser, CONVERSATIONS)
        return len(queries)

    say(people.conversation, people.student, "one")
    few = cost()
    for number in range(20):
        student = make_user(f"extra{number}", RoleChoices.STUDENT, mentor=people.teacher)
        say(conversation_of(student, people.teacher), student, "one", "two")
    assert cost() == few <= 5  # session, user, count, page


def test_a_conversation_leads_to_its_messages_and_shows_none(people: People, browser: Client) -> None:
    say(people.conversation, people.student, "first words")
    say(people.other_conversation, people.trainer, "other words")
    page = browser.get(change_url(people.conversation)).content.decode()
    assert "first words" not in page
    link = f"{MESSAGES}?conversation__id__exact={people.conversation.pk}"
    assert f'href="{link}"' in page
    assert [row[4] for row in rows(browser, link)] == ["first words"]


def test_messages_are_listed_newest_first_with_their_beginning(people: People, browser: Client) -> None:
    moment = datetime(2026, 3, 4, 15, 6, tzinfo=UTC)
    first, second = say(people.conversation, people.student, "hello", "w" * 100)
    Message.objects.update(timestamp=moment)
    Message.objects.filter(pk=first.pk).update(is_read=True)
    link = f"#{people.conversation.pk}"
    when = "March 4, 2026, 3:06 p.m."
    assert rows(browser, MESSAGES) == [
        [f"#{second.pk}", link, "2", "student", "w" * 79 + "…", when, "False"],
        [f"#{first.pk}", link, "1", "student", "hello", when, "True"],
    ]
    assert [row[0] for row in rows(browser, MESSAGES, {"is_read__exact": "1"})] == [f"#{first.pk}"]
    assert rows(browser, MESSAGES, {"timestamp__gte": "2027-01-01 00:00:00+00:00"}) == []


def test_the_list_of_messages_costs_the_same_for_any_number(people: People, browser: Client) -> None:
    def cost() -> int:
        with recorded_queries() as queries:
            assert rows(browser, MESSAGES)
        return len(queries)

    say(people.conversation, people.student, "one")
    cost()  # Django looks the content types up once per process
    few = cost()
    say(people.conversation, people.teacher, *["more"] * 30)
    assert cost() == few <= 5  # and the record of what was shown


def test_no_list_of_messages_counts_or_pages_further_than_its_limit(
    people: People, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_admin, "MAX_LISTED", 5)
    say(people.conversation, people.student, *map(str, range(8)))
    response = browser.get(MESSAGES)
    assert response.context["cl"].paginator.count == 5
    with recorded_queries() as queries:
        browser.get(MESSAGES)
    assert "_facets" not in response.content.decode()
    assert all("LIMIT" in query for query in queries if "COUNT(" in query)
    assert any("COUNT(" in query for query in queries)


def test_texts_are_searched_in_the_newest_messages_or_in_one_whole_conversation(
    people: People, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(people.conversation, people.student, "needle one", "hay")
    say(people.other_conversation, people.trainer, "needle two", "hay")

    def found(**query: Any) -> list[str]:
        return [row[4] for row in rows(browser, MESSAGES, {"q": "NEEDLE", **query})]

    assert found() == ["needle two", "needle one"]
    monkeypatch.setattr(chat_admin, "MAX_SEARCHED", 2)
    assert found() == ["needle two"]
    assert found(conversation__id__exact=people.conversation.pk) == ["needle one"]


def test_nothing_can_be_added_changed_or_deleted(people: People, browser: Client) -> None:
    message = say(people.conversation, people.student, "hello")[0]
    for row in (people.conversation, message):
        page = browser.get(change_url(row))
        assert page.status_code == 200
        text = page.content.decode()
        assert not re.search(r'<(input|textarea|select)[^>]*name="(?!csrfmiddlewaretoken|next)', text)
        for url in (change_url(row), change_url(row).replace("/change/", "/delete/")):
            assert browser.post(url, {"post": "yes", "content": "changed"}).status_code == 403
        name = row._meta.label_lower.replace(".", "_")
        assert browser.get(reverse(f"admin:{name}_add")).status_code == 403
        response = act(browser, "delete_selected", row, path=reverse(f"admin:{name}_changelist"), post="yes")
        assert type(row).objects.filter(pk=row.pk).exists(), response
    assert Message.objects.get().content == "hello"


def test_texts_are_escaped(people: People, browser: Client) -> None:
    message = say(people.conversation, people.student, "<script>alert(1)</script>")[0]
    for url in (MESSAGES, change_url(message)):
        assert "<script>alert(1)" not in browser.get(url).content.decode()


def looks() -> list[tuple[int, str | None, str]]:
    """Return who viewed which messages of which conversation, oldest first."""
    entries = LogEntry.objects.order_by("pk").values_list("user_id", "object_id", "change_message")
    return list(entries)


def test_every_view_of_texts_is_recorded(people: People, browser: Client, caplog: pytest.LogCaptureFixture) -> None:
    first, second = say(people.conversation, people.student, "a secret", "another secret")
    other = say(people.other_conversation, people.trainer, "a third secret")[0]
    mine, theirs = str(people.conversation.pk), str(people.other_conversation.pk)
    with caplog.at_level(logging.INFO, "chat.admin"):
        rows(browser, MESSAGES, {"conversation__id__exact": mine})
        browser.get(change_url(other))
        rows(browser, MESSAGES, {"q": "secret", "is_read__exact": "0"})
        rows(browser, MESSAGES, {"q": "nothing of the kind"})
    both = f"{first.pk}, {second.pk}"
    shown = [(mine, both), (theirs, str(other.pk)), (theirs, str(other.pk)), (mine, both)]
    assert looks() == [(people.admin.pk, pk, f"Looked at messages {ids}.") for pk, ids in shown]
    assert caplog.messages == [
        f"user {people.admin.pk} is shown messages {ids} of conversation {pk}" for pk, ids in shown
    ]
    history = browser.get(change_url(people.conversation).replace("/change/", "/history/")).content.decode()
    assert history.count(f"Looked at messages {both}.") == 2
    assert "secret" not in history


def test_pages_without_texts_are_not_recorded(people: People, browser: Client) -> None:
    say(people.conversation, people.student, "a secret")
    for path in (CONVERSATIONS, change_url(people.conversation), reverse("admin:index")):
        assert "secret" not in browser.get(path).content.decode()
    assert looks() == []


def test_texts_are_not_shown_if_the_record_fails(
    people: People, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = say(people.conversation, people.student, "a secret")[0]

    def fail(*_: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(LogEntry.objects, "bulk_create", fail)
    browser.raise_request_exception = False
    for path in (MESSAGES, change_url(message)):
        answer = browser.get(path)
        assert (answer.status_code, "secret" in answer.content.decode()) == (503, False)


def test_reading_texts_needs_its_own_permission(people: People) -> None:
    message = say(people.conversation, people.student, "a secret")[0]
    helper = make_user("helper", None, is_staff=True)
    codenames = ["view_conversation", "view_user", "view_userprofile"]
    helper.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    browser = client_of(helper)
    assert rows(browser, CONVERSATIONS)
    assert {browser.get(path).status_code for path in (MESSAGES, change_url(message))} == {403}
    assert looks() == []


def test_the_record_cannot_be_changed_in_the_admin() -> None:
    assert not admin.site.is_registered(LogEntry)
