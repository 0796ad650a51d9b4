"""The cast, and what every test needs around it."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
from asgiref.sync import SyncToAsync, sync_to_async
from channels.layers import channel_layers
from channels.testing import WebsocketCommunicator
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.core.cache import cache
from django.db import connection, connections
from django.db.backends.utils import CursorWrapper
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext

from accounts.models import RoleChoices, User, UserProfile
from chat.database import threads, write_threads
from chat.models import Conversation, Message

PASSWORD = "qader-demo-2026"


def the_pools_let_go() -> None:
    """Have every thread that works for sockets close the connection that it keeps."""
    for pool in (threads(), write_threads()):
        everyone = threading.Barrier(pool._max_workers)

        def let_go(everyone: threading.Barrier = everyone) -> None:
            everyone.wait(timeout=10)
            connections.close_all()

        for closing in [pool.submit(let_go) for _ in range(pool._max_workers)]:
            closing.result()


@pytest.fixture(scope="session", autouse=True)
def _threads_let_go(django_db_setup: None) -> Iterator[None]:
    """What threads keep open must be closed before the test database can be dropped."""
    yield
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()
    the_pools_let_go()


@pytest.fixture(autouse=True)
def _quick_and_clean(settings: Any) -> Iterator[None]:
    """Passwords are hashed fast; nothing of one test's event loop, layer or cache reaches the next."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    cache.clear()
    yield
    channel_layers.backends.clear()
    cache.clear()


def make_user(name: str, role: RoleChoices | None, *, mentor: User | None = None, **fields: Any) -> User:
    """Return a new user; with a role also their profile."""
    user = User.objects.create_user(name, f"{name}@example.com", PASSWORD, **fields)
    if role is not None:
        mentor_profile = mentor.profile if mentor else None
        UserProfile.objects.create(user=user, full_name=name.title(), role=role, assigned_mentor=mentor_profile)
    return user


@dataclass
class Cast:
    """Everybody that the tests talk about; `teacher` mentors `student`, `trainer` mentors `other_student`."""

    teacher: User
    trainer: User
    student: User
    other_student: User
    stranger: User  # a student without a mentor
    admin: User  # a superuser without a profile

    @property
    def conversation(self) -> Conversation:
        """The conversation of student and teacher, made at the first use."""
        return conversation_of(self.student, self.teacher)

    @property
    def other_conversation(self) -> Conversation:
        """The conversation of other_student and trainer, made at the first use."""
        return conversation_of(self.other_student, self.trainer)


def conversation_of(student: User, teacher: User) -> Conversation:
    """Return the conversation of these two, made at the first use."""
    pair = {"student_profile": student.profile, "teacher_profile": teacher.profile}
    return Conversation.get_or_create_conversation(**pair)[0]


def say(conversation: Conversation, sender: User, *contents: str) -> list[Message]:
    """Store messages without telling anybody."""
    return [Message.objects.create(conversation=conversation, sender=sender, content=text) for text in contents]


def fill(conversation: Conversation, count: int) -> list[Message]:
    """Store this many messages at once, by the student and the teacher in turn, without telling anybody."""
    people = [conversation.student.user, conversation.teacher.user]
    begin = Conversation.objects.values_list("last_seq", flat=True).get(pk=conversation.pk)
    seqs = range(begin + 1, begin + count + 1)
    messages = [
        Message(conversation=conversation, sender=people[seq % 2 - 1], content=f"message {seq}", seq=seq)
        for seq in seqs
    ]
    Message.objects.bulk_create(messages, batch_size=5000)
    Conversation.objects.filter(pk=conversation.pk).update(last_seq=seqs[-1], updated_at=messages[-1].timestamp)
    return messages


def make_cast() -> Cast:
    """Return a new cast."""
    teacher = make_user("teacher", RoleChoices.TEACHER)
    trainer = make_user("trainer", RoleChoices.TRAINER)
    return Cast(
        teacher=teacher,
        trainer=trainer,
        student=make_user("student", RoleChoices.STUDENT, mentor=teacher),
        other_student=make_user("other_student", RoleChoices.STUDENT, mentor=trainer),
        stranger=make_user("stranger", RoleChoices.STUDENT),
        admin=make_user("admin", None, is_staff=True, is_superuser=True),
    )


