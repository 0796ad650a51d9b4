"""Every kind of person at every socket path of running servers: accepted, or refused with HTTP 403.

Each kind of person has a pair of their own, `student` and `teacher`, whose conversation is "its"; a pair to which
nothing happens has "foreign"; "none" does not exist.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from tests import servers
from tests.e2e.cluster import Cluster, Databases, Pair, Person
from tests.e2e.server import WebServer, start_together
from tests.websocket_client import HandshakeRefusedError

# Who comes; where they are let in: its (own: another conversation of their own) or refused.
MATRIX = """
                            my-conversation/  its/   foreign/  none/   inbox/   may write
student                     its               403    403       403     yes      yes
teacher                     403               its    403       403     yes      yes
teacher made a trainer      403               its    403       403     yes      yes
former mentor               403               its    403       403     yes      no
student of another mentor   own               403    403       403     yes      yes
student without mentor      403               403    403       403     yes      -
student turned teacher      403               403    403       403     yes      -
teacher turned student      403               403    403       403     yes      -
student made administrator  403               403    403       403     403      -
teacher made administrator  403               403    403       403     403      -
student without profile     403               403    403       403     403      -
superuser without profile   403               403    403       403     403      -
locked student              403               403    403       403     403      -
locked teacher              403               403    403       403     403      -
student, locked there       its               403    403       403     yes      no
teacher, locked there       403               its    403       403     yes      no
other student               own               403    403       403     yes      yes
other teacher               403               403    own       403     yes      yes
anonymous                   403               403    403       403     403      -
junk cookie                 403               403    403       403     403      -
cookie with NUL             403               403    403       403     403      -
cookie too long             403               403    403       403     403      -
expired student             403               403    403       403     403      -
expired teacher             403               403    403       403     403      -
deactivated student         403               403    403       403     403      -
deactivated teacher         403               403    403       403     403      -
deleted student             403               403    403       403     403      -
deleted teacher             403               403    403       403     403      -
signed out student          403               403    403       403     403      -
student, new password       403               403    403       403     403      -
"""
COLUMNS, *ROWS = [[line[:28].strip(), *line[28:].split()] for line in MATRIX.strip("\n").splitlines()]
KINDS = [row[0] for row in ROWS]

# Who it is of their pair (s: the student, t: the teacher), and what happened to them before they come, in words of
# SCRIPT; `o` is the teacher to whose conversation nothing happens.
PEOPLE = {
    "student": "s",
    "teacher": "t",
    "teacher made a trainer": "t: change(t, role='TRAINER')",
    "former mentor": "t: change(s, assigned_mentor=o)",
    "student of another mentor": "s: change(s, assigned_mentor=o)",
    "student without mentor": "s: change(s, assigned_mentor=None)",
    "student turned teacher": "s: change(s, role='TEACHER', assigned_mentor=None)",
    "teacher turned student": "t: change(t, role='STUDENT')",
    "student made administrator": "s: change(s, role='ADMIN')",
    "teacher made administrator": "t: change(t, role='ADMIN')",
    "student without profile": "s: s.delete()",
    "superuser without profile": "t: change(t.user, is_superuser=True, is_staff=True); t.delete()",
    "locked student": "s: change(s, is_locked=True)",
    "locked teacher": "t: change(t, is_locked=True)",
    "student, locked there": "s: lock_conversation(s)",
    "teacher, locked there": "t: lock_conversation(s)",
    "other student": "s",
    "other teacher": "t",
    "anonymous": "s",
    "junk cookie": "s",
    "cookie with NUL": "s",
    "cookie too long": "s",
    "expired student": "s: expire(s)",
    "expired teacher": "t: expire(t)",
    "deactivated student": "s: change(s.user, is_active=False)",
    "deactivated teacher": "t: change(t.user, is_active=False)",
    "deleted student": "s: s.user.delete()",
    "deleted teacher": "t: t.user.delete()",
    "signed out student": "s: session(s).delete()",
    "student, new password": "s: s.user.set_password('another'); s.user.save()",
}
NUL = rf'"\000{"x" * 31}"'  # as a cookie says any character, in quotes
SESSION_KEYS = {"anonymous": "", "junk cookie": "x" * 32, "cookie with NUL": NUL, "cookie too long": "x" * 3000}
SCRIPT = """
from datetime import timedelta
from django.utils import timezone
def change(row, **fields): type(row).objects.filter(pk=row.pk).update(**fields)
def lock_conversation(student): Conversation.objects.filter(student=student).update(is_locked=True)
def session(profile): return Session.objects.filter(session_key=keys[profile.user_id])
def expire(profile): session(profile).update(expire_date=timezone.now() - timedelta(seconds=1))
def profile(user_id): return UserProfile.objects.select_related("user").get(user=user_id)
"""


@dataclass
class World:
    """Two servers, a pair for each kind of person, and one to which nothing happens."""

    servers: tuple[WebServer, ...]
    pairs: dict[str, Pair]
    other: Pair

    def person(self, kind: str) -> Person:
        """Who comes, with the cookie that they bring."""
        pair = self.other if kind.startswith("other ") else self.pairs[kind]
        person = pair.student if PEOPLE[kind][0] == "s" else pair.teacher
        return replace(person, session_key=SESSION_KEYS.get(kind, person.session_key))


@pytest.fixture(scope="module")
def world(databases: Databases) -> Iterator[World]:
    with servers.redis() as redis:
        cluster = Cluster(databases.create(), redis)
        other, *pairs = cluster.make_pairs(len(KINDS) + 1)
        made = dict(zip(KINDS, pairs, strict=True))
        people = [person for pair in pairs for person in (pair.student, pair.teacher)]
        lines = [SCRIPT, f"keys = { {person.user_id: person.session_key for person in people} }"]
        lines.append(f"o = profile({other.teacher.user_id})")
        for kind, pair in made.items():
            lines.append(f"s, t = profile({pair.student.user_id}), profile({pair.teacher.user_id})")
            lines.append(PEOPLE[kind].partition(": ")[2])
        cluster.run("manage.py", "shell", "--verbosity", "0", "-c", "\n".join(lines))
        yield World(start_together(cluster.server("daphne"), cluster.server("uvicorn")), made, other)
        cluster.close()


async def try_connect(world: World, server: WebServer, kind: str, path: str) -> str:
    """Where this person gets in: the conversation's id, and "yes" or "no" for writing; else the HTTP status."""
    try:
        async with world.person(kind).socket(server, path=path) as socket:
            established = await socket.receive_json()
            assert list(established) == ["type", "conversation_id", "room_group_name"]
            await socket.send_json({"message": "may I?"})
            answer = await socket.receive_json()
            may = {"new_message": "yes", None: "no"}[answer.get("type")]
            if may == "no":
                why = "locked" if "locked" in kind else "closed"
                assert answer == {"error": f"This conversation is {why}.", "code": f"conversation_{why}"}
            assert await socket.receive_until_pong() == []
            return f"{established['conversation_id']} {may}"
    except HandshakeRefusedError as refused:
        return str(refused.status)


