"""What is logged: one line an event, with who caused it, and nothing of what people write or who they are."""

import asyncio
import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvloop
from channels.testing import HttpCommunicator
from django.contrib.sessions.models import Session
from django.db import IntegrityError, OperationalError, connection

from accounts import tracing
from chat import events, outbox, sockets
from chat.batch import Draft
from chat.database import in_database
from chat.models import Conversation
from chat.outbox import Outbox
from chat.writer import writer
from qader.logs import JsonLine, ReadableLine
from tests.cast import Cast, session_cookie
from tests.conftest import Connect, loop_is_idle
from tests.outside import database_away
from tests.sockets import entered, in_thread, key_of, settled, socket_of

ROOT = Path(__file__).resolve().parent.parent
SECRET = "what nobody else may read"

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


def without_time(line: dict[str, Any]) -> dict[str, Any]:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
    return {name: value for name, value in line.items() if name not in {"time", "seconds", "ms"}}


def record(message: str, *args: Any, error: BaseException | None = None, **extra: Any) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("chat.test", logging.INFO, "file.py", 1, message, args, exc_info)
    vars(made).update(extra)
    return made


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


def test_an_event_is_one_json_object_in_one_line() -> None:
    given = record("healed conversation %s", 7, fields={"kind": "conversation", "seconds": 1.5})
    text = JsonLine().format(given)
    assert "\n" not in text
    line = json.loads(text)
    assert line.pop("seconds") == 1.5
    assert without_time(line) == {
        "level": "INFO",
        "logger": "chat.test",
        "event": "healed conversation 7",
        "kind": "conversation",
    }


def test_what_others_hang_on_a_record_is_left_out() -> None:
    given = record("answered", request=f"<Request {SECRET}>", status_code=500)
    assert without_time(json.loads(JsonLine().format(given))) == {
        "level": "INFO",
        "logger": "chat.test",
        "event": "answered",
    }


def test_an_exception_tells_its_kind_and_its_way_but_not_its_words() -> None:
    error = raised(OperationalError(SECRET), raised(IntegrityError(f"DETAIL: Failing row contains ({SECRET})")))
    text = JsonLine().format(record("a batch failed", error=error))
    assert SECRET not in text
    assert "\n" not in text
    line = json.loads(text)
    assert line["error"] == "IntegrityError > OperationalError"
    assert [re.sub(r"^.*/|:\d+", "", place) for place in line["stack"]] == ["test_logs.py raised"] * 2


def test_what_asyncio_adds_to_its_message_is_left_out() -> None:
    given = record(f"Task exception was never retrieved\nfuture: <Task exception=ValueError('{SECRET}')>")
    assert json.loads(JsonLine().format(given))["event"] == "Task exception was never retrieved"


def test_the_words_of_an_exception_are_left_out_of_the_event_too() -> None:
    error = raised(ValueError(SECRET))
    line = JsonLine().format(record("Exception inside application: %s", error, error=error))  # as daphne has it
    assert json.loads(line)["event"] == "Exception inside application: ValueError"
    assert SECRET not in line


@pytest.mark.parametrize("make_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_of_a_callback_that_fails_the_arguments_are_left_out(lines: Lines, make_loop: Any) -> None:
    def fail(*_: Any) -> None:
        raise ValueError

    async def call() -> None:
        asyncio.get_running_loop().call_soon(partial(fail, [Draft(1, 2, SECRET, None)]), Draft(1, 2, SECRET, None))
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(call())
    (line,) = (line for line in lines() if line["logger"] == "asyncio")
    assert line["event"].startswith("Exception in callback ")
    assert line["error"] == "ValueError"
    assert SECRET not in json.dumps(line)


def test_in_development_it_is_a_line_to_read_with_all_of_the_traceback() -> None:
    given = record("socket opened", fields={"kind": "inbox"}, error=raised(ValueError("why")))
    first, *rest = ReadableLine().format(given).splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} INFO    chat\.test socket opened kind=inbox", first)
    assert (rest[0], rest[-1]) == ("Traceback (most recent call last):", "ValueError: why")


