"""The limits on failed log-ins, over REST and in the admin."""

import logging
import socket
import time
from typing import Any

import pytest
from django.core.cache import cache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from django.test import Client

from accounts import throttling
from accounts.throttling import Failures, TooManyFailuresError, account_name
from tests.people import PASSWORD, People, make_user

LOGIN = "/api/v1/auth/login/"
ADMIN_LOGIN = "/admin/login/"


def try_to_log_in(username: str = "student", password: str = "wrong", address: str = "192.0.2.1") -> Any:
    body = {"username": username, "password": password}
    return Client().post(LOGIN, body, content_type="application/json", REMOTE_ADDR=address)


def statuses(count: int, **how: Any) -> set[int]:
    return {try_to_log_in(**how).status_code for _ in range(count)}


def test_the_eleventh_failure_for_an_account_from_an_address_is_429(people: People) -> None:
    assert statuses(10) == {400}
    response = try_to_log_in()
    assert (response.status_code, response.json()) == (
        429,
        {"detail": "Too many failed tries to log in.", "code": "rate_limited"},
    )
    assert 290 <= int(response.headers["Retry-After"]) <= 300


def test_a_throttled_address_is_refused_even_with_the_right_password(people: People) -> None:
    assert statuses(10) == {400}
    assert try_to_log_in(password=PASSWORD).status_code == 429
    assert try_to_log_in(password=PASSWORD, address="192.0.2.2").status_code == 200
    assert try_to_log_in("teacher", PASSWORD).status_code == 200


def test_an_unknown_name_is_throttled_like_a_known_one(people: People) -> None:
    assert statuses(10, username="nobody") == {400}
    assert statuses(2, username="nobody") == {429}


@pytest.mark.parametrize("spelling", ["student@example.com", "STUDENT@EXAMPLE.COM", "STUDENT"])
def test_all_spellings_of_an_account_count_together(people: People, spelling: str) -> None:
    assert statuses(5) == {400}
    assert statuses(5, username=spelling) == {400}
    assert {try_to_log_in().status_code, try_to_log_in(spelling).status_code} == {429}


def test_successes_do_not_count(people: People) -> None:
    assert statuses(9) == {400}
    assert statuses(15, password=PASSWORD) == {200}
    assert statuses(1) == {400}
    assert statuses(1) == {429}


def test_an_address_has_100_failures_for_all_accounts(people: People) -> None:
    assert {try_to_log_in(f"guess{number}").status_code for number in range(100)} == {400}
    assert try_to_log_in(password=PASSWORD).status_code == 429
    assert try_to_log_in(password=PASSWORD, address="192.0.2.2").status_code == 200


def test_an_account_has_100_failures_from_all_addresses(people: People) -> None:
    assert {try_to_log_in(address=f"198.51.100.{number}").status_code for number in range(99)} == {400}
    assert try_to_log_in(password=PASSWORD).status_code == 200  # with less, nobody locks somebody else out
    assert try_to_log_in(address="198.51.100.99").status_code == 400
    assert try_to_log_in(password=PASSWORD).status_code == 429
    assert try_to_log_in("teacher", PASSWORD).status_code == 200


def test_throttled_attempts_do_not_count_for_other_limits(people: People) -> None:
    assert statuses(105) == {400, 429}
    assert try_to_log_in("teacher", PASSWORD).status_code == 200


def test_the_limits_are_settings(people: People, settings: Any) -> None:
    settings.LOGIN_LIMIT_ACCOUNT, settings.LOGIN_LIMIT_ADDRESS = 2, 3
    assert statuses(2) == {400}
    assert statuses(1) == {429}
    assert statuses(1, username="nobody") == {400}
    assert statuses(1, username="someone") == {429}


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


def test_an_address_shared_by_two_users_has_its_own_limit(people: People) -> None:
    assert account_name("student@example.com") == "student"
    twin = make_user("twin", None)
    twin.email = "student@example.com"
    twin.save()
    assert account_name("student@example.com") == "student@example.com"
    assert account_name("nobody@example.com") == "nobody@example.com"


def test_names_of_any_length_make_short_keys() -> None:
    failures = Failures("n" * 100_000 + "\n \u0661", "192.0.2.1")
    failures.count()
    assert all(len(cache.make_key(place)) < 120 for window in failures._windows for place in window)


def test_admin_and_rest_log_ins_share_the_limits(people: People) -> None:
    assert statuses(6, username="admin") == {400}
    browser = Client(REMOTE_ADDR="192.0.2.1")

    def log_in(password: str) -> tuple[int, list[str]]:
        response = browser.post(ADMIN_LOGIN, {"username": "admin@example.com", "password": password})
        errors = response.context["form"].non_field_errors() if response.context else []
        return response.status_code, list(errors)

    wrong = (
        "Please enter the correct username and password for a staff account. "
        "Note that both fields may be case-sensitive."
    )
    assert [log_in("wrong") for _ in range(4)] == [(200, [wrong])] * 4
    assert log_in(PASSWORD) == (200, ["Too many failed tries. Try again in 5 min."])
    cache.clear()
    assert log_in(PASSWORD) == (302, [])
