"""Every kind of person at every path of the chat: a row for each kind, a column for each path and verb.

The conversation is that of `student` and `teacher`. "own" paths are the same for all; "its" paths name that
conversation, "no" paths one that does not exist.
"""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.models import Session
from django.test import AsyncClient
from django.utils import timezone

from accounts.models import RoleChoices, User, UserProfile
from chat.models import Conversation, Message
from tests.people import People, conversation_of, make_user, say, session_cookie
from tests.push_service import Browser

SECRET_TEXTS = ("said by the student", "said by the teacher")

COLUMNS = {
    "GET own": ("GET", "my-conversation/"),
    "GET own messages": ("GET", "my-conversation/messages/"),
    "POST own messages": ("POST", "my-conversation/messages/"),
    "GET list": ("GET", "teacher/conversations/"),
    "GET its messages": ("GET", "teacher/conversations/{its}/messages/"),
    "POST its messages": ("POST", "teacher/conversations/{its}/messages/"),
    "POST its mark-read": ("POST", "conversations/{its}/mark-read/"),
    "GET no messages": ("GET", "teacher/conversations/{no}/messages/"),
    "POST no messages": ("POST", "teacher/conversations/{no}/messages/"),
    "POST no mark-read": ("POST", "conversations/{no}/mark-read/"),
    "GET former": ("GET", "my-conversation/former/"),
    "GET its messages as former": ("GET", "my-conversation/former/{its}/messages/"),
    "POST its messages as former": ("POST", "my-conversation/former/{its}/messages/"),
    "GET no messages as former": ("GET", "my-conversation/former/{no}/messages/"),
    "POST no messages as former": ("POST", "my-conversation/former/{no}/messages/"),
    "GET its note": ("GET", "teacher/conversations/{its}/handoff-note/"),
    "GET no note": ("GET", "teacher/conversations/{no}/handoff-note/"),
    "POST its done": ("POST", "conversations/{its}/done/"),
    "POST no done": ("POST", "conversations/{no}/done/"),
    "POST report of the student's": ("POST", "messages/{student}/report/"),
    "POST report of the teacher's": ("POST", "messages/{teacher}/report/"),
    "POST report of nobody's": ("POST", "messages/{nobody}/report/"),
}

# What each is answered, in the order of the columns; "sees": whether the conversation's messages may be shown to them.
#                         own         listits         nobody's    former              note    done    report of
#                         get get pst get get pst mrk get pst mrk lst get pst get pst its no  its no  stu tea no  sees
MATRIX = """
student                   200 200 201 403 403 403 200 403 403 403 200 404 404 404 404 403 403 403 403 400 201 404 yes
teacher                   403 403 403 200 200 201 200 404 404 403 403 403 403 403 403 200 404 200 403 201 400 404 yes
former mentor             403 403 403 200 200 403 200 404 404 403 403 403 403 403 403 200 404 403 403 201 400 404 yes
teacher made a trainer    403 403 403 200 200 201 200 404 404 403 403 403 403 403 403 200 404 200 403 201 400 404 yes
student of another mentor 200 200 201 403 403 403 200 403 403 403 200 200 403 404 404 403 403 403 403 400 201 404 yes
student without mentor    404 404 404 403 403 403 200 403 403 403 200 200 403 404 404 403 403 403 403 400 201 404 yes
other student             200 200 201 403 403 403 403 403 403 403 200 404 404 404 404 403 403 403 403 404 404 404 no
other student, no mentor  404 404 404 403 403 403 403 403 403 403 200 404 404 404 404 403 403 403 403 404 404 404 no
other teacher             403 403 403 200 404 404 403 404 404 403 403 403 403 403 403 404 404 403 403 404 404 404 no
new mentor                403 403 403 200 404 404 403 404 404 403 403 403 403 403 403 404 404 403 403 404 404 404 no
student turned teacher    403 403 403 200 404 404 403 404 404 403 403 403 403 403 403 404 404 403 403 404 404 404 no
teacher turned student    404 404 404 403 403 403 403 403 403 403 200 404 404 404 404 403 403 403 403 404 404 404 no
administrator by role     403 403 403 403 403 403 403 403 403 403 403 403 403 403 403 403 403 403 403 404 404 404 no
admin without profile     403 403 403 403 403 403 403 403 403 403 403 403 403 403 403 403 403 403 403 404 404 404 no
locked student            200 200 403 403 403 403 200 403 403 403 200 404 404 404 404 403 403 403 403 400 201 404 yes
locked former student     404 404 404 403 403 403 200 403 403 403 200 200 403 404 404 403 403 403 403 400 201 404 yes
locked teacher            403 403 403 200 200 403 200 404 404 403 403 403 403 403 403 200 404 200 403 201 400 404 yes
student, locked there     200 200 403 403 403 403 200 403 403 403 200 404 404 404 404 403 403 403 403 400 201 404 yes
teacher, locked there     403 403 403 200 200 403 200 404 404 403 403 403 403 403 403 200 404 200 403 201 400 404 yes
anonymous                 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 no
junk cookie               401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 no
cookie with NUL           401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 no
cookie too long           401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 no
cookie not ASCII          401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 no
expired session           401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 no
signed out                401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 no
password changed          401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 no
deactivated student       401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 no
deactivated teacher       401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 no
deleted                   401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 401 no
"""
ROWS = [(line[:26].strip(), line[26:].split()) for line in MATRIX.strip().splitlines()]

