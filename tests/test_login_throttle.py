"""The limits on failed log-ins, over REST and in the admin."""

import logging
import pickle
import socket
import time
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.cache import cache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from django.test import Client
from redis import Redis

from accounts import throttling
from accounts.devices import Device
from accounts.throttling import Failures, TooManyFailuresError
from tests.people import PASSWORD, People

LOGIN = "/api/v1/auth/login/"
ADMIN_LOGIN = "/admin/login/"
HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def few(settings: Any) -> None:
    """Limits that a few tries reach: two failures for a name from an address, four from an address or for a name."""
    settings.LOGIN_LIMIT_ACCOUNT, settings.LOGIN_LIMIT_ADDRESS = 2, 4


def try_to_log_in(username: str = "student", password: str = "wrong", address: str = HERE, **how: Any) -> Any:
    body = {"username": username, "password": password}
    browser = how.get("browser") or Client()
    return browser.post(LOGIN, body, content_type="application/json", REMOTE_ADDR=address)


def statuses(count: int, **how: Any) -> set[int]:
    return {try_to_log_in(**how).status_code for _ in range(count)}


def known_browser(*names: str) -> Client:
    """A browser that these have signed in with before, and have left again."""
    browser = Client()
    for name in names:
        assert try_to_log_in(name, PASSWORD, browser=browser).status_code == 200
    del browser.cookies["sessionid"]
    return browser


def next_second(address: str = HERE) -> None:
    """Let the second pass in which this address has had its one try."""
    cache.delete(f"login:turn@{address}")


def test_the_eleventh_failure_for_a_name_from_an_address_is_429(people: People) -> None:
    assert statuses(10) == {400}
    response = try_to_log_in()
    assert (response.status_code, response.json()) == (
        429,
        {"detail": "Too many failed tries to log in.", "code": "rate_limited"},
    )
    assert 290 <= int(response.headers["Retry-After"]) <= 300


@pytest.mark.usefixtures("few")
def test_a_throttled_address_is_refused_even_with_the_right_password(people: People) -> None:
    assert statuses(2) == {400}
    assert try_to_log_in(password=PASSWORD).status_code == 429
    assert try_to_log_in(password=PASSWORD, address=ELSEWHERE).status_code == 200
    assert try_to_log_in("teacher", PASSWORD).status_code == 200


@pytest.mark.usefixtures("few")
def test_an_unknown_name_is_throttled_like_a_known_one(people: People) -> None:
    assert statuses(2, username="nobody") == {400}
    assert statuses(2, username="nobody") == {429}


SPELLINGS = ["STUDENT", " student ", "\u200fstudent\u200b", "\uff53tudent"]


@pytest.mark.parametrize("spelling", SPELLINGS, ids=ascii)
@pytest.mark.usefixtures("few")
def test_all_spellings_of_a_name_count_together(people: People, spelling: str) -> None:
    assert {try_to_log_in().status_code, try_to_log_in(spelling).status_code} == {400}
    assert {try_to_log_in().status_code, try_to_log_in(spelling).status_code} == {429}


@pytest.mark.usefixtures("few")
def test_the_answer_does_not_tell_whose_address_it_is(people: People) -> None:
    assert statuses(3) == {400, 429}
    addresses = ("student@example.com", "teacher@example.com", "nobody@example.com")
    answers = [try_to_log_in(address) for address in addresses]
    assert {(answer.status_code, answer.content) for answer in answers} == {(400, answers[0].content)}


@pytest.mark.usefixtures("few")
def test_successes_do_not_count(people: People) -> None:
    assert statuses(1) == {400}
    assert statuses(5, password=PASSWORD) == {200}
    assert [try_to_log_in().status_code for _ in range(2)] == [400, 429]


def test_after_100_failures_an_address_has_one_try_a_second(people: People) -> None:
    for number in range(100):
        failures = Failures(f"guess{number}", HERE)
        failures.refuse()
        failures.count()
    assert try_to_log_in(password=PASSWORD).status_code == 200
    response = try_to_log_in(password=PASSWORD)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "1")
    assert try_to_log_in(password=PASSWORD, address=ELSEWHERE).status_code == 200
    next_second()
    assert try_to_log_in("teacher", "wrong").status_code == 400
    assert try_to_log_in("teacher", PASSWORD).status_code == 429


def test_a_turn_lasts_a_second(people: People, settings: Any) -> None:
    settings.LOGIN_LIMIT_ADDRESS = 1
    assert statuses(1, username="nobody") == {400}
    begin = time.monotonic()
    assert try_to_log_in(password=PASSWORD).status_code == 200
    while try_to_log_in(password=PASSWORD).status_code == 429:
        assert time.monotonic() - begin < 5
    assert time.monotonic() - begin > 0.9


