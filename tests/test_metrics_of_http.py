"""Metrics of log-ins, requests and the process; the cost of a scrape."""

from typing import Any

import pytest
from channels.testing import HttpCommunicator
from django.db import connection
from prometheus_client import generate_latest

from tests.delivery_harness import database_away
from tests.metric_values import metric_changes
from tests.people import PASSWORD, People
from tests.queries import counted_queries


def test_log_in_attempts_are_counted(people: People, client: Any, settings: Any) -> None:
    settings.LOGIN_LIMIT_ACCOUNT = 1

    def sign_in(password: str) -> None:
        body = {"username": "student", "password": password}
        client.post("/api/v1/auth/login/", body, content_type="application/json")

    with metric_changes() as changed:
        for password in (PASSWORD, "wrong", "wrong again", PASSWORD):
            sign_in(password)
    assert changed == {
        'qader_logins_total{outcome="ok"}': 1,
        'qader_logins_total{outcome="wrong"}': 1,
        'qader_logins_total{outcome="throttled"}': 2,
    }


@pytest.mark.parametrize(
    ("method", "path", "route", "counted_method", "status"),
    [
        ("GET", "/healthz", "healthz", "GET", 200),
        ("GET", "/api/v1/chat/my-conversation/", "api:v1:chat:student-my-conversation", "GET", 401),
        (
            "POST",
            "/api/v1/chat/conversations/7/mark-read/",
            "api:v1:chat:conversation-mark-read",
            "POST",
            401,
        ),
        ("GET", "/someone@example.com", "unmatched", "GET", 404),
        ("MADEUP", "/healthz", "healthz", "other", 403),
    ],
)
@pytest.mark.django_db(transaction=True)
async def test_requests_are_counted_by_route(
    method: str, path: str, route: str, counted_method: str, status: int
) -> None:
    from qader.asgi import application

    with metric_changes() as changed:
        request = HttpCommunicator(application, method, path, headers=[(b"host", b"localhost")])
        assert (await request.get_response(5))["status"] == status
        await request.wait(5)
    assert changed == {
        f'qader_http_requests_total{{method="{counted_method}",route="{route}",status="{status}"}}': 1,
        f'qader_http_request_seconds_count{{method="{counted_method}",route="{route}"}}': 1,
    }


@pytest.mark.parametrize("more_body", [True, False])
@pytest.mark.django_db(transaction=True)
async def test_a_client_that_disconnects_early_is_not_counted_as_an_error(more_body: bool) -> None:
    from qader.asgi import application

    with metric_changes() as changed:
        request = HttpCommunicator(application, "POST", "/api/v1/auth/login/", headers=[(b"host", b"localhost")])
        await request.send_input({"type": "http.request", "body": b"{", "more_body": more_body})
        await request.send_input({"type": "http.disconnect"})
        await request.wait(5)
    (counted,) = (name for name in changed if name.startswith("qader_http_requests_total"))
    assert 'status="499"' in counted


def test_the_connection_pool_has_metrics(db: None) -> None:
    connection.ensure_connection()
    told = {line.split(" ")[0] for line in generate_latest().decode().splitlines() if "database_pool" in line}
    names = {
        'qader_database_pool_connections{state="held"}',
        'qader_database_pool_connections{state="idle"}',
        "qader_database_pool_max",
        "qader_database_pool_waiting",
        "qader_database_pool_timeouts_total",
    }
    assert told - {"#"} == (names if connection.vendor == "postgresql" else set())


def test_the_running_version_is_a_metric() -> None:
    (line,) = [line for line in generate_latest().decode().splitlines() if line.startswith("qader_build_info{")]
    assert line.endswith(" 1.0")
    for name in ("python", "django", "channels", "psycopg"):
        assert f'{name}="' in line


def test_a_scrape_asks_the_database_nothing(client: Any) -> None:
    with counted_queries() as statements, database_away() as tried:
        answer = client.get("/metrics")
    assert answer.status_code == 200
    assert b"qader_messages_total" in answer.content
    assert (statements, tried.is_set()) == ([], False)