@pytest.mark.parametrize(("debug", "formatter"), [("0", "qader.logs.JsonLine"), ("1", "qader.logs.ReadableLine")])
def test_which_of_them_it_is_debug_decides(debug: str, formatter: str) -> None:
    program = "from qader.settings import LOGGING; print(LOGGING['formatters']['line']['()'])"
    environment = {"DEBUG": debug, "SECRET_KEY": "k" * 50}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True, capture_output=True)
    assert done.stdout.decode().strip() == formatter


def test_what_nobody_caught_and_what_python_warns_of_are_lines_too() -> None:
    program = f"""
import logging, sys, threading, warnings
from qader.logs import JsonLine, log_all
handler = logging.StreamHandler()
handler.setFormatter(JsonLine())
logging.basicConfig(handlers=[handler], level=logging.INFO)
log_all()
warnings.warn("old", DeprecationWarning)
def fail():
    raise ValueError("{SECRET}")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
class Falling:
    def __del__(self):
        fail()
Falling()
fail()
"""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", program], cwd=ROOT, check=False, capture_output=True, text=True
    )
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["level"], line["logger"], line.get("error")) for line in told] == [
        ("WARNING", "py.warnings", None),
        ("ERROR", "qader.logs", "ValueError"),
        ("ERROR", "qader.logs", "ValueError"),
        ("CRITICAL", "qader.logs", "ValueError"),
    ]
    assert SECRET not in done.stderr
    assert done.returncode == 1


# Sockets.


@pytest.fixture
async def stack() -> Any:
    async with AsyncExitStack() as opened:
        yield opened


async def test_a_socket_has_a_line_for_its_opening_and_one_for_its_end(
    connect: Connect, live_cast: Cast, lines: Lines
) -> None:
    async with entered(connect, live_cast.student) as socket:
        await socket.silence()
        await socket.disconnect(1001)
    opened, closed = lines()
    connection = opened["connection"]
    assert re.fullmatch(r"[0-9a-f]{16}", connection)
    common = {
        "level": "INFO",
        "logger": "chat.sockets",
        "connection": connection,
        "user": live_cast.student.pk,
        "kind": "conversation",
    }
    assert without_time(opened) == common | {"event": "socket opened"}
    assert without_time(closed) == common | {
        "event": "socket closed",
        "code": 1001,
        "by": "client",
        "frames_in": 1,
        "frames_out": 2,
    }
    assert 0 <= closed["seconds"] < 60


async def test_a_socket_that_is_refused_has_one_line(connect: Connect, live_cast: Cast, lines: Lines) -> None:
    await connect.knock(live_cast.teacher)
    (line,) = lines()
    assert line.pop("connection")
    assert without_time(line) == {
        "level": "INFO",
        "logger": "qader.access",
        "event": "socket refused",
        "reason": "not_a_student",
    }


async def test_what_is_found_out_for_a_socket_is_logged_in_its_name(
    connect: Connect, live_cast: Cast, live_conversation: Conversation, lines: Lines, stack: AsyncExitStack
) -> None:
    student = await stack.enter_async_context(entered(connect, live_cast.student))
    await stack.enter_async_context(entered(connect, live_cast.teacher, live_conversation))
    await settled()
    mine, theirs = (line["connection"] for line in lines())
    assert mine != theirs
    await Session.objects.filter(pk=key_of(student)).adelete()
    assert await student.close_code() == 4401
    await student.disconnect(4401)
    told = lines()[2:]
    assert [(line["event"], line["connection"], line["user"]) for line in told] == [
        ("may not stay: 4401", mine, live_cast.student.pk),
        ("socket closed", mine, live_cast.student.pk),
    ]