def test_a_name_has_100_failures_from_all_addresses(people: People) -> None:
    for number in range(99):
        failures = Failures("student", f"198.51.100.{number}")
        failures.refuse()
        failures.count()
    assert try_to_log_in(password=PASSWORD).status_code == 200  # with less, nobody locks somebody else out
    assert try_to_log_in(address=ELSEWHERE).status_code == 400
    assert try_to_log_in(password=PASSWORD).status_code == 429
    assert try_to_log_in("teacher", PASSWORD).status_code == 200


@pytest.mark.usefixtures("few")
def test_throttled_attempts_do_not_count_for_other_limits(people: People) -> None:
    assert statuses(9) == {400, 429}
    assert [try_to_log_in("teacher", PASSWORD).status_code for _ in range(2)] == [200, 200]


@pytest.mark.usefixtures("few")
def test_a_known_browser_is_neither_counted_nor_slowed(people: People) -> None:
    browser = known_browser("student")
    assert {try_to_log_in(f"guess{number}").status_code for number in range(4)} == {400}
    assert statuses(4, address=ELSEWHERE) == {400, 429}
    assert {try_to_log_in(address=f"198.51.100.{number}").status_code for number in range(3)} == {400, 429}
    for name in ("student", "student@example.com", "STUDENT@example.com"):
        assert try_to_log_in(name, PASSWORD, browser=browser).status_code == 200
    assert try_to_log_in(browser=browser).status_code == 400
    cache.clear()
    assert try_to_log_in(browser=browser).status_code == 400
    assert statuses(2) == {400}  # the browser's own does not count against strangers


@pytest.mark.usefixtures("few")
def test_a_known_browser_is_a_stranger_to_other_accounts(people: People) -> None:
    browser = known_browser("student")
    assert [try_to_log_in("teacher", browser=browser).status_code for _ in range(3)] == [400, 400, 429]
    assert try_to_log_in("teacher", PASSWORD).status_code == 429


@pytest.mark.usefixtures("few")
def test_a_browser_knows_all_who_share_it(people: People) -> None:
    browser = known_browser("student", "other_student", "teacher")
    for name in ("student", "other_student", "teacher"):
        assert statuses(3, username=name) == {400, 429}
    for name in ("student", "other_student", "teacher"):
        assert try_to_log_in(name, PASSWORD, browser=browser).status_code == 200


@pytest.mark.usefixtures("few")
def test_a_stolen_device_cookie_guesses_no_more_than_a_stranger(people: People) -> None:
    browser = known_browser("student", "teacher")
    addresses = iter(range(1, 200))

    def guess(password: str = "wrong", name: str = "student") -> int:
        address = f"198.51.100.{next(addresses)}"
        return int(try_to_log_in(name, password, address, browser=browser).status_code)

    assert [guess() for _ in range(3)] == [400, 400, 429]
    assert guess(PASSWORD) == 429
    assert guess(PASSWORD, "teacher") == 200
    assert try_to_log_in(password=PASSWORD).status_code == 200  # its owner elsewhere


def test_a_device_cookie_is_signed_and_tells_nobody_who_it_is(people: People, settings: Any) -> None:
    settings.LOGIN_LIMIT_ACCOUNT = 1
    browser = known_browser("student")
    cookie = browser.cookies["device"]
    value = cookie.value
    assert "student" not in value
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert statuses(1) == {400}
    for forged in ("", "x", value[:-1], "a" + value, "\0", "\xff", ":::", value.split(":")[0]):
        browser.cookies["device"] = forged
        assert try_to_log_in(password=PASSWORD, browser=browser).status_code == 429, forged
    browser.cookies["device"] = value
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "k" * 50
    assert try_to_log_in(password=PASSWORD, browser=browser).status_code == 200


def test_a_browser_forgets_the_one_who_has_been_away_longest() -> None:
    device = Device("id").remember("first", "first@example.com")
    for number in range(9):
        device = device.remember(f"name{number}", f"name{number}@example.com")
    assert device.knows("first")
    assert device.remember("last").knows("name0@example.com")
    assert not device.remember("last").knows("first@example.com")


def test_each_failure_expires_after_five_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "cache", LocMemCache("places", {}))  # Redis has a clock of its own
    now = time.time()
    for minute in range(10):
        monkeypatch.setattr(time, "time", lambda minute=minute: now + 6 * minute)
        failures = Failures("student", "192.0.2.1")
        failures.refuse()
        failures.count()
    with pytest.raises(TooManyFailuresError) as refused:
        Failures("student", "192.0.2.1").refuse()
    assert refused.value.retry_after == int(now) + 300 - int(now + 54)
    monkeypatch.setattr(time, "time", lambda: now + 303)
    Failures("student", "192.0.2.1").refuse()