@pytest.fixture
def cast(db: None) -> Cast:
    """The cast, in a test whose database work is all in one thread (REST by Django's client, models, admin)."""
    return make_cast()


@pytest.fixture
def live_cast(transactional_db: None) -> Cast:
    """The cast, in a test with sockets: their threads must see what is committed."""
    return make_cast()


@pytest.fixture
def live_conversation(live_cast: Cast) -> Conversation:
    """The conversation of student and teacher, in a test with sockets."""
    return live_cast.conversation


@contextmanager
def counted_queries() -> Iterator[list[str]]:
    """Collect the statements, but for BEGIN, of the whole process: all threads, all connections, psycopg's cursors."""
    statements: list[str] = []

    def noted(owner: type, name: str) -> Any:
        method = getattr(owner, name)

        def note(self: Any, sql: Any, *args: Any, **kwargs: Any) -> Any:
            ours = isinstance(self, CursorWrapper) or type(self) is psycopg.Cursor
            if ours and not str(sql).startswith("BEGIN"):
                statements.append(str(sql))
            return method(self, sql, *args, **kwargs)

        return patch.object(owner, name, note)

    with noted(CursorWrapper, "execute"), noted(CursorWrapper, "executemany"), noted(psycopg.Cursor, "execute"):
        yield statements


def profile_object(user: User) -> dict[str, Any]:
    """Return a person as the contract shows them."""
    profile = user.profile
    return {
        "user_id": profile.pk,
        "full_name": profile.full_name,
        "username": user.username,
        "email": user.email,
        "role": profile.role,
    }


def message_object(message: Message, reader: User) -> dict[str, Any]:
    """Return a stored message as the contract shows it to `reader`; asks the database."""
    message = Message.objects.select_related("sender__profile").get(pk=message.pk)
    return {
        "id": message.pk,
        "sender": message.sender_id,
        "sender_profile": profile_object(message.sender),
        "content": message.content,
        "timestamp": message.timestamp.isoformat().replace("+00:00", "Z"),
        "is_read": message.is_read,
        "is_own_message": message.sender_id == reader.pk,
    }


def conversation_object(
    conversation: Conversation, reader: User, *, last: Message | None = None, unread: int = 0, is_active: bool = True
) -> dict[str, Any]:
    """Return a conversation as the contract shows it to `reader`; asks the database."""
    conversation = Conversation.objects.get(pk=conversation.pk)
    return {
        "id": conversation.pk,
        "student_profile": profile_object(conversation.student.user),
        "teacher_profile": profile_object(conversation.teacher.user),
        "created_at": conversation.created_at.isoformat().replace("+00:00", "Z"),
        "updated_at": conversation.updated_at.isoformat().replace("+00:00", "Z"),
        "last_message": message_object(last, reader) if last else None,
        "unread_message_count_for_user": unread,
        "is_active": is_active,
    }


