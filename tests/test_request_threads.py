"""The threads of requests: one for each that is running, all its middleware included, and none is started in vain."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core import signals
from django.test import AsyncClient

from chat.runtime.event_loop import calling_loop, per_event_loop
from qader.http.application import KEPT_THREADS, HttpApplication
from tests.sockets import in_thread


@contextmanager
def threads_of_signals() -> Iterator[list[int]]:
    """Note in which threads Django tells that requests start and end."""
    found: list[int] = []

    def note(**_: Any) -> None:
        found.append(threading.get_ident())

    for signal in (signals.request_started, signals.request_finished):
        signal.connect(note)
    try:
        yield found
    finally:
        for signal in (signals.request_started, signals.request_finished):
            signal.disconnect(note)


async def ask(application: HttpApplication) -> int:
    """Return the status of the answer, when the request has ended altogether."""
    scope = {"type": "http", "method": "GET", "path": "/healthz", "query_string": b"", "headers": [(b"host", b"x")]}
    received = iter([{"type": "http.request", "body": b""}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(received, None) or await asyncio.Future()  # the client stays

    async def send(message: Any) -> None:
        sent.append(message)

    await application(scope, receive, send)
    return int(sent[0]["status"])


async def test_requests_in_turn_take_the_same_thread() -> None:
    application = HttpApplication()
    with threads_of_signals() as found:
        assert [await ask(application) for _ in range(5)] == [200] * 5
    assert len(found) == 10
    assert len(set(found)) == 1


async def test_a_request_stays_in_its_thread(settings: Any) -> None:
    """Django itself would go to the event loop and back for each middleware."""
    settings.MIDDLEWARE = [
        "tests.test_request_threads.noting",
        *settings.MIDDLEWARE,
        "tests.test_request_threads.noting",
    ]
    application = HttpApplication()
    NOTED.clear()
    assert await ask(application) == 200
    assert len(NOTED) == 2
    assert len(set(NOTED)) == 1
    assert NOTED[0] != threading.get_ident()


async def test_requests_at_once_have_threads_of_their_own() -> None:
    application = HttpApplication()
    with threads_of_signals() as found:
        assert await asyncio.gather(*(ask(application) for _ in range(KEPT_THREADS + 5))) == [200] * (KEPT_THREADS + 5)
    assert len(set(found)) == KEPT_THREADS + 5
    with threads_of_signals() as again:
        assert await ask(application) == 200
    assert set(again) < set(found)


async def test_a_thread_that_still_works_is_not_used_again() -> None:
    application = HttpApplication()
    release = threading.Event()
    stuck = threading.Event()

    def wait(**_: Any) -> None:
        stuck.set()
        assert release.wait(5)

    signals.request_started.connect(wait)
    first = asyncio.create_task(ask(application))
    try:
        assert await asyncio.to_thread(stuck.wait, 5)
        signals.request_started.disconnect(wait)
        assert await ask(application) == 200
    finally:
        signals.request_started.disconnect(wait)
        release.set()
    assert await first == 200


NOTED: list[int] = []


def noting(get_response: Any) -> Any:
    """Middleware that notes its thread."""

    def note(request: Any) -> Any:
        NOTED.append(threading.get_ident())
        return get_response(request)

    return note


async def test_a_thread_finds_the_objects_of_the_loop_that_called_it() -> None:
    get = per_event_loop(object)
    made_in_thread = await in_thread(get)
    assert made_in_thread is get()
    assert await in_thread(get) is get()
    assert await in_thread(calling_loop) is asyncio.get_running_loop()


def test_without_an_event_loop_there_are_no_such_objects() -> None:
    with pytest.raises(RuntimeError, match="no event loop"):
        per_event_loop(object)()


async def test_the_asynchronous_client_of_tests_goes_through_the_same_middleware() -> None:
    answer = await AsyncClient().get("/healthz")
    assert (answer.status_code, answer.headers["X-Frame-Options"]) == (200, "DENY")


async def test_a_probe_without_a_proxy_is_no_mistake(
    settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("accounts.addresses._reported", set())  # what is reported once
    settings.TRUST_PROXY = 1
    assert await ask(HttpApplication()) == 200
    assert "a proxy's headers cannot be read" not in caplog.messages
