"""Helpers for the tests of the admin: rows of a list as text, actions, messages."""

import re
from html import unescape
from typing import Any

from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

USERS, CONVERSATIONS, MESSAGES = (
    reverse(f"admin:{name}_changelist") for name in ("accounts_user", "chat_conversation", "chat_message")
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


def told(response: Any) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


def act(browser: Client, action: str, *people: Any, path: str = USERS, **more: str) -> Any:
    keys = [person.pk for person in people]
    return browser.post(path, {"action": action, "_selected_action": keys, **more})


def change_url(person: Any) -> str:
    return reverse(f"admin:{person._meta.label_lower.replace('.', '_')}_change", args=[person.pk])
