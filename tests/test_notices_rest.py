"""`/api/v1/notify/` and `PATCH auth/me/`: browsers that take pushes, the link in e-mails, people's choices."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.test.client import MULTIPART_CONTENT
from django.utils import timezone

from accounts.models import User, UserProfile
from notices.models import PushSubscription
from notices.subscriptions import MAX_PER_PERSON
from notices.unsubscribe import unsubscribe_url
from tests.notices import SITE, subscribe, subscriptions
from tests.people import PASSWORD, People, session_cookie
from tests.push_service import HOST, VAPID_PRIVATE_KEY, Browser, decode

pytestmark = pytest.mark.usefixtures("notices_on")
KEY, SUBSCRIPTIONS, ME = "/api/v1/notify/push-key/", "/api/v1/notify/subscriptions/", "/api/v1/auth/me/"
CLICK = "List-Unsubscribe=One-Click"
FORM = "application/x-www-form-urlencoded"


def signed_in(user: User) -> Client:
    client = Client()
    client.cookies["sessionid"] = session_cookie(user)
    return client


def send(client: Client, verb: str, path: str, body: Any) -> tuple[int, Any]:
    """The status and the body of an answer."""
    text = body if isinstance(body, str) else json.dumps(body)
    answer = client.generic(verb, path, text, "application/json")
    return answer.status_code, json.loads(answer.content or "null")


def test_the_key_is_the_public_half_of_the_private_one(people: People) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    answer = signed_in(people.student).get(KEY)
    private = ec.derive_private_key(int.from_bytes(decode(VAPID_PRIVATE_KEY)), ec.SECP256R1())
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert (answer.status_code, list(answer.json())) == (200, ["public_key"])
    assert decode(answer.json()["public_key"]) == point
    assert Client().get(KEY).status_code == 401


def test_without_a_key_nobody_can_subscribe(people: People, settings: Any) -> None:
    settings.VAPID_PRIVATE_KEY = ""
    client = signed_in(people.student)
    refusal = 404, {"detail": "The server has no key for Web Push.", "code": "push_not_configured"}
    assert send(client, "GET", KEY, "") == refusal
    assert send(client, "POST", SUBSCRIPTIONS, Browser("phone").subscription) == refusal
    assert send(client, "POST", SUBSCRIPTIONS, {}) == refusal


def test_a_browser_belongs_to_whoever_subscribed_it_last(people: People) -> None:
    phone = Browser("phone")
    stored = {"endpoint": phone.endpoint}
    student, teacher = signed_in(people.student), signed_in(people.teacher)
    assert send(student, "POST", SUBSCRIPTIONS, phone.subscription) == (201, stored)
    assert send(student, "POST", SUBSCRIPTIONS, phone.subscription) == (200, stored)
    assert subscriptions() == [(people.student.pk, "phone")]
    assert send(teacher, "POST", SUBSCRIPTIONS, phone.subscription) == (200, stored)
    assert subscriptions() == [(people.teacher.pk, "phone")]
    assert PushSubscription.objects.get().session_id == teacher.cookies["sessionid"].value
    assert send(student, "DELETE", SUBSCRIPTIONS, {"endpoint": phone.endpoint}) == (204, None)
    assert subscriptions() == [(people.teacher.pk, "phone")]
    assert send(teacher, "DELETE", SUBSCRIPTIONS, {"endpoint": phone.endpoint}) == (204, None)
    assert subscriptions() == []


@pytest.mark.parametrize("endpoint", ["https://elsewhere.example/1", "", "\0", "\ud800", "ä"])
def test_an_end_of_what_was_never_there_is_fine(people: People, endpoint: str) -> None:
    client = signed_in(people.student)
    assert send(client, "DELETE", SUBSCRIPTIONS, {"endpoint": endpoint}) == (204, None)


@pytest.mark.parametrize("body", [{}, [], {"endpoint": 1}, {"endpoint": None}, "null"])
def test_an_end_without_an_endpoint_is_refused(people: People, body: Any) -> None:
    status, told = send(signed_in(people.student), "DELETE", SUBSCRIPTIONS, body)
    assert (status, told["code"]) == (400, "invalid_request")


def test_of_more_than_sixteen_the_oldest_goes(people: People) -> None:
    client, browsers = signed_in(people.student), [Browser(f"b{n}") for n in range(MAX_PER_PERSON + 2)]
    subscribe(people.teacher, Browser("other"))
    for browser in browsers[:-1]:
        assert send(client, "POST", SUBSCRIPTIONS, browser.subscription)[0] == 201
    assert send(client, "POST", SUBSCRIPTIONS, browsers[1].subscription)[0] == 200  # now it is the newest
    assert send(client, "POST", SUBSCRIPTIONS, browsers[-1].subscription)[0] == 201
    kept = [f"b{n}" for n in range(MAX_PER_PERSON + 2) if n not in (0, 2)]
    assert subscriptions() == sorted(
        [(people.teacher.pk, "other"), *((people.student.pk, name) for name in kept)],
        key=lambda row: [("other"), *(browser.path[6:] for browser in browsers)].index(row[1]),
    )
    assert MAX_PER_PERSON == 16


@pytest.mark.parametrize(
    "endpoint",
    [
        f"http://{HOST}/send/1",
        f"https://{HOST}:443/send/1",
        f"https://{HOST}:/send/1",
        f"https://{HOST}:8443/send/1",
        f"https://user@{HOST}/send/1",
        f"https://user:password@{HOST}/send/1",
        f"https://{HOST}.evil.example/send/1",
        f"https://evil{HOST}/send/1",
        f"https://evil.example/{HOST}",
        f"https://evil.example\\@{HOST}/send/1",
        f"https://evil.example#@{HOST}/send/1",
        f"https://evil.example?@{HOST}/send/1",
        f"https://{HOST}\t/send/1",
        f"https://{HOST}%2eevil.example/send/1",
        f"https://{HOST}./send/1",
        f"https://.{HOST}/send/1",
        f"https://{HOST}",
        f"HTTPS://{HOST}/send/1",
        f" https://{HOST}/send/1",
        f"https://{HOST}/send/\n1",
        f"https://{HOST}/ä",
        f"//{HOST}/send/1",
        "https://127.0.0.1/send/1",
        "https://[::1]/send/1",
        "https://2130706433/send/1",
        "https://0x7f.1/send/1",
        "https://localhost/send/1",
        "",
        None,
        7,
        [],
    ],
)
def test_an_endpoint_elsewhere_is_refused(people: People, endpoint: Any) -> None:
    body = Browser("phone").subscription | {"endpoint": endpoint}
    status, told = send(signed_in(people.student), "POST", SUBSCRIPTIONS, body)
    refusal = {"detail": "No push may be sent to this address.", "code": "endpoint_not_allowed"}
    assert (status, told) == (400, refusal)
    assert subscriptions() == []


@pytest.mark.parametrize("host", [HOST, f"a-1.b.{HOST}"])
def test_an_endpoint_at_an_allowed_host_or_below_it_is_taken(people: People, host: str) -> None:
    browser = Browser("phone?token=a%20b&c=d", host)
    assert send(signed_in(people.student), "POST", SUBSCRIPTIONS, browser.subscription)[0] == 201


POINT, AUTH = Browser("x").subscription["keys"].values()


@pytest.mark.parametrize(
    "keys",
    [
        None,
        {},
        [],
        {"p256dh": POINT},
        {"auth": AUTH},
        {"p256dh": POINT, "auth": AUTH[:-2]},
        {"p256dh": POINT, "auth": f"{AUTH}AA"},
        {"p256dh": POINT, "auth": 7},
        {"p256dh": POINT[:-2], "auth": AUTH},
        {"p256dh": f"A{POINT[1:]}", "auth": AUTH},
        {"p256dh": f"{POINT[:-4]}AAAA", "auth": AUTH},
        {"p256dh": POINT, "auth": "ä" * 22},
        {"p256dh": "\0" * 87, "auth": AUTH},
    ],
)
def test_wrong_keys_are_refused(people: People, keys: Any) -> None:
    body = {"endpoint": Browser("phone").endpoint, "keys": keys}
    refusal = {"detail": "The keys are missing or wrong.", "code": "invalid_keys"}
    assert send(signed_in(people.student), "POST", SUBSCRIPTIONS, body) == (400, refusal)


def test_a_subscription_of_more_than_two_kilobytes_is_refused(people: People) -> None:
    client, body = signed_in(people.student), Browser("phone").subscription
    padding = 2048 - len(json.dumps(body | {"more": ""}))
    assert send(client, "POST", SUBSCRIPTIONS, body | {"more": "x" * padding})[0] == 201
    status, told = send(client, "POST", SUBSCRIPTIONS, body | {"more": "x" * (padding + 1)})
    assert (status, told["code"]) == (413, "message_too_long")


def test_only_json_is_taken_and_only_with_a_token(people: People) -> None:
    client = signed_in(people.student)
    assert client.post(SUBSCRIPTIONS, {"endpoint": "x"}).status_code == 415
    assert send(client, "POST", SUBSCRIPTIONS, "[1]")[1]["code"] == "invalid_request"
    assert send(client, "POST", SUBSCRIPTIONS, "{")[1]["code"] == "invalid_json"
    strict = Client(enforce_csrf_checks=True)
    strict.cookies["sessionid"] = session_cookie(people.student)
    for verb, path in (("POST", SUBSCRIPTIONS), ("DELETE", SUBSCRIPTIONS), ("PATCH", ME)):
        status, told = send(strict, verb, path, {})
        assert (status, told["code"]) == (403, "csrf_failed")
        assert send(Client(), verb, path, {})[0] == 401


def test_a_subscription_ends_with_its_session(people: People) -> None:
    client, other = Client(), Browser("other")
    body = {"username": "student", "password": PASSWORD}
    assert client.post("/api/v1/auth/login/", body).status_code == 200
    send(client, "POST", SUBSCRIPTIONS, Browser("phone").subscription)
    subscribe(people.student, other)
    assert client.post("/api/v1/auth/logout/").status_code == 204
    assert subscriptions() == [(people.student.pk, "other")]
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    Session.objects.filter(expire_date__lt=timezone.now()).delete()  # as `clearsessions` does
    assert subscriptions() == []


def test_a_person_who_is_deleted_leaves_nothing(people: People) -> None:
    subscribe(people.stranger, Browser("phone"))
    people.stranger.delete()
    assert subscriptions() == []


def link(user: User) -> str:
    return unsubscribe_url(user.pk).removeprefix(SITE)


def test_the_link_shows_a_page_and_changes_nothing(people: People) -> None:
    answer = Client().get(link(people.student))
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert answer.content.count(b"<button>") == 1
    assert b'name="List-Unsubscribe" value="One-Click"' in answer.content
    assert UserProfile.objects.get(user=people.student).notify_email is True


@pytest.mark.parametrize("multipart", [False, True])
def test_one_click_switches_e_mails_off_without_a_session_or_a_token(people: People, multipart: bool) -> None:
    client = Client(enforce_csrf_checks=True)
    for _ in range(2):
        data: Any = {"List-Unsubscribe": "One-Click"} if multipart else CLICK
        kind = MULTIPART_CONTENT if multipart else FORM
        answer = client.post(link(people.student), data, content_type=kind)
        assert (answer.status_code, answer["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert b"<button>" not in answer.content
    off = UserProfile.objects.filter(notify_email=False)
    assert [profile.user_id for profile in off] == [people.student.pk]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("", FORM),
        ("List-Unsubscribe=", FORM),
        ("list-unsubscribe=One-Click", FORM),
        ("List-Unsubscribe=one-click", FORM),
        (f"{CLICK}&more=1", FORM),
        (f"{CLICK}&{CLICK}", FORM),
        (json.dumps({"List-Unsubscribe": "One-Click"}), "application/json"),
        (CLICK, "text/plain"),
        ("--x", "multipart/form-data"),
    ],
)
def test_another_body_is_refused(people: People, body: str, kind: str) -> None:
    answer = Client().post(link(people.student), body, content_type=kind)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert UserProfile.objects.get(user=people.student).notify_email is True


def test_a_wrong_link_is_not_found(people: People) -> None:
    right = link(people.student)
    nobody = link(User(pk=people.student.pk + 1000))
    forged = right.replace(f"/{people.student.pk}.", f"/{people.teacher.pk}.")
    for path in (f"{right[:-3]}xx/", forged, nobody, link(people.admin), "/api/v1/notify/unsubscribe/x/"):
        for answer in (Client().get(path), Client().post(path, CLICK, content_type=FORM)):
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
    assert not UserProfile.objects.filter(notify_email=False).exists()


def test_the_page_of_the_link_is_in_the_persons_language_or_the_browsers(people: People) -> None:
    def language(asked: str) -> bytes:
        return Client().get(link(people.student), headers={"Accept-Language": asked}).content[:60]

    assert b'lang="ar" dir="rtl"' in language("ar")
    assert b'lang="en" dir="ltr"' in language("en")
    UserProfile.objects.filter(user=people.student).update(language="ar")
    assert b'lang="ar" dir="rtl"' in language("en")


def test_people_change_their_language_and_notices(people: People) -> None:
    client = signed_in(people.student)
    before = client.get(ME).json()
    assert {name: before[name] for name in ("language", "notify_push", "notify_email")} == {
        "language": None,
        "notify_push": True,
        "notify_email": True,
    }
    for change in ({"language": "ar"}, {"notify_push": False, "notify_email": False}, {"language": None}, {}):
        before |= change
        assert send(client, "PATCH", ME, change) == (200, before)
        assert client.get(ME).json() == before
    others = UserProfile.objects.exclude(user=people.student)
    assert not others.filter(notify_email=False).exists()


@pytest.mark.parametrize(
    "change",
    [
        {"language": "fr"},
        {"language": ""},
        {"language": 1},
        {"notify_push": None},
        {"notify_push": "true"},
        {"notify_push": 1},
        {"notify_email": "false"},
        {"role": "TEACHER"},
        {"language": "ar", "more": 1},
        {"full_name": "Somebody"},
        [],
        "text",
        None,
    ],
)
def test_another_key_or_a_wrong_value_is_refused_and_changes_nothing(people: People, change: Any) -> None:
    client = signed_in(people.student)
    status, told = send(client, "PATCH", ME, json.dumps(change))
    assert (status, told["code"]) == (400, "invalid_request")
    profile = UserProfile.objects.get(user=people.student)
    assert (profile.language, profile.notify_push, profile.notify_email) == (None, True, True)
    assert (profile.role, profile.full_name) == ("STUDENT", "Student")


def test_a_form_says_the_same_in_words(people: People) -> None:
    client = signed_in(people.student)
    answer = client.patch(ME, "language=ar&notify_push=false&notify_email=0", content_type=FORM)
    assert answer.status_code == 200
    assert answer.json() | {"language": "ar", "notify_push": False, "notify_email": False} == answer.json()
    assert client.patch(ME, "notify_push=", content_type=FORM).status_code == 400
    assert client.patch(ME, "language=", content_type=FORM).json()["language"] is None


def test_somebody_without_a_profile_has_nothing_to_change(people: People) -> None:
    client = signed_in(people.admin)
    assert send(client, "PATCH", ME, {})[0] == 200
    refusal = {"detail": "The user has no profile.", "code": "no_profile"}
    assert send(client, "PATCH", ME, {"language": "ar"}) == (403, refusal)