# What those come with who have no session.
NO_SESSIONS = {
    "anonymous": None,
    "junk cookie": "x" * 32,
    "cookie with NUL": "\0" + "x" * 31,
    "cookie too long": "x" * 3000,
    "cookie not ASCII": "\xe9" * 32,
}


def profile(user: User, **fields: Any) -> User:
    UserProfile.objects.filter(user=user).update(**fields)
    return user


def locked_there(people: People) -> Any:
    return Conversation.objects.filter(pk=people.conversation.pk).update(is_locked=True)


def person(kind: str, people: People) -> str | None:
    """Put this person into the described state, and return their cookie, created before that if it matters."""
    same: dict[str, Callable[[], User]] = {
        "student": lambda: people.student,
        "teacher": lambda: people.teacher,
        "former mentor": lambda: profile(people.student, assigned_mentor=people.trainer.profile) and people.teacher,
        "teacher made a trainer": lambda: profile(people.teacher, role=RoleChoices.TRAINER),
        "student of another mentor": lambda: profile(people.student, assigned_mentor=people.trainer.profile),
        "student without mentor": lambda: profile(people.student, assigned_mentor=None),
        "locked student": lambda: profile(people.student, is_locked=True),
        "locked former student": lambda: profile(people.student, is_locked=True, assigned_mentor=None),
        "locked teacher": lambda: profile(people.teacher, is_locked=True),
        "student, locked there": lambda: locked_there(people) and people.student,
        "teacher, locked there": lambda: locked_there(people) and people.teacher,
        "other student": lambda: people.other_student,
        "other student, no mentor": lambda: people.stranger,
        "other teacher": lambda: people.trainer,
        "new mentor": lambda: profile(people.student, assigned_mentor=people.trainer.profile) and people.trainer,
        "student turned teacher": lambda: profile(people.student, role=RoleChoices.TEACHER, assigned_mentor=None),
        "teacher turned student": lambda: profile(people.teacher, role=RoleChoices.STUDENT),
        "administrator by role": lambda: make_user("principal", RoleChoices.ADMIN),
        "admin without profile": lambda: people.admin,
    }
    if kind in same:
        return session_cookie(same[kind]())
    if kind in NO_SESSIONS:
        return NO_SESSIONS[kind]
    user = people.teacher if kind == "deactivated teacher" else people.student
    key = session_cookie(user)
    match kind:
        case "expired session":
            Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
        case "signed out":
            Session.objects.all().delete()
        case "password changed":
            user.set_password("another-password-2026")
            user.save()
        case "deactivated student" | "deactivated teacher":
            User.objects.filter(pk=user.pk).update(is_active=False)
        case "deleted":
            # Somebody without messages: deleting a participant takes the conversation with them.
            gone = make_user("gone", RoleChoices.STUDENT, mentor=people.teacher)
            key = session_cookie(gone)
            gone.delete()
        case _:
            raise AssertionError(kind)
    return key


