"""The fixtures of all tests: people, sockets, REST requests, log lines."""

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, sync_to_async
from channels.layers import channel_layers
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache
from django.core.management.color import no_style
from django.db import OperationalError, connection, connections
from django.test import AsyncClient, TransactionTestCase

from accounts.models import User
from chat.models import Conversation
from qader.http.static_files import WhiteNoiseMiddleware
from qader.observability.log_format import JsonLine
from tests.contract import check_close, check_frame
from tests.holder import Holder, server_lock_timeout
from tests.mail_server import mailbox  # noqa: F401 - a fixture
from tests.notices import notices_on, service  # noqa: F401 - fixtures
from tests.people import People, make_people, session_cookie
from tests.queries import wait_for_idle_threads


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what the lanes of `make test` select by."""
    parser.addoption(
        "--databases-only", action="store_true", help="only files with tests that touch a database or need Redis"
    )
    parser.addoption("--e2e-only", action="store_true", help="only tests/e2e/")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what another lane runs: a file that has nothing to do with a database or Redis runs once."""

    def needs_servers(item: pytest.Item) -> bool:
        names = {"db", "transactional_db"}.intersection(getattr(item, "fixturenames", ()))
        return bool(names or item.get_closest_marker("django_db") or item.get_closest_marker("skipif"))

    if config.getoption("--e2e-only"):
        selected = [item for item in items if "e2e" in item.path.parts]
    elif config.getoption("--databases-only"):
        files = {item.path for item in items if needs_servers(item)}
        selected = [item for item in items if item.path in files]
    else:
        return
    chosen = set(selected)
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = selected


@pytest.fixture(scope="session", autouse=True)
def _threads_let_go(django_db_setup: None) -> Iterator[None]:
    """What threads keep open must be closed before the test database can be dropped."""
    yield
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()
    wait_for_idle_threads(connections.close_all)


@pytest.fixture(scope="session", autouse=True)
def _static_files_found_once() -> Iterator[None]:
    """Each client makes the middleware anew, and WhiteNoise would look for all files each time: a third of a run."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    find = WhiteNoiseMiddleware.update_files_dictionary

    def find_once(middleware: Any, root: str, prefix: str) -> None:
        if (root, prefix) not in found:
            find(middleware, root, prefix)
            found[root, prefix] = dict(middleware.files)
        middleware.files.update(found[root, prefix])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WhiteNoiseMiddleware, "update_files_dictionary", find_once)
        yield


KEPT = {model._meta.db_table for model in (ContentType, Permission, Group, Group.permissions.through)}


@contextmanager
def limited_lock_wait() -> Iterator[None]:
    """Wait for 10 s, not for ever, for what a test before has left in a transaction."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        before = cursor.fetchone()[0]
        cursor.execute("SET lock_timeout = '10s'")
    yield
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", [before])


def end_other_transactions() -> list[Any]:
    """End the sessions of this database that are in a transaction; return what each was doing."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid, state, query, pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
        )
        return list(cursor.fetchall())


@pytest.fixture(scope="session", autouse=True)
def _tables_emptied_quickly() -> Iterator[None]:
    """After a test with committed rows. Django would also make all permissions and groups anew, which takes longer."""

    def empty_tables(_: TransactionTestCase) -> None:
        tables = set(connection.introspection.django_table_names(only_existing=True, include_views=False)) - KEPT
        statements = connection.ops.sql_flush(no_style(), sorted(tables))
        with limited_lock_wait():
            try:
                connection.ops.execute_sql_flush(statements)
            except OperationalError:
                left = end_other_transactions()
                connection.ops.execute_sql_flush(statements)
                pytest.fail(f"this test, or one before, has left a transaction open: {left}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty_tables)
        yield


@pytest.fixture(scope="session", autouse=True)
def _tables_can_be_emptied(django_db_setup: None, django_db_blocker: Any) -> None:
    """What a test has committed is removed by TRUNCATE, which the audit trail refuses on PostgreSQL."""
    is_ours = str(connection.settings_dict["NAME"]).startswith("test_")  # end-to-end tests have databases of their own
    if connection.vendor == "postgresql" and is_ours:
        with django_db_blocker.unblock():
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE chat_auditentry DISABLE TRIGGER chat_auditentry_not_emptied")
            connection.close()


@pytest.fixture(autouse=True)
def _quick_and_clean(settings: Any) -> Iterator[None]:
    """Passwords are hashed fast, answers checked; nothing of one test's event loop, layer or cache reaches the next."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.MIDDLEWARE = ["tests.contract.middleware", *settings.MIDDLEWARE]
    cache.clear()
    yield
    channel_layers.backends.clear()
    cache.clear()


