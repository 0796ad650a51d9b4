"""Answers below `/api/`: every error has a code, a missing slash loses no body, and private answers are not stored."""

import json
from typing import Any

import pytest
from django.test import Client

from chat.models import Message
from tests.http_requests import exchange, scope
from tests.people import PASSWORD, People, client_of

MINE = "/api/v1/chat/my-conversation/messages/"
MANY = "&".join(f"a{number}=1" for number in range(1001))


def told(response: Any) -> tuple[int, str]:
    """The status and the code of an error; it has `detail` or errors by field, and nothing else."""
    body = response.json()
    assert response.headers["Content-Type"] == "application/json"
    code = body.pop("code")
    assert body
    assert all(isinstance(text, str if name == "detail" else list) for name, text in body.items())
    return response.status_code, code


@pytest.mark.parametrize(
    ("method", "path", "request_of", "status", "code"),
    [
        ("get", "/api/nothing", {}, 404, "not_found"),
        ("post", "/api/v1/nothing/", {}, 404, "not_found"),
        ("delete", MINE, {}, 405, "method_not_allowed"),
        ("post", "/api/asyncapi.yaml", {}, 405, "method_not_allowed"),
        ("post", "/api/schema/", {}, 405, "method_not_allowed"),
        ("options", "/api/docs/", {}, 405, "method_not_allowed"),
        ("get", MINE, {"headers": {"Accept": "text/html"}}, 406, "not_acceptable"),
        ("get", "/api/schema/?format=json", {"headers": {"Accept": "text/html"}}, 406, "not_acceptable"),
        ("get", f"{MINE}?{MANY}", {}, 400, "invalid_request"),
        ("get", f"/api/v1/chat/teacher/conversations/?{MANY}", {}, 400, "invalid_request"),
        ("get", f"/api/schema/?{MANY}", {}, 400, "invalid_request"),
        ("get", MINE, {"headers": {"Host": "evil.example"}}, 400, "invalid_request"),
        ("post", MINE, {"data": "{", "content_type": "application/json"}, 400, "invalid_json"),
        ("post", MINE, {"data": "[]", "content_type": "application/json"}, 400, "invalid_frame"),
        ("post", MINE, {"data": "5", "content_type": "application/json"}, 400, "invalid_frame"),
        ("post", MINE, {"data": "x", "content_type": "text/plain"}, 415, "unsupported_media_type"),
        ("get", MINE + "?page=2", {}, 404, "page_not_found"),
        ("get", MINE + "?limit=x", {}, 400, "invalid_parameter"),
        ("get", MINE + "?mark_read=no", {}, 400, "invalid_parameter"),
        ("get", MINE + "?before=999999999999", {}, 400, "message_not_found"),
        ("get", "/api/v1/chat/teacher/conversations/", {}, 403, "not_a_mentor"),
        ("post", "/api/v1/auth/login/", {"data": {}, "content_type": "application/json"}, 400, "invalid_request"),
    ],
)
def test_every_error_has_a_code(  # noqa: PLR0917
    people: People, method: str, path: str, request_of: dict[str, Any], status: int, code: str
) -> None:
    assert told(getattr(client_of(people.student), method)(path, **request_of)) == (status, code)


def test_pages_of_conversations_have_codes_too(people: People) -> None:
    teacher = client_of(people.teacher)
    path = "/api/v1/chat/teacher/conversations/"
    assert told(teacher.get(f"{path}?page=7")) == (404, "page_not_found")
    assert told(teacher.get(f"{path}?page=1&page=2")) == (400, "invalid_parameter")
    assert teacher.get(f"{path}?page=1&page=1").status_code == 200


def test_a_missing_token_has_a_code(people: People) -> None:
    client = Client(enforce_csrf_checks=True)
    client.cookies = client_of(people.student).cookies
    for path in (MINE, "/api/v1/auth/login/", "/api/asyncapi.yaml"):
        assert told(client.post(path, {"content": "x"})) == (403, "csrf_failed")


@pytest.mark.parametrize(
    "query",
    [
        "limit=2&page=3",
        "before=1&page_size=2",
        "after=1&page=1",
        "before=1&after=1",
        "limit=1&limit=2",
        "page=1&page=2",
        "mark_read=true&mark_read=false",
    ],
)
def test_contradictory_parameters_are_refused_and_mark_nothing(people: People, query: str) -> None:
    Message.objects.create(conversation=people.conversation, sender=people.teacher, content="one")
    assert told(client_of(people.student).get(f"{MINE}?{query}")) == (400, "invalid_parameter")
    assert not Message.objects.filter(is_read=True).exists()


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("method", ["get", "head", "post", "put", "patch", "delete", "options"])
def test_a_missing_slash_keeps_the_method(people: People, settings: Any, method: str, debug: bool) -> None:
    settings.DEBUG = debug
    response = getattr(client_of(people.student), method)(MINE[:-1] + "?page=1")
    assert (response.status_code, response.headers["Location"]) == (308, MINE + "?page=1")


def test_a_post_without_the_slash_is_stored(people: People) -> None:
    client = client_of(people.student)
    login = {"username": "student", "password": PASSWORD}
    response = client.post("/api/v1/auth/login", login, "application/json", follow=True)
    assert (response.status_code, response.redirect_chain) == (200, [("/api/v1/auth/login/", 308)])


def test_a_redirect_to_tls_keeps_the_method(people: People, settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    response = client_of(people.student).post(MINE, {"content": "x"}, "application/json")
    assert (response.status_code, response.headers["Location"]) == (308, f"https://testserver{MINE}")
    assert Client().get("/").status_code == 301


@pytest.mark.parametrize(
    "path",
    ["auth/csrf/", "auth/me/", "auth/me", "chat/my-conversation/", "chat/my-conversation/messages/", "chat/nothing/"],
)
def test_private_answers_are_not_stored(people: People, path: str) -> None:
    for client in (client_of(people.student), Client()):
        assert "no-store" in client.get(f"/api/v1/{path}").headers["Cache-Control"]


async def test_what_is_refused_before_django_has_a_code_too(live_people: People) -> None:
    for path, query, headers in (
        (MINE, b"\xff", []),
        (MINE, b"", [(b"content-type", b"x; y*=BOGUS''z")]),
        (MINE, b"", [(b"content-length", b"9" * 5000)]),
    ):
        status, found, content = await exchange(scope("POST", path, headers, query), [b""])
        assert (status in {400, 413}, found["Content-Type"]) == (True, "application/json")
        assert json.loads(content)["code"] in {"invalid_request", "message_too_long"}
        assert "no-store" in found["Cache-Control"]
