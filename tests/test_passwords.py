"""Passwords: which are accepted, how they are hashed, and what signing in costs."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher, check_password, identify_hasher, make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client

from accounts import hashers, tracing
from accounts.hashers import (
    HASHES_AT_ONCE,
    BoundedArgon2PasswordHasher,
    BoundedPBKDF2PasswordHasher,
    HashQueueFullError,
)
from accounts.models import User
from qader.http import deadline
from qader.http.asgi import send_json
from qader.settings import PASSWORD_HASHERS
from tests.metric_values import metric_changes
from tests.people import PASSWORD, People, client_of
from tests.queries import at_once


@pytest.fixture(autouse=True)
def _hashers_of_production(settings: Any, _quick_and_clean: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """But with little work."""
    settings.PASSWORD_HASHERS = PASSWORD_HASHERS
    monkeypatch.setattr(BoundedArgon2PasswordHasher, "time_cost", 1)
    monkeypatch.setattr(BoundedArgon2PasswordHasher, "memory_cost", 64)


def test_passwords_are_hashed_by_argon2() -> None:
    hashed = make_password("secret")
    assert hashed.startswith("argon2$argon2id$")
    assert [check_password(guess, hashed) for guess in ("secret", "Secret")] == [True, False]


@pytest.mark.parametrize("name", ["encode", "verify"])
def test_only_a_few_password_hashes_run_at_once(name: str) -> None:
    hashed = make_password("secret")
    original, lock, under_way, most = getattr(Argon2PasswordHasher, name), threading.Lock(), 0, 0

    def counted(*args: Any) -> Any:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.01)  # long enough for the others to come
        result = original(*args)
        with lock:
            under_way -= 1
        return result

    def sign_in() -> None:
        if name == "verify":
            identify_hasher(hashed).verify("secret", hashed)
        else:
            make_password("secret")

    with patch.object(Argon2PasswordHasher, name, counted):
        at_once(*[sign_in] * 8)
    assert most == HASHES_AT_ONCE


@contextmanager
def occupied_queue(monkeypatch: pytest.MonkeyPatch, waiting: int = 0) -> Iterator[threading.Event]:
    """All threads that hash are occupied, and `waiting` computations may wait, until the event is set."""
    monkeypatch.setattr(hashers, "_places", threading.BoundedSemaphore(HASHES_AT_ONCE + waiting))
    done, busy = threading.Event(), threading.Barrier(HASHES_AT_ONCE + 1)

    def occupy() -> None:
        busy.wait(5)
        done.wait(5)

    with ThreadPoolExecutor(HASHES_AT_ONCE) as callers:
        try:
            for _ in range(HASHES_AT_ONCE):
                callers.submit(hashers._queued, occupy)
            busy.wait(5)
            yield done
        finally:
            done.set()


LOGIN = "/api/v1/auth/login/"


def log_in(password: str = PASSWORD, name: str = "admin") -> Any:
    return Client().post(LOGIN, {"username": name, "password": password}, content_type="application/json")


@pytest.mark.django_db
def test_beyond_the_queue_every_log_in_is_503(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    with metric_changes() as changes, occupied_queue(monkeypatch) as done:
        answers = [
            log_in(),
            log_in("wrong"),
            Client().post(LOGIN, {"username": "nobody", "password": "x"}, "application/json"),
        ]
        page = Client().post("/admin/login/", {"username": "admin", "password": PASSWORD})
        assert [answer.json()["code"] for answer in answers] == ["temporarily_unavailable"] * 3
        assert {(answer.status_code, answer.headers["Retry-After"]) for answer in [*answers, page]} == {(503, "5")}
        assert "The server is busy. Try again in a moment." in page.content.decode()
        done.set()
    assert changes['qader_logins_total{outcome="busy"}'] == 4
    assert log_in().status_code == 200


@pytest.mark.django_db
def test_a_password_that_cannot_be_set_now_is_a_readable_page(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = client_of(people.admin)
    browser.raise_request_exception = False
    new = {"password1": "qader-new-2026", "password2": "qader-new-2026", "set-password": "1", "usable_password": "true"}
    with occupied_queue(monkeypatch):
        page = browser.post(f"/admin/accounts/user/{people.student.pk}/password/", new)
    assert (page.status_code, page.headers["Retry-After"]) == (503, "5")
    assert "<h1>The server is busy. Try again in a moment.</h1>" in page.content.decode()


@pytest.mark.parametrize("hasher", ["argon2", "pbkdf2_sha256"])
def test_every_hash_is_computed_in_the_queue(monkeypatch: pytest.MonkeyPatch, hasher: str) -> None:
    monkeypatch.setattr(BoundedPBKDF2PasswordHasher, "iterations", 1)
    hashed = make_password("secret", hasher=hasher)
    assert [check_password(guess, hashed) for guess in ("secret", "Secret")] == [True, False]
    with occupied_queue(monkeypatch):
        for compute in (lambda: make_password("secret", hasher=hasher), lambda: check_password("secret", hashed)):
            with pytest.raises(HashQueueFullError):
                compute()


def test_a_wait_that_takes_too_long_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with occupied_queue(monkeypatch, waiting=1), monkeypatch.context() as impatient:
        impatient.setattr(hashers, "WAIT_SECONDS", 0.05)
        for _ in range(2):  # the first one has left its place
            with pytest.raises(HashQueueFullError) as refused:
                make_password("secret")
            assert isinstance(refused.value.__cause__, TimeoutError)
    assert make_password("secret")


@pytest.mark.django_db(transaction=True)
def test_a_waiting_log_in_holds_no_database_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    User.objects.create_user("admin", password=PASSWORD)
    held: list[object] = []

    def noted(compute: Any, *args: Any) -> Any:
        held.append(connection.connection)
        return compute(*args)

    monkeypatch.setattr(hashers._threads, "submit", lambda compute, *args: ready(noted(compute, *args)))
    assert log_in().status_code == 200
    assert log_in("wrong").status_code == 400
    assert held == [None, None]


def ready(result: Any) -> "Future[Any]":
    future: Future[Any] = Future()
    future.set_result(result)
    return future


def test_hashing_gives_way_to_everything_else() -> None:
    nice = hashers._threads.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())).result()
    assert nice == os.getpriority(os.PRIO_PROCESS, 0) + hashers.NICENESS


async def test_the_time_limit_of_an_answer_does_not_count_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait takes longer than the limit, what comes after it does not; and the other way round."""
    monkeypatch.setattr(deadline, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(deadline, "LEAST_SECONDS", 0.01)

    async def answered(waits: float, works: float) -> int:
        async def application(scope: Any, receive: Any, send: Any) -> None:
            with tracing.trace().waiting():
                await asyncio.sleep(waits)
            await asyncio.sleep(works)
            await send_json(send, 200, b"{}", [])

        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        tracing.begin("request", "id")
        await deadline.HttpDeadline(application)({"type": "http"}, None, send)
        return int(sent[0]["status"])

    statuses = await asyncio.gather(answered(0.8, 0), answered(0, 1), answered(0.3, 1))
    assert list(statuses) == [200, 503, 503]


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("k7#pQ2!", "password_too_short"),
        ("password123", "password_too_common"),
        ("ahmad.yusuf1", "password_too_similar"),
        ("ahmad@school.example", "password_too_similar"),
    ],
)
def test_easy_passwords_are_refused(password: str, code: str) -> None:
    with pytest.raises(ValidationError) as refused:
        validate_password(password, User(username="ahmad.yusuf", email="ahmad@school.example"))
    assert code in [error.code for error in refused.value.error_list]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "password", ["  spaces around it  ", "كلمة سر طويلة 🌙", "x" * 1000 + "y", "only small letters"]
)
def test_a_password_is_accepted_unchanged(password: str) -> None:
    validate_password(password)
    User.objects.create_user("ahmad", password=password)
    client = Client()
    answers = [
        client.post("/api/v1/auth/login/", {"username": "ahmad", "password": text}, content_type="application/json")
        for text in (f"{password} ", password[:-1], password)
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 200]