def session_cookie(user: User) -> str:
    """Return the key of a new session of this user."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "accounts.authentication.NameOrEmailBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)


def client_of(user: User | None) -> Client:
    """Return an HTTP client that this user is signed in with; None: nobody is."""
    client = Client()
    if user is not None:
        client.cookies["sessionid"] = session_cookie(user)
    return client


@contextmanager
def recorded_queries() -> Iterator[list[str]]:
    """`with recorded_queries() as queries`: afterwards it holds the statements that this thread made meanwhile.

    What only begins and ends transactions is left out: it depends on the test's own transaction.
    """
    queries: list[str] = []
    with CaptureQueriesContext(connection) as captured:
        yield queries
    transactions = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")
    queries += [query["sql"] for query in captured if not query["sql"].startswith(transactions)]


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Return what the calls return, each made in a thread of its own, all let go at the same moment."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        try:
            start.wait(5)
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


class Socket(WebsocketCommunicator):
    """A client's end of a socket of the whole ASGI application."""

    async def receive_json(self, seconds: float = 5) -> Any:
        """Return the next frame; fails where a close comes instead."""
        return json.loads(await self.receive_from(seconds))

    async def send_json(self, frame: Any) -> None:
        """Send a frame."""
        await self.send_to(text_data=json.dumps(frame))

    async def close_code(self, seconds: float = 5) -> int:
        """Return the code with which the server closes next; fails where a frame comes instead."""
        event = await self.receive_output(seconds)
        assert event["type"] == "websocket.close", event
        return int(event["code"])

    async def disconnect(self, *args: Any, **kwargs: Any) -> None:
        """Leave; nothing is left where a `receive_json` has timed out, which ends the application's task."""
        if not self.future.cancelled():
            await super().disconnect(*args, **kwargs)

    async def silence(self) -> None:
        """Check that nothing was sent: a ping is answered next."""
        await self.send_json({"type": "ping"})
        assert await self.receive_json() == {"type": "pong"}


Connect = Callable[..., Any]


@pytest.fixture
async def connect(live_cast: Cast) -> AsyncIterator[Connect]:
    """`async with connect(user, path) as socket`: an accepted socket, its first frame still to be received.

    `path` is a conversation for a mentor, None for a student's own, or text under `/ws/chat/`.
    """
    from qader.asgi import application

    open_sockets: list[Socket] = []

    def url(path: Conversation | str | None, query: str) -> str:
        if isinstance(path, Conversation):
            path = f"conversations/{path.pk}/"
        return f"/ws/chat/{path or 'my-conversation/'}{query}"

    async def knock(
        user: User | None, path: Conversation | str | None = None, query: str = "", *, key: str | None = None
    ) -> tuple[Socket, bool, int | None]:
        headers = [(b"origin", b"http://localhost"), (b"host", b"localhost")]
        if user is not None and key is None:
            key = await sync_to_async(session_cookie)(user)
        if key is not None:
            headers.append((b"cookie", f"sessionid={key}".encode()))
        socket = Socket(application, url(path, query), headers)
        accepted, code = await socket.connect(timeout=5)
        if accepted:
            open_sockets.append(socket)
        else:
            await socket.disconnect()
        return socket, accepted, code

    @asynccontextmanager
    async def opened(*args: Any, **kwargs: Any) -> AsyncIterator[Socket]:
        socket, accepted, code = await knock(*args, **kwargs)
        assert accepted, code
        yield socket
        open_sockets.remove(socket)
        await socket.disconnect()

    opened.knock = knock  # type: ignore[attr-defined]
    yield opened
    for socket in open_sockets:
        await socket.disconnect()
    await loop_is_idle()


Post = Callable[..., Awaitable[HttpResponse]]


@pytest.fixture
async def post(live_cast: Cast) -> AsyncIterator[Post]:
    """`await post(user, path, body)`: the answer to a POST, made in the event loop in which the sockets are.

    `body` is sent as it is where it is text, else as JSON; `user` may be None.
    """

    async def posted(user: User | None, path: str, body: Any = None, **request: Any) -> HttpResponse:
        client = AsyncClient(enforce_csrf_checks=True)
        client.cookies["csrftoken"] = token = "t" * 32
        if user is not None:
            client.cookies["sessionid"] = await sync_to_async(session_cookie)(user)
        request = {"content_type": "application/json", "headers": {"X-CSRFToken": token}} | request
        return await client.post(path, body if isinstance(body, (str, bytes)) else json.dumps(body), **request)

    yield posted
    await loop_is_idle()


async def loop_is_idle() -> None:
    """Let what ends with the last socket end, so that no thread holds the database when the test's data goes."""
    names = ("mailbox-synchronize", "mailbox-publish", "writer")
    tasks = [task for task in asyncio.all_tasks() if task.get_name() in names]
    if tasks:
        await asyncio.wait(tasks, timeout=5)