async def open_inbox(world: World, server: WebServer, kind: str) -> str:
    """Whether this person gets an inbox: "yes", or the HTTP status."""
    try:
        async with world.person(kind).socket(server, path="inbox/") as socket:
            assert list(await socket.receive_json()) == ["type", "unread_total"]
            await socket.send_json({"message": "may I?"})
            assert (await socket.receive_json())["code"] == "conversation_not_established"
            return "yes"
    except HandshakeRefusedError as refused:
        return str(refused.status)


@pytest.mark.parametrize("row", ROWS, ids=KINDS)
async def test_sockets_open_only_for_who_may_enter(world: World, row: list[str]) -> None:
    kind, *expected, inbox, may_write = row
    its, foreign = world.pairs[kind].conversation_id, world.other.conversation_id
    paths = ["my-conversation/", f"conversations/{its}/", f"conversations/{foreign}/", "conversations/999999999/"]
    for server in world.servers:
        answers = await asyncio.gather(*(try_connect(world, server, kind, path) for path in paths))
        names = {str(its): "its", str(foreign): "own" if kind.startswith("other ") else "foreign", "403": "403"}
        assert [names.get(answer.split()[0], "own") for answer in answers] == expected
        assert await open_inbox(world, server, kind) == inbox
        assert {may for answer in answers for may in answer.split()[1:]} <= {may_write}
