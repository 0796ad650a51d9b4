"""Bodies of requests: JSON, form or multipart, with a length or in chunks."""

import json
import time
from urllib.parse import urlencode

import pytest
from asgiref.sync import sync_to_async

from chat.models import Message
from tests.http_requests import TOKEN, request_of, send_in_parts
from tests.people import PASSWORD, People

MINE = "/api/v1/chat/my-conversation/messages/"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=part"


@sync_to_async
def stored() -> list[str]:
    return list(Message.objects.order_by("seq").values_list("content", flat=True))


def multipart(**fields: str) -> bytes:
    parts = [f'--part\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}' for name, text in fields.items()]
    return ("\r\n".join([*parts, "--part--"]) + "\r\n").encode()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("form", ["json", "urlencoded", "multipart"])
async def test_a_message_may_be_json_or_a_form_with_a_length_or_in_chunks(
    live_people: People, form: str, chunked: bool
) -> None:
    fields = {"content": " نعم & <b>", "client_id": "one"}
    body, content_type = {
        "json": (json.dumps(fields).encode(), "application/json"),
        "urlencoded": (urlencode(fields).encode(), FORM),
        "multipart": (multipart(**fields), MULTIPART),
    }[form]
    request = await request_of(live_people.student, MINE, content_type, len(body), chunked=chunked)
    for expected in (201, 200):
        status, told = await send_in_parts(request, [body[:7], body[7:], b""])
        assert (status, told["content"]) == (expected, fields["content"])
    assert await stored() == [fields["content"]]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_log_in_may_be_a_form(live_people: People, chunked: bool) -> None:
    body = urlencode({"username": "student", "password": PASSWORD}).encode()
    request = await request_of(None, "/api/v1/auth/login/", FORM, len(body), chunked=chunked)
    status, told = await send_in_parts(request, [body])
    assert (status, told["username"]) == (200, "student")


@pytest.mark.parametrize("charset", ["punycode", "Punycode", "idna", "bz2", "undefined"])
@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=part"])
async def test_a_charset_that_takes_long_to_decode_is_refused(live_people: People, kind: str, charset: str) -> None:
    """250 kB of Punycode took a second and a half, in which no other thread ran."""
    body = multipart(username="a" * 250_000) if "multipart" in kind else b"a" * 250_000
    request = await request_of(None, "/api/v1/auth/login/", f"{kind}; charset={charset}", len(body), chunked=False)
    begin = time.process_time()
    status, told = await send_in_parts(request, [body])
    assert (status, told) == (400, {"detail": "Bad request.", "code": "invalid_request"})
    assert time.process_time() - begin < 0.5


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, b"%" * 250_000),
        (FORM, b"%41" * 83_000),
        (MULTIPART, multipart(**{f"field{number}": "" for number in range(101)})),
        (MULTIPART, b"--part\r\n" * 25_000),
    ],
    ids=["percent signs", "escapes", "parts", "boundaries"],
)
async def test_a_form_that_takes_long_to_read_is_refused(live_people: People, content_type: str, body: bytes) -> None:
    """250,000 percent signs took 0.1 s, a thousand parts 0.04 s, in which no other thread ran."""
    request = await request_of(None, "/api/v1/auth/login/", content_type, len(body), chunked=False)
    status, told = await send_in_parts(request, [body])
    assert (status, told) == (413, {"detail": "The request is too large.", "code": "message_too_long"})


async def test_the_longest_message_fits_into_a_form(live_people: People) -> None:
    text = "😀" * 4000
    body = urlencode({"content": text, "client_id": "😀" * 64}).encode()
    request = await request_of(live_people.student, MINE, FORM, len(body), chunked=False)
    status, told = await send_in_parts(request, [body])
    assert (status, told["content"]) == (201, text)


@pytest.mark.parametrize("charset", ["utf-8", "UTF8", '"utf-8"', "us-ascii", "iso-8859-1"])
async def test_an_ordinary_charset_may_be_named(live_people: People, charset: str) -> None:
    request = await request_of(live_people.student, MINE, f"application/json; charset={charset}", 16, chunked=False)
    assert (await send_in_parts(request, [b'{"content": "x"}']))[0] == 201


@pytest.mark.parametrize("body", [rb'"\ud800"', rb'{"\ud800": "\ud800"}', rb'["\ud800"]', rb'{"language": "\ud800"}'])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("POST", MINE), ("POST", "/api/v1/auth/login/"), ("PATCH", "/api/v1/auth/me/")),
        *(("POST", "/api/v1/notify/subscriptions/"), ("DELETE", "/api/v1/notify/subscriptions/")),
    ],
)
async def test_lone_surrogates_anywhere_are_no_error_of_ours(
    live_people: People, method: str, path: str, body: bytes
) -> None:
    request = await request_of(live_people.student, path, "application/json", len(body), chunked=False)
    status, told = await send_in_parts(request | {"method": method}, [body])
    assert status in {400, 404}, told


async def test_a_body_in_chunks_has_the_same_limit(live_people: People) -> None:
    request = await request_of(live_people.student, MINE, "application/json", 0, chunked=True)
    status, told = await send_in_parts(request, [b" " * 200_000, b" " * 100_000, b""])
    assert (status, told) == (413, {"detail": "The request is too large.", "code": "message_too_long"})
    assert await stored() == []


async def test_a_form_may_have_the_csrf_token_in_a_field(live_people: People) -> None:
    body = urlencode({"content": "x", "csrfmiddlewaretoken": TOKEN}).encode()
    request = await request_of(live_people.student, MINE, FORM, len(body), chunked=False)
    request["headers"] = [header for header in request["headers"] if header[0] != b"x-csrftoken"]
    assert (await send_in_parts(request, [body]))[0] == 201
    status, told = await send_in_parts(request, [body.replace(TOKEN.encode(), b"u" * 32)])
    assert (status, told["code"]) == (403, "csrf_failed")


@pytest.mark.parametrize("body", [b"[]", b"5", b'"x"', b"null", b"{", b"\xff", b"x"])
@pytest.mark.parametrize("token", [True, False])
async def test_the_token_is_checked_before_the_body_is_read(live_people: People, body: bytes, token: bool) -> None:
    request = await request_of(live_people.student, MINE, "application/json", len(body), chunked=False)
    if not token:
        request["headers"] = [header for header in request["headers"] if header[0] != b"x-csrftoken"]
    status, told = await send_in_parts(request, [body])
    assert (status, told["code"] == "csrf_failed") == ((400, False) if token else (403, True))


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        (FORM, b"", "empty_message"),
        (FORM, b"content=", "empty_message"),
        (FORM, b"content=x&client_id=", "invalid_frame"),
        (FORM, b"content=%00", "invalid_characters"),
        (FORM, b"content=" + b"x" * 4001, "message_too_long"),
        (FORM, b"&".join(b"a=1" for _ in range(1001)), "invalid_request"),
        (FORM + "; charset=utf-16", b"content=x", "invalid_request"),
        (MULTIPART, b"", "empty_message"),
        (MULTIPART, b"nonsense", "empty_message"),
        ("multipart/form-data", b"nonsense", "invalid_request"),
        (MULTIPART, multipart(content="x").replace(b'"content"', b'"content"; filename="a.txt"'), "invalid_frame"),
    ],
)
async def test_an_invalid_form_is_refused_with_a_code(
    live_people: People, content_type: str, body: bytes, code: str
) -> None:
    request = await request_of(live_people.student, MINE, content_type, len(body), chunked=False)
    status, told = await send_in_parts(request, [body])
    assert (status, told["code"]) == (400, code)
    assert await stored() == []