# Everybody who is signed in has a browser and choices of their own; nobody else has.
NOTIFY = {
    "GET notify/push-key/": (200, None),
    "POST notify/subscriptions/": (201, Browser("phone").subscription),
    "DELETE notify/subscriptions/": (204, {"endpoint": Browser("phone").endpoint}),
    "PATCH auth/me/": (200, {"language": "ar"}),
}


@pytest.mark.usefixtures("notices_on")
@pytest.mark.parametrize(("kind", "expected"), ROWS, ids=[kind for kind, _ in ROWS])
async def test_whoever_is_signed_in_has_notices_and_nobody_else(
    live_people: People, kind: str, expected: list[str]
) -> None:
    client = AsyncClient()
    if key := await sync_to_async(person)(kind, live_people):
        client.cookies["sessionid"] = key
    is_signed_in = expected[0] != "401"
    for request, (status, body) in NOTIFY.items():
        verb, path = request.split()
        answer = await client.generic(verb, f"/api/v1/{path}", json.dumps(body), content_type="application/json")
        has_no_choice = kind == "admin without profile" and verb == "PATCH"
        may = 403 if has_no_choice else status
        assert (request, answer.status_code) == (request, may if is_signed_in else 401)
    assert await UserProfile.objects.filter(language="ar").acount() <= is_signed_in


@sync_to_async
def rows(conversation: Conversation) -> tuple[Any, list[Any]]:
    messages = Message.objects.filter(conversation_id=conversation.pk).order_by("pk").values()
    return Conversation.objects.values().get(pk=conversation.pk), list(messages)


@pytest.mark.parametrize(("kind", "expected"), ROWS, ids=[kind for kind, _ in ROWS])
async def test_everyone_sees_and_does_only_what_they_may(
    live_people: People, kind: str, expected: list[str], settings: Any
) -> None:
    settings.CHAT_RATE_LIMIT = None
    conversation = await sync_to_async(conversation_of)(live_people.student, live_people.teacher)
    for sender, text in zip((live_people.student, live_people.teacher), SECRET_TEXTS, strict=True):
        await sync_to_async(say)(conversation, sender, text)
    newest = await Message.objects.alatest("pk")
    ids = {"its": conversation.pk, "no": conversation.pk + 1000}
    ids |= {"student": newest.pk - 1, "teacher": newest.pk, "nobody": newest.pk + 1000}
    before = await rows(conversation)
    client = AsyncClient()
    if key := await sync_to_async(person)(kind, live_people):
        client.cookies["sessionid"] = key

    answers, shown = [], []
    for verb, template in COLUMNS.values():
        path = "/api/v1/chat/" + template.format(**ids)
        body = json.dumps({"content": "written by whoever this is"}) if verb == "POST" else ""
        response = await client.generic(verb, path, body, content_type="application/json")
        answers.append(str(response.status_code))
        shown.append(response.content.decode())

    *statuses, sees = expected
    assert dict(zip(COLUMNS, answers, strict=True)) == dict(zip(COLUMNS, statuses, strict=True))
    assert any(text in body for text in SECRET_TEXTS for body in shown) == (sees == "yes")
    after = await rows(conversation)
    if sees == "no":
        assert [row["content"] for row in after[1]] == list(SECRET_TEXTS)
    if "200" not in statuses[4:8]:
        assert after == before
