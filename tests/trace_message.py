"""`make trace`: sends one message from a student to their mentor, and prints the functions of ours that it passes.

The whole application runs in this process, on a PostgreSQL of its own and the in-memory channel layer, with both
sockets open. A break is where the message goes on in another thread, in another task or in a callback.
"""

import asyncio
import os
import secrets
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from tests.servers import postgresql

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = tuple(str(ROOT / name) + "/" for name in ("chat", "accounts", "qader"))
STARTED_BELOW = 8  # bytes of code: a coroutine that is resumed stands behind its beginning, one that is called does not


@dataclass
class Trace:
    """The functions that were called while `recording`, and what led to each that no other function of ours called."""

    recording: bool = False
    functions: dict[tuple[str, str], str] = field(default_factory=dict)  # (file, function) -> break before it

    def on_event(self, frame: FrameType, event: str, _: Any) -> None:
        """Receive what `sys.setprofile` reports."""
        code = frame.f_code
        if self.recording and event == "call" and _is_ours(frame) and frame.f_lasti < STARTED_BELOW:
            key = (str(Path(code.co_filename).relative_to(ROOT)), code.co_qualname)
            self.functions.setdefault(key, "" if _has_caller(frame) else _break(frame))


def _is_ours(frame: FrameType) -> bool:
    # Python 3.12 has no frames for comprehensions any more.
    return frame.f_code.co_filename.startswith(PACKAGES) and not frame.f_code.co_name.endswith("comp>")


def _has_caller(frame: FrameType) -> bool:
    caller = frame.f_back
    while caller is not None and not _is_ours(caller):
        caller = caller.f_back
    return caller is not None


def _break(frame: FrameType) -> str:
    if threading.current_thread() is not threading.main_thread():
        return "thread"
    return "task" if frame.f_code.co_flags & 0x80 else "callback"  # 0x80: a coroutine


def _cookies() -> tuple[dict[str, str], int]:
    """Make the database and the demo people; return the session keys of two of them, and their conversation's id."""
    from django.core.management import call_command
    from django.test import Client

    from accounts.models import User
    from chat.models import Conversation

    call_command("migrate", verbosity=0)
    call_command("seed_demo", "--force", verbosity=0, stdout=open(os.devnull, "w"))  # noqa: SIM115 - until the end
    keys = {}
    for name in ("student1", "teacher1"):
        client = Client()
        client.force_login(User.objects.get(username=name))
        keys[name] = client.cookies["sessionid"].value
    return keys, Conversation.objects.get(student__user__username="student1").pk


async def send_one(trace: Trace) -> None:
    """Connect both, send a first message so that everything is set up, then record the second."""
    from asgiref.sync import sync_to_async
    from channels.testing import WebsocketCommunicator

    from qader.asgi import application

    keys, conversation_id = await sync_to_async(_cookies)()

    async def connect(name: str, path: str) -> WebsocketCommunicator:
        cookie = f"sessionid={keys[name]}".encode()
        headers = [(b"origin", b"http://localhost"), (b"host", b"localhost"), (b"cookie", cookie)]
        socket = WebsocketCommunicator(application, f"/ws/chat/{path}", headers)
        assert (await socket.connect(timeout=5))[0]
        assert (await socket.receive_json_from(5))["type"] == "connection_established"
        return socket

    student = await connect("student1", "my-conversation/")
    mentor = await connect("teacher1", f"conversations/{conversation_id}/")
    await asyncio.sleep(2)  # the healing of new sockets is over
    for trace.recording in (False, True):
        await student.send_json_to({"message": "Is the exam on Sunday?"})
        for socket in (mentor, student):
            while (await socket.receive_json_from(5))["type"] != "new_message":
                pass
        await asyncio.sleep(0.1)
    trace.recording = False
    for socket in (student, mentor):
        await socket.disconnect()


def _close_connections() -> None:
    """Give PostgreSQL's connections back, or it would wait for them at its end."""
    from django.db import connection

    connection.close()
    if hasattr(connection, "close_pool"):
        connection.close_pool()


def report(trace: Trace) -> str:
    """Return the functions in order, by file, and how many there are."""
    lines, before = [], None
    for (file, function), broken in trace.functions.items():
        if broken:
            lines.append(f"--- {broken}")
        lines.append(f"{file if file != before else '':36}{function}")
        before = file
    files = {file for file, _ in trace.functions}
    breaks = sum(map(bool, trace.functions.values()))
    return "\n".join([*lines, "", f"{len(trace.functions)} functions, {len(files)} files, {breaks} breaks"])


def main() -> None:
    """Trace one message and print the report."""
    with postgresql() as database:
        settings = {"DEBUG": "0", "SECURE_SSL": "0", "ALLOWED_HOSTS": "localhost", "LOG_LEVEL": "WARNING"}
        os.environ |= settings | {"DATABASE_URL": database.url, "REDIS_URL": "", "SECRET_KEY": secrets.token_hex(32)}
        os.environ["DJANGO_SETTINGS_MODULE"] = "qader.settings"
        trace = Trace()
        threading.setprofile(trace.on_event)
        sys.setprofile(trace.on_event)
        try:
            asyncio.run(send_one(trace))
        finally:
            sys.setprofile(None)
            _close_connections()
        sys.stdout.write(report(trace) + "\n")


if __name__ == "__main__":
    main()
