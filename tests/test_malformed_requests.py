"""Malformed heads of requests, from anybody, on any path: never a 5xx, and never an error in the log."""

import logging
import time

import pytest
from asgiref.sync import sync_to_async

from tests.http_requests import TOKEN, exchange, scope
from tests.people import People, session_cookie

pytestmark = pytest.mark.slow

PATHS = [
    *("/healthz", "/", "/nowhere", "/static/x", "/i18n/setlang/", "/admin/", "/admin/login/"),
    *("/api/", "/api/v1/auth/login/", "/api/v1/chat/my-conversation/messages/", "/api/schema/", "/api/docs/"),
    *("/api/asyncapi.yaml", "/static/\0", "/" + "a" * 5000),
]
BOGUS = "; y*=BOGUS''z"
FORM = "application/x-www-form-urlencoded"
VALUES = {
    "accept": [
        f"x{BOGUS}",
        f"*/*{BOGUS}",
        "application/json; q=bogus",
        "application/json; indent=" + "9" * 20,
        "\xff",
        ",",
    ],
    "accept-encoding": ["\xff", "gzip;q=bogus", "(" * 500],
    "accept-language": ["\xff", "en;q=bogus", "-" * 400, "ar-" + "a-" * 3000, "en;q=" + "9" * 400],
    "authorization": ["\xff", "Basic \xff"],
    "content-length": ["abc", "-1", "9" * 5000, "1,1", "", "\xb2", " 5"],
    "content-type": [
        *(f"x{BOGUS}", f"multipart/form-data; boundary=x{BOGUS}", "multipart/form-data; boundary*=BOGUS''z"),
        *("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\xff"),
        *(f"{FORM}; charset={charset}" for charset in ("hex", "undefined", "utf-16", "bogus", "\0")),
        *(f"application/json; charset={charset}" for charset in ("hex", "undefined", "utf-16", "bogus")),
        *("text/html; charset=\0", "", "\xff", ";;;", "a/b/c", "*/*"),
    ],
    "cookie": [
        *("\xff", "sessionid=\xff", "sessionid=\0", "=;=;;", "csrftoken=\xff", "django_language=../../x"),
        *(f'{name}="\\000"' for name in ("sessionid", "csrftoken", "django_language", "messages")),
        *("sessionid=" + "a" * 6000, "sessionid=a;" * 2000, "messages=x"),
    ],
    "host": ["\xff", "", "a,b", "[x", "localhost:99999", "localhost:x", "@localhost", "localhost\0"],
    "if-modified-since": ["\xff", "Mon, 99 Xxx 9999 99:99:99 GMT", "Mon, 01 Jan 0000 00:00:00 GMT", "9" * 5000],
    "if-none-match": ["\xff", 'W/"', "*"],
    "origin": ["\xff", "http://[x", "null", "http://[::g]", "http://localhost:99999", ""],
    "range": ["bytes=abc", "bytes=-", "bytes=0-" + "9" * 5000, "bytes=\xb2-\xb3", "bytes=--1", "bytes=5-1", "x"],
    "referer": ["http://[x", "\xff", "https://[::g]/"],
    "sec-purpose": ["\xff", ";"],
    "x-csrftoken": ["\xff", "\0" * 32],
    "x-forwarded-for": ["\xff"],
    "x-request-id": ["\xff"],
}
QUERIES = [
    *(
        b"\xff",
        b"%ff",
        b"a=%ff&b",
        b"page=%00",
        b"mark_read=%ff",
        b"&".join([b"a=1"] * 1001),
        b"format=%00",
        b"next=%ff",
    ),
    *(b"lang=%ff", b"limit=%c2%b2", b"script=%ff", b"q=\xc3\x28", b"page=" + b"9" * 5000, b"a[=1", b"%", b"=", b"\0"),
]


async def refused(headers: list[tuple[bytes, bytes]], query: bytes) -> list[str]:
    """The requests with this head that were answered with 5xx, or an error below `/api/` without a code."""
    wrong = []
    for path in PATHS:
        for method, body in (("GET", b""), ("POST", b'{"content": "x"}')):
            status, found, content = await exchange(scope(method, path, headers, query), [body])
            named = found.get("Content-Type") == "application/json" and b'"code"' in content
            if status >= 500 or (status >= 400 and path.startswith("/api/") and not named):
                wrong.append(f"{method} {path[:50]}: {status} {content[:80]!r}")
    return wrong


@pytest.fixture
async def signed_in(live_people: People) -> list[tuple[bytes, bytes]]:
    key = await sync_to_async(session_cookie)(live_people.student)
    return [(b"cookie", f"sessionid={key}; csrftoken={TOKEN}".encode()), (b"x-csrftoken", TOKEN.encode())]


@pytest.mark.parametrize("name", VALUES)
async def test_a_malformed_header_is_no_error_of_ours(
    signed_in: list[tuple[bytes, bytes]], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    for value in VALUES[name]:
        own = [header for header in signed_in if header[0].decode() != name]
        assert await refused([*own, (name.encode(), value.encode("latin-1"))], b"") == [], value
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_content_type_that_takes_long_to_parse_is_refused() -> None:
    """It was parsed in the event loop: 0.05 s each, for anybody."""
    for kind in ("a/b", "multipart/form-data", "application/json"):
        slow = kind + '; a="' + '\\";' * 4000
        begin = time.process_time()
        for path, headers in (("/healthz", {}), ("/api/v1/auth/login/", {"Content-Type": "application/json"})):
            status, found, _ = await exchange(scope("POST", path, [(b"content-type", slow.encode())]), [b"{}"])
            assert (status, {name: found[name] for name in headers}) == (400, headers)
        assert time.process_time() - begin < 0.05
    assert (await exchange(scope("GET", "/healthz", [(b"content-type", b"a/b; a=" + b"x" * 900)]), [b""]))[0] == 200


async def test_a_malformed_query_is_no_error_of_ours(
    signed_in: list[tuple[bytes, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    for query in QUERIES:
        assert await refused(signed_in, query) == [], query
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