async def test_what_a_socket_cannot_be_sent_is_logged_in_its_own_name_not_in_the_senders(
    monkeypatch: pytest.MonkeyPatch, lines: Lines
) -> None:
    """The sender's task brings the news; the receiver's writes it."""
    monkeypatch.setattr(outbox, "SEND_SECONDS", 0.01)
    closed = asyncio.Event()

    async def never(text: str) -> None:
        await asyncio.Event().wait()

    async def receiver() -> Outbox:
        tracing.begin("connection", "receiver")
        box = Outbox(never, lambda code: closed.set())
        box.begin([])
        return box

    box = await asyncio.create_task(receiver())

    async def sender() -> None:
        tracing.begin("connection", "sender")
        box.say(json.dumps({"type": "pong"}))

    await asyncio.create_task(sender())
    await asyncio.wait_for(closed.wait(), 5)
    assert [(line["event"], line["connection"]) for line in lines()] == [
        ("socket closed, frame not sent: TimeoutError", "receiver")
    ]


@pytest.mark.django_db(transaction=True)
async def test_threads_that_work_for_a_socket_log_in_its_name(lines: Lines) -> None:
    tracing.begin("connection", "mine").user_id = 5
    await in_database(logging.getLogger("chat.test").warning, "looked up")
    (line,) = lines()
    assert (line["event"], line["connection"], line["user"]) == ("looked up", "mine", 5)


async def test_a_socket_that_cannot_be_closed_is_cut_in_its_own_name(
    live_cast: Cast, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qader.asgi import application

    monkeypatch.setattr(sockets, "CLOSE_SECONDS", 0.05)
    client = await in_thread(socket_of, live_cast.student)
    received: asyncio.Queue[Any] = asyncio.Queue()
    received.put_nowait({"type": "websocket.connect"})
    first_frame = asyncio.Event()

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            first_frame.set()
        if message["type"] == "websocket.close":
            await asyncio.Event().wait()

    served = asyncio.create_task(application(client.scope, received.get, send))
    await asyncio.wait_for(first_frame.wait(), 5)
    await Session.objects.filter(pk=key_of(client)).adelete()
    await asyncio.wait_for(served, 5)
    told = [(line["event"], line["connection"]) for line in lines()]
    connection = told[0][1]
    assert told == [
        ("socket opened", connection),
        ("may not stay: 4401", connection),
        ("socket cut: TimeoutError", connection),
        ("socket closed", connection),
    ]


async def test_what_serves_everybody_is_nobodys_doing(live_cast: Cast, live_conversation: Conversation) -> None:
    """Whoever happened to wake the writer is no more the cause of its batch than the others in it."""
    causes: asyncio.Queue[tracing.Trace | None] = asyncio.Queue()
    group = [events.conversation_group(live_conversation.pk)]
    tracing.begin("connection", "first")

    def listener(_: events.AnyEvent) -> None:
        causes.put_nowait(tracing.current())

    await events.mailbox().join(group, listener)
    await writer().write(Draft(live_conversation.pk, live_cast.student.pk, "hello", None))
    assert await asyncio.wait_for(causes.get(), 5) is None
    assert tracing.current() is not None
    events.mailbox().leave(group, listener)
    await loop_is_idle()


async def test_content_that_the_database_quotes_is_not_logged(
    connect: Connect, live_cast: Cast, live_conversation: Conversation, lines: Lines
) -> None:
    def forbid() -> None:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("ALTER TABLE chat_message ADD CONSTRAINT forbidden CHECK (content NOT LIKE 'what %')")
            else:
                cursor.execute(
                    "CREATE TRIGGER forbidden BEFORE INSERT ON chat_message WHEN NEW.content LIKE 'what %' "
                    f"BEGIN SELECT RAISE(ABORT, '{SECRET}'); END"
                )

    def allow() -> None:
        with connection.cursor() as cursor:
            on_postgresql = connection.vendor == "postgresql"
            cursor.execute(
                "ALTER TABLE chat_message DROP CONSTRAINT forbidden" if on_postgresql else "DROP TRIGGER forbidden"
            )

    await in_thread(forbid)
    try:
        async with entered(connect, live_cast.student) as socket:
            await socket.send_json({"message": SECRET})
            assert (await socket.receive_json())["code"] == "temporarily_unavailable"
            key = key_of(socket)
    finally:
        await in_thread(allow)
    told = json.dumps(lines())
    assert "IntegrityError" in told
    for hidden in (SECRET, key, live_cast.student.email):
        assert hidden not in told


# Requests.


@pytest.mark.django_db(transaction=True)
async def test_what_django_logs_of_a_request_is_told_without_its_path(lines: Lines) -> None:
    await ask("POST", "/admin/login/?next=/someone@example.com")
    warning, request = lines()
    assert warning["event"] == "Forbidden (CSRF cookie not set.)"
    assert (warning["request"], request["route"]) == (request["request"], "admin:login")


async def ask(method: str, path: str, user_key: str | None = None, **headers: str) -> dict[str, Any]:
    from qader.asgi import application

    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    cookie = [(b"cookie", f"sessionid={user_key}".encode())] if user_key else []
    request = HttpCommunicator(application, method, path, headers=[(b"host", b"localhost"), *given, *cookie])
    answer: dict[str, Any] = await request.get_response(5)
    await request.wait(5)
    return answer


async def test_a_request_has_one_line_with_its_route_instead_of_its_path(live_cast: Cast, lines: Lines) -> None:
    key = await in_thread(session_cookie, live_cast.student)
    answer = await ask("GET", f"/api/v1/chat/my-conversation/messages/?q={SECRET.split(maxsplit=1)[0]}", key)
    (line,) = lines()
    assert line["ms"] > 0
    assert dict(answer["headers"])[b"x-request-id"].decode() == line["request"]
    assert re.fullmatch(r"[0-9a-f]{16}", line.pop("request"))
    assert without_time(line) == {
        "level": "INFO",
        "logger": "qader.access",
        "event": "request",
        "user": live_cast.student.pk,
        "method": "GET",
        "route": "api:v1:chat:student-my-conversation-messages",
        "status": 200,
    }


async def test_a_method_that_a_client_makes_up_is_not_logged(live_cast: Cast, lines: Lines) -> None:
    await ask("MADEUP", "/someone@example.com")
    (line,) = lines()
    assert line["method"] == "other"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("path", "status", "route"),
    [
        ("/someone@example.com", 404, "unmatched"),
        ("/api/v1/chat/teacher/conversations/7/messages/", 401, "api:v1:chat:teacher-conversation-messages"),
    ],
)
async def test_a_path_is_never_logged(lines: Lines, path: str, status: int, route: str) -> None:
    assert (await ask("GET", path))["status"] == status
    (line,) = lines()
    assert (line["route"], line["status"]) == (route, status)
    assert path not in json.dumps(line)


