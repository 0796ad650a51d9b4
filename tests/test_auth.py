"""Signing in and out over REST."""

from typing import Any
from unicodedata import normalize

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.test import Client

from accounts.models import RoleChoices, User, UserProfile
from accounts.names import folded_name
from tests.people import PASSWORD, People, client_of, make_user, profile_object
from tests.queries import recorded_queries

AUTH = "/api/v1/auth/"
WRONG = {"detail": "Wrong user name or password.", "code": "wrong_credentials"}
NOT_SIGNED_IN = {"detail": "Authentication credentials were not provided.", "code": "not_authenticated"}
NO_CSRF = {"detail": "CSRF Failed: CSRF cookie not set.", "code": "csrf_failed"}


def post(client: Client, path: str, body: Any = None, **headers: Any) -> Any:
    return client.post(AUTH + path, body, content_type="application/json", **headers)


def login(client: Client, username: Any, password: Any = PASSWORD, **headers: Any) -> Any:
    return post(client, "login/", {"username": username, "password": password}, **headers)


def me(client: Client) -> tuple[int, Any]:
    response = client.get(AUTH + "me/")
    return response.status_code, response.json()


CHOICES = {"language": None, "notify_push": True, "notify_email": True}


def student_object(people: People) -> dict[str, Any]:
    return {
        "id": people.student.pk,
        "username": "student",
        "email": "student@example.com",
        "profile": profile_object(people.student),
        "mentor": profile_object(people.teacher),
        "is_locked": False,
        **CHOICES,
    }


def test_signing_in_returns_the_user(people: People, client: Client) -> None:
    response = login(client, "student")
    assert (response.status_code, response.json()) == (200, student_object(people))
    assert me(client) == (200, student_object(people))


@pytest.mark.parametrize("name", ["student@example.com", "STUDENT@Example.com", "  student ", "ｓｔｕｄｅｎｔ"])
def test_name_and_address_may_be_written_in_several_ways(people: People, client: Client, name: str) -> None:
    response = login(client, name)
    assert (response.status_code, response.json()) == (200, student_object(people))


MARKS = ["\u200f", "\u200e", "\u200b", "\u200c", "\u200d", "\ufeff", "\u061c", "\u2060", "\xad", "\xa0", "\u3000"]
MARKS += ["\ufe0f", "\u034f", "\U000e0001", "\t", "\r\n"]
AROUND = [f"{mark}{{}}{mark}" for mark in MARKS] + ["\u202a{}\u202c", "\u2067{}\u2069", "\u200f {} \u200f", "{}\u200e"]


@pytest.mark.parametrize("around", AROUND, ids=ascii)
def test_invisible_marks_around_a_name_do_not_matter(people: People, client: Client, around: str) -> None:
    for name in ("student", "student@example.com"):
        assert login(client, around.format(name)).status_code == 200
    assert client.post("/admin/login/", {"username": around.format("admin"), "password": PASSWORD}).status_code == 302


def test_marks_within_a_name_matter(people: People, client: Client) -> None:
    assert login(client, "stu\u200fdent").json() == WRONG
    assert login(client, "\u200f\u200b").json() == {
        "username": ["This field may not be blank."],
        "code": "invalid_request",
    }


FORMS = ["NFC", "NFD", "NFKC", "NFKD"]


@pytest.mark.parametrize("stored", FORMS)
@pytest.mark.parametrize("typed", FORMS)
def test_names_and_addresses_sign_in_in_each_form_of_unicode(
    people: People, client: Client, stored: Any, typed: Any
) -> None:
    name, address = "Amélie\u0622", "amélie@exämple.com"
    User.objects.filter(pk=people.student.pk).update(username=normalize(stored, name), email=normalize(stored, address))
    for text in (name, address, address.upper()):
        assert login(client, normalize(typed, text)).status_code == 200


def test_of_two_names_that_differ_in_form_each_signs_in_its_own(people: People, client: Client) -> None:
    names = normalize("NFC", "Amélie"), normalize("NFD", "Amélie")
    for name, user in zip(names, (people.student, people.other_student), strict=True):
        User.objects.filter(pk=user.pk).update(username=name)
    assert [login(client, name).json()["id"] for name in names] == [people.student.pk, people.other_student.pk]


