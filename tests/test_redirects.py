"""No redirect leads to another site."""

import pytest
from django.test import Client

from tests.people import PASSWORD, People, client_of

ELSEWHERE = [
    "https://evil.example/",
    "//evil.example/",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "http:///evil.example",
    "https:evil.example",
    "javascript:alert(1)",
    "\thttps://evil.example",
    "http://testserver@evil.example/",
    "http://testserver.evil.example/",
]


def is_here(location: str) -> bool:
    return location.startswith("/") and not location.startswith(("//", "/\\"))


@pytest.mark.parametrize("place", ELSEWHERE)
def test_signing_in_to_the_admin_does_not_redirect_elsewhere(people: People, place: str) -> None:
    answer = Client().post("/admin/login/", {"username": "admin", "password": PASSWORD, "next": place})
    assert answer.status_code == 302
    assert is_here(answer.headers["Location"])
    already = client_of(people.admin).get("/admin/login/", {"next": place})
    assert (already.status_code, already.headers["Location"]) == (302, "/admin/")
    assert client_of(people.admin).post("/admin/logout/", {"next": place}).status_code == 200


@pytest.mark.parametrize("place", ELSEWHERE)
def test_choosing_a_language_does_not_redirect_elsewhere(client: Client, place: str) -> None:
    for headers in ({}, {"Referer": place}):
        answer = client.post("/i18n/setlang/", {"language": "ar", "next": place}, headers=headers)
        assert answer.status_code in {204, 302}
        assert is_here(answer.headers.get("Location", "/"))


@pytest.mark.parametrize("path", ["/api/docs", "/admin", "/admin/chat", "//evil.example/admin", "/%5Cevil.example"])
def test_a_missing_slash_does_not_redirect_elsewhere(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in {301, 302, 308, 404}
    assert is_here(answer.headers.get("Location", "/"))


@pytest.mark.parametrize("path", ["/admin/login/", "/admin/logout/", "/i18n/setlang/"])
def test_forms_need_the_csrf_token(people: People, path: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.cookies = client_of(people.admin).cookies
    answer = client.post(path, {"username": "admin", "password": PASSWORD, "language": "ar"})
    assert answer.status_code == 403
    assert client.get("/admin/").status_code == 200


def test_signing_out_of_the_admin_is_a_post(people: People) -> None:
    client = client_of(people.admin)
    assert client.get("/admin/logout/").status_code == 405
    assert client.get("/admin/").status_code == 200


def test_signing_in_to_the_admin_makes_a_new_session(people: People) -> None:
    client = Client()
    client.cookies["sessionid"] = "planted0planted0planted0planted0"
    client.post("/admin/login/", {"username": "admin", "password": PASSWORD})
    assert client.cookies["sessionid"].value != "planted0planted0planted0planted0"
    assert client.get("/admin/").status_code == 200
