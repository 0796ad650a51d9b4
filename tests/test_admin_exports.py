"""Leads export people and conversations in the admin, as a file that is made while it is downloaded."""

import io
import json
from typing import Any
from zipfile import ZipFile

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.test import AsyncClient, Client

from accounts.models import RoleChoices, User
from chat.admin import exports as admin_exports
from chat.models import Conversation
from tests.admin import CONVERSATIONS, USERS, act, told
from tests.people import People, client_of, conversation_of, make_user, message_object, say, session_cookie
from tests.sockets import in_thread


def member(group: str | None) -> User:
    """Return somebody of the staff: of this group, or a superuser."""
    user = make_user(group or "root", RoleChoices.ADMIN, is_staff=True, is_superuser=group is None)
    if group is not None:
        user.groups.add(Group.objects.get(name=group))
    return user


async def download(actor: User, action: str, path: str, *chosen: Any) -> Any:
    client = AsyncClient()
    client.cookies["sessionid"] = await in_thread(session_cookie, actor)
    answer: Any = await client.post(path, {"action": action, "_selected_action": [row.pk for row in chosen]})
    assert answer.status_code == 200
    assert answer.streaming
    assert answer["Content-Type"] == "application/zip"
    assert "no-store" in answer["Cache-Control"]
    content = b"".join([part async for part in answer.streaming_content])
    return answer["Content-Disposition"], ZipFile(io.BytesIO(content))


@pytest.mark.parametrize("group", ["leads", None])
async def test_a_person_is_exported(live_people: People, group: str | None) -> None:
    actor = await in_thread(member, group)
    conversation = await sync_to_async(lambda: live_people.conversation)()
    [message] = await in_thread(say, conversation, live_people.student, "hello")
    name, archive = await download(actor, "export_people", USERS, live_people.student)
    assert name.startswith('attachment; filename="people-')
    assert archive.namelist() == ["messages.json", "messages.csv", "SHA256SUMS"]
    found = json.loads(archive.read("messages.json"))
    assert found["person"]["username"] == "student"
    expected = await in_thread(message_object, message, live_people.student)
    assert found["conversations"][0]["messages"] == [expected]


async def test_several_people_have_a_folder_each(live_people: People) -> None:
    chosen = [live_people.student, live_people.teacher]
    _name, archive = await download(live_people.admin, "export_people", USERS, *chosen)
    folders = [f"user-{person.pk}/{name}" for person in chosen for name in ("messages.json", "messages.csv")]
    assert sorted(archive.namelist()) == sorted([*folders, "SHA256SUMS"])


async def test_conversations_are_exported_without_what_is_stored_about_people(live_people: People) -> None:
    mine: Conversation = await in_thread(conversation_of, live_people.student, live_people.teacher)
    other: Conversation = await in_thread(conversation_of, live_people.other_student, live_people.trainer)
    await in_thread(say, other, live_people.trainer, "hello")
    _name, archive = await download(live_people.admin, "export_conversations", CONVERSATIONS, mine, other)
    found = json.loads(archive.read("messages.json"))
    assert found["person"] is None
    assert [(row["id"], len(row["messages"])) for row in found["conversations"]] == [(mine.pk, 0), (other.pk, 1)]


@pytest.mark.parametrize(("action", "path"), [("export_people", USERS), ("export_conversations", CONVERSATIONS)])
def test_support_does_not_see_the_actions_and_cannot_use_them(people: People, action: str, path: str) -> None:
    browser: Client = client_of(member("support"))
    chosen = people.student if path == USERS else people.conversation
    assert action not in browser.get(path).content.decode()
    answer = act(browser, action, chosen, path=path)
    assert not answer.streaming


def test_too_many_at_once_are_refused(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_exports, "PEOPLE_AT_ONCE", 1)
    monkeypatch.setattr(admin_exports, "CONVERSATIONS_AT_ONCE", 1)
    browser = client_of(people.admin)
    answer = act(browser, "export_people", people.student, people.teacher)
    assert told(answer) == ["Choose at most 1 person."]
    browser = client_of(people.admin)
    chosen = (people.conversation, people.other_conversation)
    answer = act(browser, "export_conversations", *chosen, path=CONVERSATIONS)
    assert told(answer) == ["Choose at most 1 conversation."]