def test_simultaneous_guesses_are_all_counted(people: People, settings: Any) -> None:
    """All check the limit before any fails: the eleventh gets 429, and so does a right guess after ten wrong ones."""
    bursts = [Failures("student", "192.0.2.1") for _ in range(12)]
    for failures in bursts:
        failures.refuse()
    for failures in bursts[:10]:
        failures.count()
    with pytest.raises(TooManyFailuresError):
        bursts[10].count()
    with pytest.raises(TooManyFailuresError):
        bursts[11].refuse()


def test_a_correct_guess_is_refused_if_the_limit_was_reached_meanwhile(
    people: People, rf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_authenticate(request: Any, **credentials: str) -> Any:
        for _ in range(10):
            failures = Failures("student", "127.0.0.1")
            failures.refuse()
            failures.count()
        return people.student

    monkeypatch.setattr(throttling, "authenticate", slow_authenticate)
    with pytest.raises(TooManyFailuresError):
        throttling.throttled_authenticate(rf.post(LOGIN), "student", PASSWORD)


class Away:
    """A cache that does not answer."""

    def __init__(self) -> None:
        self.asked = 0

    def get_many(self, keys: list[str]) -> Any:
        self.asked += 1
        raise ConnectionError

    add = get_many


def test_log_in_works_without_the_cache(
    people: People, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    away = Away()
    monkeypatch.setattr(throttling, "cache", away)
    with caplog.at_level(logging.WARNING, "accounts.throttling"):
        assert statuses(11) == {400}
        assert try_to_log_in(password=PASSWORD).status_code == 200
    assert away.asked == 12
    assert caplog.messages[0] == "failed log-ins are not limited, the cache is unreachable: ConnectionError"


def test_a_hanging_redis_does_not_delay_log_in(people: People, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:  # takes connections and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(throttling, "cache", RedisCache(url, {"OPTIONS": settings.CACHE_TIMEOUTS}))
        begin = time.monotonic()
        assert try_to_log_in().status_code == 400
        assert try_to_log_in(password=PASSWORD).status_code == 200
        assert time.monotonic() - begin < 4


def test_names_of_any_length_make_short_keys() -> None:
    failures = Failures("n" * 100_000 + "\n \u0661", "192.0.2.1")
    failures.count()
    assert all(len(cache.make_key(place)) < 120 for window in failures._windows for place in window)


@pytest.mark.usefixtures("few")
def test_admin_and_rest_log_ins_share_the_limits(people: People) -> None:
    browser = Client(REMOTE_ADDR=HERE)

    def log_in(password: str, name: str = "admin") -> tuple[int, list[str]]:
        response = browser.post(ADMIN_LOGIN, {"username": name, "password": password})
        errors = response.context["form"].non_field_errors() if response.context else []
        return response.status_code, list(errors)

    wrong = (
        "Please enter the correct username and password for a staff account. "
        "Note that both fields may be case-sensitive."
    )
    assert statuses(1, username="admin") == {400}
    assert log_in("wrong") == (200, [wrong])
    assert log_in(PASSWORD) == (429, ["Too many failed tries. Try again in 5 min."])
    assert log_in("wrong", "admin@example.com") == (200, [wrong])
    assert log_in("wrong", "nobody") == (200, [wrong])
    assert log_in("wrong", "somebody") == (200, [wrong])  # the one try of this second
    assert log_in(PASSWORD, "admin@example.com") == (429, ["Too many failed tries. Try again in 1 min."])
    cache.clear()
    assert log_in(PASSWORD) == (302, [])
    assert statuses(3, username="admin") == {400, 429}
    assert log_in(PASSWORD) == (302, [])  # by the device cookie of the log-in before
    assert try_to_log_in("admin", PASSWORD, browser=browser).status_code == 200


class Exploit:
    """What a pickle makes of itself."""

    ran: list[bool] = []

    def __reduce__(self) -> Any:
        return Exploit.ran.append, (True,)


JUNK = [b"", b"text", b"\x80\x05.", b"-1", b"9" * 30, b"9" * 5000, b"nan", pickle.dumps(Exploit())]


@pytest.mark.skipif(not django_settings.REDIS_URL, reason="needs Redis")
@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("junk", [*JUNK, "list", "hash"], ids=lambda junk: repr(junk)[:20])
def test_nothing_that_redis_holds_runs_or_fails(people: People, junk: bytes | str) -> None:
    failures = Failures("student", HERE)
    redis = Redis.from_url(django_settings.REDIS_URL)
    for key in [slot for window in [*failures._windows, failures._slow] for slot in window] + [failures._turn]:
        name = cache.make_key(key)
        if junk == "list":
            redis.rpush(name, "x")
        elif junk == "hash":
            redis.hset(name, "x", "y")
        else:
            redis.set(name, junk)
    redis.close()
    response = try_to_log_in(password=PASSWORD)
    assert response.status_code in {200, 429}
    assert int(response.headers.get("Retry-After", 1)) in range(1, 301)
    assert not Exploit.ran