def test_letters_that_a_database_takes_for_equal_fold_to_one(people: People, client: Client) -> None:
    """Otherwise each spelling would have tries of its own at the same account."""
    User.objects.filter(pk=people.student.pk).update(email="iris@example.com")
    assert login(client, "Iris@EXAMPLE.com").status_code == 200
    assert folded_name("\u0131r\u0131s@example.com") == folded_name("IRIS@example.com")
    assert folded_name("stra\xdfe") == folded_name("STRASSE")


@pytest.mark.parametrize("name", ["student\ud800", "\udcff", "student\x00", "s" * 200_000, "e\u0301\u0327" * 10_000])
def test_text_that_is_no_name_is_refused(people: People, client: Client, name: str) -> None:
    assert login(client, name).status_code == 400


def test_an_address_shared_by_two_users_signs_in_neither(people: People, client: Client) -> None:
    twin = make_user("twin", RoleChoices.STUDENT)
    twin.email = people.student.email
    twin.save()
    response = login(client, people.student.email)
    assert (response.status_code, response.json()) == (400, WRONG)


def test_a_user_name_is_case_sensitive(people: People, client: Client) -> None:
    assert login(client, "Student").json() == WRONG


def test_me_shows_mentors_without_a_mentor_and_administrators_without_a_profile(people: People) -> None:
    teacher, admin = people.teacher, people.admin
    assert me(client_of(teacher)) == (
        200,
        {
            "id": teacher.pk,
            "username": "teacher",
            "email": "teacher@example.com",
            "profile": profile_object(teacher),
            "mentor": None,
            "is_locked": False,
            **CHOICES,
        },
    )
    assert me(client_of(admin)) == (
        200,
        {"id": admin.pk, "username": "admin", "email": "admin@example.com", "profile": None, "mentor": None}
        | CHOICES
        | {"is_locked": False},
    )


def test_me_hides_a_mentor_who_lost_the_role(people: People) -> None:
    UserProfile.objects.filter(user=people.teacher).update(role=RoleChoices.STUDENT)
    assert me(client_of(people.student)) == (200, student_object(people) | {"mentor": None})


def test_me_answers_401_to_strangers_and_the_deactivated(people: People, client: Client) -> None:
    assert me(client) == (401, NOT_SIGNED_IN)
    signed_in = client_of(people.student)
    people.student.is_active = False
    people.student.save()
    assert me(signed_in) == (401, NOT_SIGNED_IN)


def test_me_costs_four_queries(people: People) -> None:
    client = client_of(people.student)
    with recorded_queries() as queries:
        me(client)
    assert len(queries) == 4  # session, user with profile, mentor, the mentor's user


@pytest.mark.parametrize("name", ["student", "nobody", "nobody@example.com", "student@example.com", "sleeper"])
def test_wrong_credentials_get_the_same_answer_for_known_and_unknown_names(
    people: People, client: Client, name: str
) -> None:
    make_user("sleeper", RoleChoices.STUDENT, is_active=False)
    response = login(client, name, PASSWORD if name == "sleeper" else "wrong")
    assert (response.status_code, response.json()) == (400, WRONG)
    assert me(client)[0] == 401


@pytest.mark.parametrize("name", ["student", "nobody", "sleeper"])
def test_every_try_costs_one_password_hash(
    people: People, client: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.contrib.auth.hashers import MD5PasswordHasher

    make_user("sleeper", RoleChoices.STUDENT, is_active=False)
    hashed: list[str] = []
    encode = MD5PasswordHasher.encode

    def counted(self: MD5PasswordHasher, password: str, salt: str) -> str:
        hashed.append("x")
        return encode(self, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)
    login(client, name, "wrong")
    assert len(hashed) == 1


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({}, {"username": ["This field is required."], "password": ["This field is required."]}),
        (
            {"username": "", "password": ""},
            {"username": ["This field may not be blank."], "password": ["This field may not be blank."]},
        ),
        (
            {"username": None, "password": None},
            {"username": ["This field may not be null."], "password": ["This field may not be null."]},
        ),
        (
            {"username": 5, "password": True},
            {"username": ["Not a valid string."], "password": ["Not a valid string."]},
        ),
        (
            {"username": ["student"], "password": {"a": 1}},
            {"username": ["Not a valid string."], "password": ["Not a valid string."]},
        ),
        (
            {"username": "stu\0dent", "password": "\0"},
            {
                "username": ["Null characters are not allowed."],
                "password": ["Null characters are not allowed."],
            },
        ),
        (
            {"username": "s" * 255, "password": "p" * 1025},
            {
                "username": ["Ensure this field has no more than 254 characters."],
                "password": ["Ensure this field has no more than 1024 characters."],
            },
        ),
        ([], {"non_field_errors": ["Invalid data. Expected a dictionary, but got list."]}),
    ],
)
def test_missing_and_non_text_fields_are_named(people: People, client: Client, body: Any, answer: Any) -> None:
    response = post(client, "login/", body)
    assert (response.status_code, response.json()) == (400, answer | {"code": "invalid_request"})


