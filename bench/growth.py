"""How cost grows with the messages of a conversation and with the conversations of a teacher.

The section runs as a process of its own, `python -m bench.growth`, with the environment of a server process: REST
through Django's test client, sockets through the whole ASGI application, on the same PostgreSQL and Valkey.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import django

from bench.cost import (
    LIMIT_SECONDS,
    LOOKS_SECONDS,
    RECEIVE_SECONDS,
    Costs,
    Loop,
    Operation,
    Operations,
    measure,
)
from bench.database_content import add_students, message_id, store_messages, vacuum
from bench.environment import Environment, Row, say, table
from bench.process import ROOT

UNREAD = 10  # of the other side, at the end of an ordinary conversation
SMALL = 100  # messages in each conversation of a teacher who has many

PAGE = "/api/v1/chat/my-conversation/messages/"
STUDENT = "/api/v1/chat/my-conversation/"
LIST = "/api/v1/chat/teacher/conversations/"


async def run(env: Environment) -> None:
    """Print the tables."""
    sizes = env.sizes
    options = [f"--messages={_joined(sizes.messages)}", f"--conversations={_joined(sizes.conversations)}"]
    command = [sys.executable, "-m", "bench.growth", *options, f"--repeats={sizes.repeats}"]
    environment = {**env.environment, "LOG_LEVEL": "WARNING"}  # each socket would have its lines among the tables
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    env.fault("growth", [f"ended with {code}"] if code else [])


def _joined(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


class Person:
    """Somebody who is signed in, with REST and sockets."""

    def __init__(self, loop: Loop, seeded: dict[str, Any]) -> None:
        from django.test import Client

        self.user_id: int = seeded["user_id"]
        self.path: str = seeded["path"]
        self._loop, self._key = loop, seeded["session_key"]
        self._http = Client(SERVER_NAME="localhost")
        self._http.cookies["sessionid"] = self._key
        self._open: Any = None

    def get(self, path: str, rows: int | None = None) -> Any:
        """Return the JSON of a GET, which must be 200 and have this many results."""
        answer = self._http.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.content[:300])
        body = answer.json()
        assert rows is None or len(body["results"]) == rows, (path, len(body["results"]))
        return body

    def mark_read(self, conversation_id: int) -> None:
        """Mark all as read over REST."""
        answer = self._http.post(f"/api/v1/chat/conversations/{conversation_id}/mark-read/")
        assert answer.status_code == 200, answer.content[:300]

    def connect(self, query: str = "", frames: int = 1) -> None:
        """Open a socket, receive this many frames, and close it at once."""
        self._loop.run(self._connect(query, frames))

    def connect_and_stay(self, query: str = "", frames: int = 1) -> None:
        """Open a socket and keep it for as long as the server has something to do for it."""
        self._loop.run(self._connect(query, frames, LOOKS_SECONDS))

    def send(self) -> None:
        """Send on a socket that stays open, and wait for the acknowledgement."""
        self._loop.run(self._send())

    def leave(self) -> None:
        """Close the socket on which they sent."""
        self._loop.run(self._open.disconnect())

    async def _connect(self, query: str, frames: int, seconds: float = 0) -> None:
        socket = await self._opened(query, frames)
        await asyncio.sleep(seconds)
        await socket.disconnect()

    async def _opened(self, query: str, frames: int) -> Any:
        from channels.testing import WebsocketCommunicator

        from qader.asgi import application

        headers = [(b"host", b"localhost"), (b"origin", b"http://localhost")]
        headers.append((b"cookie", f"sessionid={self._key}".encode()))
        socket = WebsocketCommunicator(application, f"/ws/chat/{self.path}{query}", headers)
        accepted, code = await socket.connect(timeout=RECEIVE_SECONDS)
        assert accepted, code
        for _ in range(frames):
            await socket.receive_from(timeout=RECEIVE_SECONDS)
        return socket

    async def _send(self) -> None:
        if self._open is None:
            self._open = await self._opened("", 1)
        await self._open.send_to(text_data=json.dumps({"message": "How far did you get?"}))
        frame = json.loads(await self._open.receive_from(timeout=RECEIVE_SECONDS))
        assert frame["type"] == "new_message", frame


Pairs = list[dict[str, Any]]


def prepare_messages(sizes: Sequence[int]) -> tuple[Pairs, Pairs]:
    """Store conversations of each size: ordinary ones, and ones of which the teacher has read nothing."""
    from tests.e2e.seed import seed

    ordinary, unread = seed(len(sizes)), seed(len(sizes))
    for size, one, other in zip(sizes, ordinary, unread, strict=True):
        read = size - 2 * UNREAD
        store_messages([one["conversation_id"]], size, student_read=read, teacher_read=read)
        store_messages([other["conversation_id"]], size, student_read=size, teacher_read=0)
    return ordinary, unread


def with_messages(loop: Loop, sizes: Sequence[int], prepared: tuple[Pairs, Pairs], repeats: int) -> Costs:
    """Measure conversations of each size."""
    operations: list[Operations] = []
    for size, one, other in zip(sizes, *prepared, strict=True):
        student, behind = Person(loop, one["student"]), Person(loop, other["student"])
        operations.append(
            unread_calls(f"{UNREAD} unread", student, Person(loop, one["teacher"]))
            | conversation_calls(student, one["conversation_id"], size)
            | unread_calls("the teacher has read nothing", behind, Person(loop, other["teacher"]))
            | {"connect, the teacher has read nothing": Operation(behind.connect, behind.connect_and_stay)}
        )
    return measure(operations, repeats) | sending([Person(loop, pair["student"]) for pair in prepared[0]], repeats)


def sending(people: Sequence[Person], repeats: int) -> Costs:
    """Measure sends, which need a socket that stays open; by itself, since rounds look after open sockets."""
    costs = measure([{"send": Operation(person.send)} for person in people], repeats)
    for person in people:
        person.leave()
    return costs


def unread_calls(what: str, student: Person, teacher: Person) -> Operations:
    """What counts unread messages."""
    return {
        f"the student's conversation, {what}": Operation(lambda: student.get(STUDENT)),
        f"the teacher's list, {what}": Operation(lambda: teacher.get(LIST, 1)),
    }


def conversation_calls(student: Person, pk: int, size: int) -> Operations:
    """What a student does in a conversation of this size; the first of it marks all as read."""
    middle = message_id(pk, size // 2 + 1)
    after = f"?after={message_id(pk, size - 50)}"
    return {
        "a page, `mark_read=false`": Operation(lambda: student.get(f"{PAGE}?mark_read=false", 50)),
        "first page": Operation(lambda: student.get(f"{PAGE}?page=1", 50)),
        "middle page": Operation(lambda: student.get(f"{PAGE}?page={size // 100}", 50)),
        "last page": Operation(lambda: student.get(f"{PAGE}?page=last", 50)),
        "newest (`limit=50`)": Operation(lambda: student.get(f"{PAGE}?limit=50", 50)),
        "`before` the middle": Operation(lambda: student.get(f"{PAGE}?before={middle}&limit=50", 50)),
        "`after` the middle": Operation(lambda: student.get(f"{PAGE}?after={middle}&limit=50")),
        "mark read, nothing unread": Operation(lambda: student.mark_read(pk)),
        "connect": Operation(student.connect, student.connect_and_stay),
        "connect, 50 missed (`?after=`)": Operation(
            lambda: student.connect(after, 1 + 50 + 1), lambda: student.connect_and_stay(after, 1 + 50 + 1)
        ),
    }


def prepare_teachers(sizes: Sequence[int]) -> Pairs:
    """Store a teacher of each number of conversations; returns each with one of their students."""
    from tests.e2e.seed import seed

    pairs = seed(len(sizes))
    for size, pair in zip(sizes, pairs, strict=True):
        pk = pair["conversation_id"]
        read = SMALL - 2 * UNREAD
        store_messages([pk, *add_students(pk, size - 1)], SMALL, student_read=read, teacher_read=read)
    return pairs


def with_conversations(loop: Loop, sizes: Sequence[int], pairs: Pairs, repeats: int) -> Costs:
    """Measure a teacher of each number of conversations."""
    people = [Person(loop, pair["teacher"]) for pair in pairs]
    calls = [teacher_calls(*one) for one in zip(people, sizes, strict=True)]
    return measure(calls, repeats) | sending(people, repeats)


def teacher_calls(teacher: Person, size: int) -> Operations:
    """The operations of a teacher of `size` conversations."""
    return {
        "list, as a client asks for it (up to 50)": Operation(lambda: teacher.get(LIST, min(50, size))),
        "list, first 5": Operation(lambda: teacher.get(f"{LIST}?page_size=5", 5)),
        "list, last 5": Operation(lambda: teacher.get(f"{LIST}?page_size=5&page={size // 5}", 5)),
        "connect": Operation(teacher.connect, teacher.connect_and_stay),
    }


def show(what: str, sizes: Sequence[int], costs: Costs) -> None:
    """Print one table; its last column is the time of the last size divided by that of the first."""
    rows: list[Row] = []
    for name, found in costs.items():
        counts = sorted({cost.queries for cost in found})
        queries = str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"
        rows.append([name, queries, *(cost.ms for cost in found), f"{found[-1].ms / found[0].ms:.1f}"])
    table([what, "queries", *(f"{size:,}" for size in sizes), "last : first"], rows)


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--messages", "--conversations"):
        parser.add_argument(name, type=lambda text: [int(number) for number in text.split(",")], required=True)
    parser.add_argument("--repeats", type=int, required=True)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qader.settings")
    django.setup()
    begin = time.monotonic()
    # All of it first: the news of what is made here would keep the server busy with those who connect.
    sizes, numbers, repeats = options.messages, options.conversations, options.repeats
    pairs, teachers = prepare_messages(sizes), prepare_teachers(numbers)
    vacuum()
    sys.stderr.write(f"growth: filled after {time.monotonic() - begin:.0f} s\n")
    say(f"### Growth: ms, median of {repeats}, and the number of queries (of a connect with the looks that follow)")
    say()
    with Loop() as loop:
        show("messages in the conversation", sizes, with_messages(loop, sizes, pairs, repeats))
        title = f"conversations of a teacher, {SMALL} messages each"
        show(title, numbers, with_conversations(loop, numbers, teachers, repeats))


if __name__ == "__main__":
    main()