@pytest.mark.parametrize(
    ("trust", "given", "taken"),
    [
        (True, "from-the-proxy.1", True),
        (False, "from-the-proxy.1", False),
        (True, "two words", False),
        (True, "x" * 65, False),
        (True, '"}\n{"', False),
    ],
)
@pytest.mark.django_db(transaction=True)
async def test_the_id_is_the_proxys_only_where_it_is_trusted_and_well_formed(
    lines: Lines, settings: Any, trust: bool, given: str, taken: bool
) -> None:
    settings.TRUST_PROXY = trust
    await ask("GET", "/nothing", x_request_id=given)
    (line,) = lines()
    assert (line["request"] == given) is taken


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_what_machines_ask_all_day_long_is_not_logged(lines: Lines, path: str) -> None:
    await ask("GET", path)
    assert lines() == []


async def test_a_request_that_fails_is_logged_with_its_id_and_without_its_words(live_cast: Cast, lines: Lines) -> None:
    key = await in_thread(session_cookie, live_cast.student)
    with database_away(ValueError(SECRET)):
        assert (await ask("GET", "/admin/", key))["status"] == 500
    failure, request = lines()
    told = (failure["logger"], failure["level"], failure["event"])
    assert told == ("django.request", "ERROR", "Internal Server Error")
    assert failure["error"].endswith("ValueError")
    assert failure["request"] == request["request"]
    assert request["status"] == 500
    assert SECRET not in json.dumps([failure, request])
