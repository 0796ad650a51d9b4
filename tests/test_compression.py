"""Compression: long answers without secrets, where the client accepts it; nothing else."""

import gzip
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client

from qader.http.compression import accepts_gzip, compression
from tests.people import PASSWORD, People, client_of, say, session_cookie

MESSAGES, CONVERSATIONS = "/api/v1/chat/my-conversation/messages/", "/api/v1/chat/teacher/conversations/"
BROWSER = "gzip, deflate, br, zstd"
LONG = "سؤال عن الدرس السابع. " * 40


def get(client: Client, path: str, accept: str = BROWSER) -> Any:
    return client.get(path, headers={"Accept-Encoding": accept})


def varies(answer: Any) -> bool:
    return "accept-encoding" in answer.headers.get("Vary", "").lower().split(", ")


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (BROWSER, True),
        ("gzip", True),
        ("GZIP", True),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
        ("br , gzip ; q=0.001", True),
        ("*", True),
        ("", False),
        ("identity", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000, *", False),
        ("*;q=0", False),
        ("*, gzip;q=0", False),
        ("xgzip, gzipx", False),
    ],
)
def test_a_client_says_whether_it_accepts_gzip(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted


@pytest.mark.parametrize(("who", "path"), [("student", MESSAGES), ("teacher", CONVERSATIONS)])
def test_histories_and_lists_are_compressed(people: People, who: str, path: str) -> None:
    say(people.conversation, people.teacher, LONG, LONG)
    client = client_of(getattr(people, who))
    plain, packed = get(client, path, "identity"), get(client, path)
    assert "Content-Encoding" not in plain.headers
    assert packed["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(packed.content))["results"][0]["id"] == plain.json()["results"][0]["id"]
    assert int(packed["Content-Length"]) == len(packed.content) < len(plain.content) / 2
    assert varies(plain)
    assert varies(packed)
    assert "Cookie" in packed["Vary"]
    assert "no-store" in packed["Cache-Control"]


def test_the_length_of_a_compressed_answer_tells_little(people: People) -> None:
    say(people.conversation, people.teacher, LONG)
    client = client_of(people.student)
    assert len({len(get(client, MESSAGES).content) for _ in range(20)}) > 5


@pytest.mark.parametrize("path", ["/api/schema/", "/api/asyncapi.yaml"])
def test_the_api_documents_are_compressed(client: Client, path: str) -> None:
    assert gzip.decompress(get(client, path).content) == get(client, path, "").content


def test_short_answers_and_errors_are_not_compressed(people: People, client: Client) -> None:
    say(people.conversation, people.teacher, "short")
    for answer in (get(client_of(people.student), MESSAGES), get(client, MESSAGES)):
        assert "Content-Encoding" not in answer.headers
        assert varies(answer)


def test_answers_with_a_secret_are_never_compressed(people: People) -> None:
    """BREACH: a token and a text that somebody else chose, here a name, must not be compressed together."""
    people.student.profile.full_name = "x" * 150
    people.student.profile.save()
    student, admin = client_of(people.student), client_of(people.admin)
    paths = ["/api/v1/auth/csrf/", "/api/v1/auth/me/"]
    answers = [get(student, path) for path in paths]
    answers += [get(admin, path) for path in ("/admin/", "/admin/accounts/user/", "/admin/login/")]
    body = {"username": "student", "password": PASSWORD}
    login = Client().post("/api/v1/auth/login/", body, "application/json", headers={"Accept-Encoding": BROWSER})
    assert "csrfmiddlewaretoken" in answers[-2].content.decode()
    for answer in [*answers, login]:
        assert answer.status_code in {200, 302}
        assert "Content-Encoding" not in answer.headers


def test_the_page_is_compressed_because_it_is_the_same_for_all_who_are_signed_in(people: People) -> None:
    student, teacher = (get(client_of(one), "/") for one in (people.student, people.teacher))
    assert student["Content-Encoding"] == "gzip"
    assert varies(student)
    assert gzip.decompress(student.content) == gzip.decompress(teacher.content)


async def test_a_server_compresses_the_same(live_people: People) -> None:
    client = AsyncClient()
    await sync_to_async(lambda: say(live_people.conversation, live_people.teacher, LONG, LONG))()
    client.cookies["sessionid"] = await sync_to_async(session_cookie)(live_people.student)
    answer = await client.get(MESSAGES, headers={"Accept-Encoding": BROWSER})
    assert json.loads(gzip.decompress(answer.content))["results"][1]["content"] == LONG


@pytest.mark.parametrize(("given", "sent"), [('"1"', 'W/"1"'), ('W/"1"', 'W/"1"'), (None, None)])
def test_an_entity_tag_becomes_weak(rf: Any, given: str | None, sent: str | None) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse("x" * 2000, headers={"ETag": given} if given else {})

    answer = compression(view)(rf.get(MESSAGES, headers={"Accept-Encoding": "gzip"}))
    assert (answer.headers.get("ETag"), answer["Content-Encoding"]) == (sent, "gzip")


def test_what_is_compressed_already_stays_as_it_is(rf: Any) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(b"x" * 2000, headers={"Content-Encoding": "br"})

    answer = compression(view)(rf.get(MESSAGES, headers={"Accept-Encoding": "gzip"}))
    assert (answer["Content-Encoding"], answer.content) == ("br", b"x" * 2000)
