"""Superusers erase people in the admin, after a page that says what will happen."""

import re
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.test import Client

from accounts.models import RoleChoices, User
from chat.admin import erasure as admin_erasure
from chat.models import Message
from chat.moderation import erasure
from tests.admin import CONVERSATIONS, MESSAGES, USERS, act, rows, told
from tests.people import People, client_of, make_user, say


@pytest.fixture
def browser(people: People) -> Client:
    """A superuser's browser."""
    return client_of(people.admin)


def erase(browser: Client, *people: User, **more: str) -> Any:
    return act(browser, "erase_people", *people, confirmed="yes", **more)


def names() -> list[str]:
    return list(User.objects.order_by("pk").values_list("username", flat=True))


def test_a_page_says_first_what_will_happen_and_changes_nothing(people: People, browser: Client) -> None:
    say(people.conversation, people.student, "one", "two")
    before = names()
    answer = act(browser, "erase_people", people.student, people.stranger)
    page = unescape(re.sub(r"<[^>]+>", " ", answer.content.decode()))
    assert answer.status_code == 200
    for words in ("This cannot be undone.", "The texts of all their messages are gone.", "Backups keep all of it"):
        assert words in page
    table = answer.content.decode().partition('<div class="results">')[2].partition("</table>")[0]
    assert [unescape(re.sub(r"<[^>]+>", "", cell)) for cell in re.findall(r"<td>(.*?)</td>", table)] == [
        *("student", "Student", "Student", "2"),
        *("stranger", "Stranger", "Student", "0"),
    ]
    assert names() == before
    assert Message.objects.filter(content="one").exists()


def test_confirmed_people_are_erased_and_the_history_says_by_whom(people: People, browser: Client) -> None:
    say(people.conversation, people.student, "one", "two")
    answer = erase(browser, people.student, people.stranger)
    assert told(answer) == ["2 people erased."]
    erased = [people.student, people.stranger]
    assert [User.objects.get(pk=person.pk).username for person in erased] == [f"erased-{row.pk}" for row in erased]
    assert not Message.objects.exclude(content="").exists()
    entries = LogEntry.objects.order_by("pk").values_list("user", "object_id", "object_repr", "change_message")
    assert list(entries) == [
        (people.admin.pk, str(row.pk), f"erased-{row.pk}", '[{"changed": {"fields": ["Erased"]}}]')
        for row in sorted(erased, key=lambda row: row.pk)
    ]


def test_what_takes_too_long_goes_on_when_the_action_is_chosen_again(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "ERASED_AT_ONCE", 1)
    monkeypatch.setattr(admin_erasure, "SECONDS", 0)
    say(people.conversation, people.student, "one", "two", "three")
    left = "1 person has too many messages for one step: choose the action again to go on."
    said = [told(erase(client_of(people.admin), people.student)) for _ in range(4)]
    assert said == [[left], [left], [left], ["1 person erased."]]
    assert not Message.objects.exclude(content="").exists()


def test_nobody_erases_themselves(people: People, browser: Client) -> None:
    assert told(erase(browser, people.student, people.admin)) == ["You cannot erase yourself."]
    assert "student" in names()


def test_too_many_at_once_are_refused(people: People, browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_erasure, "PEOPLE_AT_ONCE", 1)
    assert told(erase(browser, people.student, people.stranger)) == ["Choose at most 1 person."]
    assert "student" in names()


@pytest.mark.parametrize("group", ["support", "leads"])
def test_others_do_not_see_the_action_and_cannot_use_it(people: People, group: str) -> None:
    member = make_user("member", RoleChoices.ADMIN, is_staff=True)
    member.groups.add(Group.objects.get(name=group))
    browser = client_of(member)
    assert "erase_people" not in browser.get(USERS).content.decode()
    before = names()
    erase(browser, people.student)
    assert names() == before


def test_the_page_is_in_arabic(people: People, browser: Client) -> None:
    browser.cookies["django_language"] = "ar"
    page = act(browser, "erase_people", people.student).content.decode()
    assert "لا يمكن التراجع عن ذلك" in page
    assert 'dir="rtl"' in page


def test_no_search_finds_an_erased_text_or_name(people: People, browser: Client) -> None:
    say(people.conversation, people.student, "our secret")
    found = [(MESSAGES, "secret"), (USERS, "student@example.com"), (USERS, "Student"), (CONVERSATIONS, "student@")]
    before = [len(rows(browser, path, {"q": term})) for path, term in found]
    assert before == [1, 2, 2, 1]
    erase(browser, people.student)
    after = [len(rows(browser, path, {"q": term})) for path, term in found]
    assert after == [0, 1, 1, 0]


def test_a_conversation_shows_erased_messages_as_such(people: People, browser: Client) -> None:
    conversation = people.conversation
    say(conversation, people.student, "our secret")
    erase(browser, people.student)
    page = browser.get(f"/admin/chat/conversation/{conversation.pk}/transcript/").content.decode()
    assert "<em>erased</em>" in page
    assert "our secret" not in page
    assert f"erased-{people.student.pk}" in page