@pytest.fixture
def people(db: None) -> People:
    """The people, in a test whose database work is all in one thread (REST by Django's client, models, admin)."""
    return make_people()


@pytest.fixture
def live_people(transactional_db: None) -> People:
    """The people, in a test with sockets: their threads see only committed rows."""
    return make_people()


@pytest.fixture
def live_conversation(live_people: People) -> Conversation:
    """The conversation of student and teacher, in a test with sockets."""
    return live_people.conversation


@pytest.fixture
def holder(live_people: People) -> Iterator[Holder]:
    """Somebody else who locks rows; the application's connections have a server's lock_timeout."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite locks no rows.")
    with server_lock_timeout():
        holder = Holder()
        yield holder
        holder.close()


class Socket(WebsocketCommunicator):
    """The in-process client: a socket of the whole ASGI application. Fails on undocumented frames and close codes."""

    def __init__(self, application: Any, path: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
        super().__init__(application, path, list(headers))
        self.headers = dict(headers)  # the application forgets them

    async def receive_output(self, timeout: float = 1) -> Any:  # noqa: ASYNC109 - channels' own
        """Return what the server does next."""
        event = await super().receive_output(timeout)
        if event["type"] == "websocket.send":
            check_frame(self.scope["path"], event["text"])
        elif event["type"] == "websocket.close":
            check_close(event.get("code", 1000))
        return event

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


Connect = Any  # a function that has a function, `connect.try_connect`


@pytest.fixture
async def connect(live_people: People) -> AsyncIterator[Connect]:
    """`async with connect(user, path) as socket`: an accepted socket, its first frame still to be received.

    `path` is a conversation for a mentor, None for a student's own, or text under `/ws/chat/`.
    """
    from qader.asgi import application

    open_sockets: list[Socket] = []

    def url(path: Conversation | str | None, query: str) -> str:
        if isinstance(path, Conversation):
            path = f"conversations/{path.pk}/"
        return f"/ws/chat/{path or 'my-conversation/'}{query}"

    async def try_connect(
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
        socket, accepted, code = await try_connect(*args, **kwargs)
        assert accepted, code
        yield socket
        open_sockets.remove(socket)
        await socket.disconnect()

    opened.try_connect = try_connect  # type: ignore[attr-defined]
    yield opened
    for socket in open_sockets:
        await socket.disconnect()
    await loop_is_idle()


Post = Callable[..., Awaitable[Any]]


@pytest.fixture
async def post(live_people: People) -> AsyncIterator[Post]:
    """`await post(user, path, body)`: the answer to a POST, made in the event loop in which the sockets are.

    `body` is sent as it is where it is text, else as JSON; `user` may be None.
    """

    async def posted(user: User | None, path: str, body: Any = None, **request: Any) -> Any:
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
    names = ("event-bus-synchronize", "event-bus-publish", "presence-report")
    tasks = [task for task in asyncio.all_tasks() if task.get_name() in names]
    if tasks:
        await asyncio.wait(tasks, timeout=5)
    await asyncio.to_thread(wait_for_idle_threads)  # what a socket began goes on in its thread when the socket is gone


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """For sockets that stay open until the test ends."""
    async with AsyncExitStack() as opened:
        yield opened


Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """`lines()`: what was logged so far, as production writes it."""
    import qader.asgi  # noqa: F401 - sets the log up anew when it is first imported

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLine())
    root = logging.getLogger()
    root.addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.removeHandler(handler)
