"""Response headers: CORS, content security policy, HSTS, cookies."""

from typing import Any

import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from tests.people import PASSWORD, People, client_of

FRONTEND = "https://app.qader.vip"
ME, LOGIN = "/api/v1/auth/me/", "/api/v1/auth/login/"
STRANGERS = [
    "https://evil.example",
    "http://app.qader.vip",
    "https://app.qader.vip:8443",
    "https://app.qader.vip.evil.example",
    "https://xapp.qader.vip",
    "https://user@app.qader.vip",
    "HTTPS://APP.QADER.VIP",
    "null",
    "https://[x",
]
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


@pytest.fixture(autouse=True)
def _frontend(settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = settings.CORS_ALLOWED_ORIGINS = [FRONTEND]


def shared(answer: Any) -> dict[str, str]:
    """What other origins are allowed."""
    return {name.title(): value for name, value in answer.headers.items() if name.lower().startswith("access-control")}


def preflight(client: Client, origin: str, path: str = LOGIN, method: str = "POST") -> Any:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "content-type,x-csrftoken"}
    return client.options(path, headers={"Origin": origin, **asked})


def test_a_preflight_of_the_frontend_is_answered(client: Client) -> None:
    answer = preflight(client, FRONTEND)
    assert answer.status_code == 200
    assert shared(answer) == {
        "Access-Control-Allow-Origin": FRONTEND,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Headers": "content-type, x-csrftoken",
        "Access-Control-Allow-Methods": "DELETE, GET, HEAD, OPTIONS, PATCH, POST",
        "Access-Control-Max-Age": "600",
        "Access-Control-Expose-Headers": "Date, Retry-After",
    }
    assert "origin" in answer.headers["Vary"].lower()


def test_every_operation_of_the_api_may_be_called_by_the_frontend(client: Client) -> None:
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    operations = [(path, method.upper()) for path, methods in paths.items() for method in methods]
    assert len(operations) > 10
    for path, method in operations:
        answer = preflight(client, FRONTEND, path.replace("{conversation_pk}", "7"), method)
        assert answer.status_code == 200
        assert method in shared(answer)["Access-Control-Allow-Methods"].split(", "), (path, method)


@pytest.mark.parametrize("origin", STRANGERS)
def test_no_other_origin_may_call_or_read(people: People, origin: str) -> None:
    client = client_of(people.student)
    for answer in (preflight(client, origin), client.get(ME, headers={"Origin": origin})):
        assert shared(answer) == {}
        assert "origin" in answer.headers["Vary"].lower()


def test_the_frontend_may_read_answers_and_errors_with_cookies(people: People, client: Client) -> None:
    for asked, status in ((client_of(people.student), 200), (client, 401)):
        answer = asked.get(ME, headers={"Origin": FRONTEND})
        assert answer.status_code == status
        assert shared(answer) == {
            "Access-Control-Allow-Origin": FRONTEND,
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Expose-Headers": "Date, Retry-After",
        }


@pytest.mark.parametrize("path", ["/", "/admin/login/", "/api/schema/", "/healthz", "/static/chat/icon.svg"])
def test_only_rest_is_shared_with_other_origins(client: Client, path: str) -> None:
    for origin in (FRONTEND, "https://evil.example"):
        answer = client.get(path, headers={"Origin": origin})
        assert shared(answer) == {}


@pytest.mark.parametrize("origin", [*STRANGERS, "http://testserver:8001", "https://testserver"])
def test_no_other_origin_may_post_even_with_a_token(people: People, origin: str) -> None:
    client = Client(enforce_csrf_checks=True)
    token = client.get("/api/v1/auth/csrf/").json()["csrfToken"]
    body = {"username": "student", "password": PASSWORD}

    def post(origin: str) -> int:
        headers = {"X-CSRFToken": token, "Origin": origin}
        status: int = client.post(LOGIN, body, content_type="application/json", headers=headers).status_code
        return status

    assert post(origin) == 403
    assert post("http://testserver") == 200


PAGES = ["/", "/admin/login/", "/api/docs/", "/api/v1/auth/me/", "/nowhere/", "/healthz", "/api/nowhere/"]


@pytest.mark.parametrize("path", PAGES)
def test_every_response_has_security_headers(client: Client, path: str) -> None:
    answer = client.get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert policy == POLICY or path in {"/", "/api/docs/"}
    assert "unsafe" not in policy
    assert "*" not in policy
    assert {"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"} <= set(policy.split("; "))
    told = {name: answer.headers[name] for name in ("X-Content-Type-Options", "Referrer-Policy", "X-Frame-Options")}
    assert told == {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "X-Frame-Options": "DENY"}
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in answer.headers["Permissions-Policy"]
    assert "Server" not in answer.headers


def test_error_pages_may_have_styles_in_development(settings: Any, client: Client) -> None:
    settings.DEBUG = True
    assert "Content-Security-Policy" not in client.get("/nowhere/").headers
    assert "Content-Security-Policy" in client.get("/healthz").headers


@pytest.mark.parametrize(
    ("subdomains", "preload", "header"),
    [
        (False, False, "max-age=31536000"),
        (True, False, "max-age=31536000; includeSubDomains"),
        (True, True, "max-age=31536000; includeSubDomains; preload"),
    ],
)
def test_hsts_is_sent_as_configured(
    settings: Any, client: Client, subdomains: bool, preload: bool, header: str
) -> None:
    settings.SECURE_HSTS_SECONDS = 31_536_000
    settings.SECURE_HSTS_INCLUDE_SUBDOMAINS, settings.SECURE_HSTS_PRELOAD = subdomains, preload
    assert client.get("/healthz", secure=True).headers["Strict-Transport-Security"] == header
    assert "Strict-Transport-Security" not in client.get("/healthz").headers


def test_with_tls_cookies_are_secure_and_plain_http_is_redirected(
    settings: Any, people: People, client: Client
) -> None:
    settings.SECURE_SSL_REDIRECT = settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
    moved = client.get("/admin/login/")
    assert (moved.status_code, moved.headers["Location"]) == (301, "https://testserver/admin/login/")
    assert client.get("/healthz").status_code == 200
    client.get("/api/v1/auth/csrf/", secure=True)
    body = {"username": "student", "password": PASSWORD}
    client.post(LOGIN, body, content_type="application/json", secure=True)
    session, csrf = client.cookies["sessionid"], client.cookies["csrftoken"]
    assert (session["secure"], session["httponly"], session["samesite"], session["domain"]) == (True, True, "Lax", "")
    assert (csrf["secure"], csrf["samesite"], csrf["domain"]) == (True, "Lax", "")
