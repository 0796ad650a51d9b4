"""The log of requests: one line each, with route and id, without path or text."""

import json
import re
from typing import Any

import pytest
from channels.testing import HttpCommunicator

from tests.conftest import Lines
from tests.delivery_harness import database_away
from tests.log_lines import SECRET, without_time
from tests.people import People, session_cookie
from tests.sockets import in_thread


@pytest.mark.django_db(transaction=True)
async def test_django_request_logs_leave_out_the_path(lines: Lines) -> None:
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


async def test_a_request_is_one_line_with_its_route_not_its_path(live_people: People, lines: Lines) -> None:
    key = await in_thread(session_cookie, live_people.student)
    answer = await ask("GET", f"/api/v1/chat/my-conversation/messages/?q={SECRET.split(maxsplit=1)[0]}", key)
    (line,) = lines()
    assert line["ms"] > 0
    assert dict(answer["headers"])[b"x-request-id"].decode() == line["request"]
    assert re.fullmatch(r"[0-9a-f]{16}", line.pop("request"))
    assert without_time(line) == {
        "level": "INFO",
        "logger": "qader.observability.access_log",
        "event": "request",
        "user": live_people.student.pk,
        "method": "GET",
        "route": "api:v1:chat:student-my-conversation-messages",
        "status": 200,
    }


async def test_an_invented_method_is_not_logged(live_people: People, lines: Lines) -> None:
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
async def test_the_request_id_is_taken_only_from_a_trusted_proxy(
    lines: Lines, settings: Any, trust: bool, given: str, taken: bool
) -> None:
    settings.TRUST_PROXY = trust
    await ask("GET", "/nothing", x_request_id=given, x_real_ip="192.0.2.1")
    (line,) = lines()
    assert (line["request"] == given) is taken


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_health_checks_and_scrapes_are_not_logged(lines: Lines, path: str) -> None:
    await ask("GET", path)
    assert lines() == []


async def test_a_failed_request_is_logged_with_its_id_and_without_error_text(live_people: People, lines: Lines) -> None:
    key = await in_thread(session_cookie, live_people.student)
    with database_away(ValueError(SECRET)):
        assert (await ask("GET", "/admin/", key))["status"] == 500
    failure, request = lines()
    told = (failure["logger"], failure["level"], failure["event"])
    assert told == ("django.request", "ERROR", "Internal Server Error")
    assert failure["error"].endswith("ValueError")
    assert failure["request"] == request["request"]
    assert request["status"] == 500
    assert SECRET not in json.dumps([failure, request])
