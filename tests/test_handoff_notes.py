"""Hand-off notes: the new mentor and admins read them; no frame and no answer shows one to anybody else."""

import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import AsyncClient
from drf_spectacular.generators import SchemaGenerator

from accounts.models import User
from chat import services
from chat.models import Assignment, Conversation, HandoffNote
from tests.conftest import Connect, Lines, Socket
from tests.people import People, client_of, conversation_of, say, session_cookie
from tests.sockets import in_thread

NOTE = "Her brother is ill; be patient with homework."
PAGES = ("/", "/api/docs/", "/api/schema/", "/api/asyncapi.yaml", "/admin/")


def hand_over(people: People) -> Conversation:
    """Give the student the trainer, with a note; return their conversation."""
    services.reassign_mentor(people.student.profile, people.trainer.profile, by=people.admin, note=NOTE)
    return conversation_of(people.student, people.trainer)


def note_for(user: User, conversation: Conversation) -> tuple[int, Any]:
    response = client_of(user).get(f"/api/v1/chat/teacher/conversations/{conversation.pk}/handoff-note/")
    return response.status_code, response.json()


def created_at(assignment: Assignment) -> str:
    return assignment.created_at.isoformat().replace("+00:00", "Z")


def test_the_new_mentor_reads_the_note(people: People) -> None:
    conversation = hand_over(people)
    expected = {"text": NOTE, "created_at": created_at(Assignment.objects.get())}
    assert note_for(people.trainer, conversation) == (200, expected)


NOTHING = {"text": "", "created_at": None}


def test_others_read_nothing(people: People) -> None:
    conversation = hand_over(people)
    assert note_for(people.teacher, people.conversation) == (200, NOTHING)
    assert note_for(people.teacher, conversation)[0] == 404
    assert note_for(people.student, conversation)[0] == 403
    services.reassign_mentor(people.student.profile, people.teacher.profile, by=people.admin)
    assert note_for(people.trainer, conversation) == (200, NOTHING)
    assert note_for(people.teacher, people.conversation) == (200, NOTHING)
    assert HandoffNote.objects.count() == 1  # admins still have it
    assert note_for(people.trainer, people.other_conversation) == (200, NOTHING)


def all_paths(conversations: list[Conversation]) -> list[tuple[str, str]]:
    """Every operation of REST, for each of these conversations."""
    document: Any = SchemaGenerator().get_schema(request=None, public=True)
    assert len(document["paths"]) > 10
    return [
        (method.upper(), path.replace("{conversation_pk}", str(conversation.pk)))
        for path, methods in document["paths"].items()
        for method in methods
        for conversation in conversations
        if "logout" not in path
    ]


@pytest.mark.parametrize("who", ["student", "teacher", "other_student", "trainer"])
async def test_no_answer_and_no_frame_shows_it_to_anybody_but_the_new_mentor(
    connect: Connect, live_people: People, stack: AsyncExitStack, lines: Lines, who: str
) -> None:
    user: User = getattr(live_people, who)
    old = await in_thread(lambda: live_people.conversation)
    await in_thread(say, old, live_people.student, "before")
    other = await in_thread(lambda: live_people.other_conversation)
    sockets: list[Socket] = []

    async def open_sockets() -> None:
        own = {live_people.teacher: old, live_people.trainer: other}.get(user)
        for path in (own, "inbox/"):
            query = "?events=1&presence=1" + ("" if path == "inbox/" else "&after=0")
            sockets.append(await stack.enter_async_context(connect(user, path, query)))

    await open_sockets()
    conversation = await in_thread(hand_over, live_people)
    await open_sockets()
    await in_thread(say, conversation, live_people.trainer, "hello")

    client = AsyncClient()
    client.cookies["sessionid"] = await in_thread(session_cookie, user)
    shown = []
    for method, path in [*await in_thread(all_paths, [old, conversation]), *[("GET", page) for page in PAGES]]:
        body = json.dumps({"content": "text", "username": user.username, "password": "x"})
        response = await client.generic(method, path, "" if method == "GET" else body, content_type="application/json")
        shown.append(response.content.decode(errors="replace") if not response.streaming else "")
    frames = [text for socket in sockets for text in await received(socket)]
    assert any('"conversation_update"' in text for text in frames) or who == "other_student"
    assert not [text for text in [*frames, *map(json.dumps, lines())] if "brother" in text]
    assert len([text for text in shown if "brother" in text]) == (who == "trainer")


async def received(socket: Socket) -> list[str]:
    """All frames up to the answer of a ping, or to the close."""
    await socket.send_json({"type": "ping"})
    texts: list[str] = []
    while not texts or '"pong"' not in texts[-1]:
        event = await socket.receive_output(5)
        if event["type"] == "websocket.close":
            break
        texts.append(event["text"])
    return texts


def test_staff_without_the_right_do_not_read_it_in_the_admin(people: People) -> None:
    hand_over(people)
    staff = people.stranger
    staff.is_staff = True
    staff.save()
    every = Permission.objects.exclude(codename="view_handoffnote")
    staff.user_permissions.set(every)
    browser = client_of(staff)
    assignment = Assignment.objects.get()
    paths = ["/admin/chat/assignment/", f"/admin/chat/assignment/{assignment.pk}/change/"]
    paths += [f"/admin/accounts/user/{people.student.pk}/{page}/" for page in ("change", "history", "delete")]
    paths += [f"/admin/chat/conversation/{people.conversation.pk}/{page}/" for page in ("change", "transcript")]
    pages = [browser.get(path).content.decode() for path in paths]
    assert not [page for page in pages if "brother" in page]
