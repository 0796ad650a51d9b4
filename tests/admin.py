"""Helpers for the tests of the admin: rows of a list as text, actions, messages."""

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

USERS, PROFILES, CONVERSATIONS, MESSAGES = (
    reverse(f"admin:{name}_changelist")
    for name in ("accounts_user", "accounts_userprofile", "chat_conversation", "chat_message")
)


def rows(browser: Client, path: str, query: dict[str, Any] | None = None) -> list[list[str]]:
    """The cells of a list in words, without the one that selects the row."""
    response = browser.get(path, query)
    assert response.status_code == 200, response
    table = response.content.decode().partition("<tbody>")[2].partition("</tbody>")[0]
    return [
        [
            re.sub(r'.*alt="(\w+)".*', r"\1", cell)
            if "<img" in cell
            else unescape(re.sub(r"<[^>]+>", "", cell)).strip()
            for cell in re.findall(r"<t[dh] class=\"field[^>]*>(.*?)</t[dh]>", row, re.DOTALL)
        ]
        for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    ]


class Fields(HTMLParser):
    """What a browser would post of a page's main form, if nobody touches it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.posted: dict[str, list[str]] = {}
        self._select, self._is_multiple = "", False
        self.feed(
            re.sub(r'.*?(<form[^>]*id="\w+_form")', r"\1", page, count=1, flags=re.DOTALL).partition("</form>")[0]
        )

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        name, value = given.get("name"), given.get("value") or ""
        if tag == "select":
            self._select, self._is_multiple = name or "", "multiple" in given
        elif tag == "option" and self._is_multiple:
            if "selected" in given:
                self.posted.setdefault(self._select, []).append(value)
        elif tag == "option" and ("selected" in given or self._select not in self.posted):
            self.posted[self._select] = [value]
        elif tag == "input" and name and (given.get("type") not in {"submit", "checkbox"} or "checked" in given):
            self.posted.setdefault(name, []).append(value or ("on" if "checked" in given else ""))


def open_page(browser: Client, path: str) -> dict[str, list[str]]:
    """Open a page with a form; return what its "Save" posts."""
    response = browser.get(path)
    assert response.status_code == 200, response
    return Fields(response.content.decode()).posted


def told(response: Any) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


def act(browser: Client, action: str, *people: Any, path: str = USERS, **more: str) -> Any:
    keys = [person.pk for person in people]
    return browser.post(path, {"action": action, "_selected_action": keys, **more})


def change_url(person: Any) -> str:
    return reverse(f"admin:{person._meta.label_lower.replace('.', '_')}_change", args=[person.pk])