def test_lone_surrogates_in_either_field_are_refused(people: People, client: Client) -> None:
    response = post(client, "login/", '{"username": "\\ud800", "password": "\\ud800"}')
    refused = ["Surrogate characters are not allowed: U+D800."]
    assert (response.status_code, response.json()) == (
        400,
        {"username": refused, "password": refused, "code": "invalid_request"},
    )


def test_a_session_from_before_sign_in_becomes_invalid(people: People, client: Client) -> None:
    planted = SessionStore()
    planted["seen"] = "the landing page"
    planted.create()
    client.cookies["sessionid"] = str(planted.session_key)
    login(client, "student")
    assert list(Session.objects.values_list("session_key", flat=True)) == [client.cookies["sessionid"].value]
    client.cookies["sessionid"] = str(planted.session_key)
    assert me(client) == (401, NOT_SIGNED_IN)


def test_signing_in_again_makes_a_new_session_and_ends_the_old(people: People, client: Client) -> None:
    login(client, "student")
    first = client.cookies["sessionid"].value
    assert login(client, "student").status_code == 200
    assert client.cookies["sessionid"].value != first
    assert me(client) == (200, student_object(people))
    client.cookies["sessionid"] = first
    assert me(client) == (401, NOT_SIGNED_IN)


def test_signing_in_as_somebody_else_ends_the_first_session(people: People, client: Client) -> None:
    login(client, "student")
    assert login(client, "teacher").status_code == 200
    assert me(client)[1]["username"] == "teacher"
    assert Session.objects.count() == 1


def test_signing_out_ends_the_session(people: People, client: Client) -> None:
    login(client, "student")
    response = post(client, "logout/")
    assert (response.status_code, response.content) == (204, b"")
    assert me(client) == (401, NOT_SIGNED_IN)
    assert Session.objects.count() == 0
    response = post(client, "logout/")
    assert (response.status_code, response.json()) == (401, NOT_SIGNED_IN)


def test_unsafe_methods_always_need_the_csrf_token(people: People) -> None:
    client = Client(enforce_csrf_checks=True)
    for path in ("login/", "logout/"):
        response = post(client, path, {"username": "student", "password": PASSWORD})
        assert (response.status_code, response.json()) == (403, NO_CSRF)
    signed_in = Client(enforce_csrf_checks=True)
    signed_in.cookies = client_of(people.student).cookies
    for path in ("login/", "logout/"):
        response = post(signed_in, path, {"username": "student", "password": PASSWORD})
        assert (response.status_code, response.json()) == (403, NO_CSRF)


def test_the_csrf_path_gives_a_working_token_and_cookie(people: People) -> None:
    client = Client(enforce_csrf_checks=True)

    def token() -> str:
        response = client.get(AUTH + "csrf/")
        assert (response.status_code, list(response.json())) == (200, ["csrfToken"])
        assert response.cookies["csrftoken"]["samesite"] == "Lax"
        return str(response.json()["csrfToken"])

    first = token()
    assert login(client, "student", headers={"X-CSRFToken": first}).status_code == 200
    assert post(client, "logout/", headers={"X-CSRFToken": first}).status_code == 403  # signing in makes a new one
    assert post(client, "logout/", headers={"X-CSRFToken": token()}).status_code == 204


@pytest.mark.parametrize("path", ["csrf/", "me/"])
def test_answers_about_a_person_are_never_cached(people: People, path: str) -> None:
    response = client_of(people.student).get(AUTH + path)
    assert response.headers["Cache-Control"] == "max-age=0, no-cache, no-store, must-revalidate, private"


@pytest.mark.parametrize(
    ("method", "path"), [("post", "csrf/"), ("get", "login/"), ("get", "logout/"), ("delete", "logout/")]
)
def test_other_methods_are_refused(people: People, method: str, path: str) -> None:
    response = getattr(client_of(people.student), method)(AUTH + path)
    assert (response.status_code, response.json()) == (
        405,
        {"detail": f'Method "{method.upper()}" not allowed.', "code": "method_not_allowed"},
    )
