"""Conversations and messages in the admin: read-only, every view of texts recorded, cheap for large tables."""

import logging
import re
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import OperationalError
from django.test import Client, RequestFactory
from django.urls import reverse

from accounts.models import RoleChoices, User, UserProfile
from chat.admin import audit as admin_audit
from chat.admin import transcript as admin_transcript
from chat.models import AuditEntry, Conversation, Message
from tests.admin import CONVERSATIONS, MESSAGES, PROFILES, USERS, act, change_url, rows
from tests.people import People, client_of, conversation_of, fill, make_user, say
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
            "-",
            "3",
            "3",
            "False",
        ],
        [f"#{talks[0][0].pk}", "Student", "Teacher", "March 4, 2026, 3:06 p.m.", "-", "3", "1", "True"],
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
    thread = transcript_url(people.conversation)
    assert f'href="{thread}"' in page
    link = f"{MESSAGES}?conversation__id__exact={people.conversation.pk}"
    assert f'href="{link}"' in browser.get(thread).content.decode()
    assert [row[4] for row in rows(browser, link)] == ["first words"]


def transcript_url(conversation: Conversation) -> str:
    return reverse("admin:chat_conversation_transcript", args=[conversation.pk])


def thread(browser: Client, conversation: Conversation, **query: Any) -> list[tuple[str, str, str]]:
    """Return the messages of a transcript's page: side, name, text."""
    page = browser.get(transcript_url(conversation), query).content.decode()
    found = re.findall(
        r'<li class="(\w+)" id="message-\d+">.*?class="name" dir="auto">(.*?)<.*?<p class="text" dir="auto">(.*?)</p>',
        page,
        re.DOTALL,
    )
    return [(side, name, unescape(text)) for side, name, text in found]


def test_a_transcript_shows_both_sides_oldest_first(people: People, browser: Client) -> None:
    people.student.profile.full_name = ""
    people.student.profile.save()
    say(people.conversation, people.student, "سؤال", "<b>\nsecond line")
    say(people.conversation, people.teacher, "answer")
    say(people.other_conversation, people.trainer, "foreign")
    assert thread(browser, people.conversation) == [
        ("student", "student", "سؤال"),
        ("student", "student", "<b>\nsecond line"),
        ("mentor", "Teacher", "answer"),
    ]
    page = browser.get(transcript_url(people.conversation)).content.decode()
    assert "<b>" not in page
    assert re.search(r'Student:\s*<bdi dir="auto">student</bdi>', page)
    assert re.search(r'Teacher:\s*<bdi dir="auto">Teacher</bdi>', page)


def test_a_transcript_comes_in_pages_at_a_constant_cost(
    people: People, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_transcript, "PAGE_SIZE", 10)
    assert thread(browser, people.conversation) == []
    fill(people.conversation, 25)
    first, last = [f"message {seq}" for seq in range(1, 11)], [f"message {seq}" for seq in range(21, 26)]
    pages = {"": first, "1": first, "3": last, "4": last, "0": last, "-1": last, "x": first, "9" * 5000: first}
    for number, texts in pages.items():
        assert [text for _, _, text in thread(browser, people.conversation, page=number)] == texts, number
    page = browser.get(transcript_url(people.conversation), {"page": 2}).content.decode()
    assert re.findall(r'href="\?page=(\d)"', page) == ["1", "1", "3", "3"] * 2
    conversation = people.conversation
    with recorded_queries() as queries:
        thread(browser, conversation, page=2)
    assert len(queries) <= 6, queries  # session, user, conversation, messages, the record and what it had


def test_a_transcript_is_recorded_like_every_view_of_texts(people: People, browser: Client) -> None:
    messages = say(people.conversation, people.student, "one", "two")
    thread(browser, people.conversation)
    entry = f"messages {messages[0].pk}, {messages[1].pk}"
    assert looks() == [(people.admin.pk, people.conversation.pk, entry)]


@pytest.mark.parametrize(
    ("codenames", "status"),
    [
        (["view_conversation", "view_message"], 200),
        (["view_conversation"], 403),
        (["view_message"], 403),
        (["view_user"], 403),
    ],
)
def test_a_transcript_needs_both_permissions(people: People, codenames: list[str], status: int) -> None:
    say(people.conversation, people.student, "a secret")
    helper = make_user("helper", None, is_staff=True)
    helper.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    answer = client_of(helper).get(transcript_url(people.conversation))
    assert (answer.status_code, "a secret" in answer.content.decode()) == (status, status == 200)
    assert len(looks()) == (status == 200)


def test_who_is_no_staff_sees_no_transcript(people: People) -> None:
    say(people.conversation, people.student, "a secret")
    for user in (None, people.student, people.teacher):
        answer = client_of(user).get(transcript_url(people.conversation))
        assert (answer.status_code, answer["Location"].partition("?")[0]) == (302, reverse("admin:login"))
    assert looks() == []


@pytest.mark.parametrize("number", ["0", "999999", "9" * 30])
def test_a_transcript_of_no_conversation_is_not_found(browser: Client, number: str) -> None:
    assert browser.get(f"/admin/chat/conversation/{number}/transcript/").status_code == 404


def test_names_and_texts_find_their_own_direction_in_every_list(people: People, browser: Client) -> None:
    name = "سارة " * 20
    UserProfile.objects.update(full_name=name)
    say(people.conversation, people.student, "مرحبا")
    span = f'<span class="name" dir="auto" title="{name}">{name}</span>'
    for path, count in ((CONVERSATIONS, 2), (USERS, 5), (PROFILES, 5)):
        assert browser.get(path).content.decode().count(span) >= count, path
    assert '<span class="excerpt" dir="auto">مرحبا</span>' in browser.get(MESSAGES).content.decode()
    message, conversation = people.conversation.messages.get(), people.conversation
    assert '<div class="text" dir="auto">مرحبا</div>' in browser.get(change_url(message)).content.decode()
    assert browser.get(change_url(conversation)).content.decode().count(span) == 2
    for row in (people.student, people.student.profile):
        page = browser.get(change_url(row)).content.decode()
        assert re.search(r'<input[^>]*name="(profile-0-)?full_name"[^>]*dir="auto"', page), row


@pytest.mark.parametrize("term", ["ساره العتيبى", "سَارَة", "ســارة", "الع\u064fتيبي", "٢٠٢٦", "۲۰۲۶", "ﺳﺎﺭﺓ", "أمجآد"])
def test_people_are_found_however_their_arabic_name_is_written(people: People, browser: Client, term: str) -> None:
    people.student.profile.full_name = "سارة العتيبي إمجاد 2026"
    people.student.profile.save()
    people.conversation, people.other_conversation  # noqa: B018 - made at the first use
    found = {path: len(rows(browser, path, {"q": term})) for path in (CONVERSATIONS, USERS, PROFILES)}
    assert found == {CONVERSATIONS: 1, USERS: 1, PROFILES: 1}


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
    few = cost()
    say(people.conversation, people.teacher, *["more"] * 30)
    assert cost() == few <= 6  # and the record of what was shown


def test_no_list_of_messages_counts_or_pages_further_than_its_limit(
    people: People, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_audit, "MAX_LISTED", 5)
    say(people.conversation, people.student, *map(str, range(8)))
    response = browser.get(MESSAGES)
    assert response.context["cl"].paginator.count == 5
    with recorded_queries() as queries:
        browser.get(MESSAGES)
    assert "_facets" not in response.content.decode()
    assert all("LIMIT" in query for query in queries if "COUNT(" in query)
    assert any("COUNT(" in query for query in queries)


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


def looks() -> list[tuple[Any, ...]]:
    """Return who viewed what of which conversation, oldest first."""
    entries = AuditEntry.objects.filter(action="opened").order_by("pk")
    return list(entries.values_list("actor_id", "conversation_id", "detail"))


def test_every_view_of_texts_is_recorded(people: People, browser: Client, caplog: pytest.LogCaptureFixture) -> None:
    first, second = say(people.conversation, people.student, "a secret", "another secret")
    other = say(people.other_conversation, people.trainer, "a third secret")[0]
    mine, theirs = people.conversation.pk, people.other_conversation.pk
    with caplog.at_level(logging.INFO, "chat.admin.audit"):
        rows(browser, MESSAGES, {"conversation__id__exact": mine})
        browser.get(change_url(other))
        rows(browser, MESSAGES, {"q": "secret", "is_read__exact": "0"})
        rows(browser, MESSAGES, {"q": "nothing of the kind"})
    both = f"{first.pk}, {second.pk}"
    shown = [(mine, both), (theirs, str(other.pk)), (theirs, str(other.pk)), (mine, both)]
    assert caplog.messages == [
        f"user {people.admin.pk} is shown messages {ids} of conversation {pk}" for pk, ids in shown
    ]
    assert looks() == [(people.admin.pk, pk, f"messages {ids}") for pk, ids in shown[:2]]  # the others are the same
    assert "secret" not in str(list(AuditEntry.objects.values()))


def test_pages_without_texts_are_not_recorded(people: People, browser: Client) -> None:
    say(people.conversation, people.student, "a secret")
    for path in (CONVERSATIONS, reverse("admin:index")):
        assert "secret" not in browser.get(path).content.decode()
    assert looks() == []
    assert "secret" not in browser.get(change_url(people.conversation)).content.decode()
    assert looks() == [(people.admin.pk, people.conversation.pk, "people and numbers")]


def test_texts_are_not_shown_if_the_record_fails(
    people: People, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = say(people.conversation, people.student, "a secret")[0]

    def fail(*_: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(AuditEntry.objects, "bulk_create", fail)
    browser.raise_request_exception = False
    pages = (MESSAGES, change_url(message), change_url(people.conversation), transcript_url(people.conversation))
    for path in (*pages, f"{CONVERSATIONS}?q=secret"):
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
    model_admin = admin.site.get_model_admin(AuditEntry)
    request = RequestFactory().get("/")
    request.user = User(is_superuser=True, is_staff=True)
    may = [getattr(model_admin, f"has_{verb}_permission")(request) for verb in ("view", "add", "change", "delete")]
    assert may == [True, False, False, False]
