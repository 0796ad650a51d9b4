"""Helpers for the database and Redis: counts statements, pauses after one, makes calls at the same moment."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import psycopg
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.test.utils import CaptureQueriesContext
from redis.asyncio import Redis

from chat.runtime.database import threads, write_threads
from chat.runtime.loop_database import LoopConnection, give_back_idle
from chat.runtime.redis import redis_client


def connected_redis() -> "Redis":
    """Return the Redis client of the running event loop, in a test that has a Redis."""
    client = redis_client()
    assert client, "no REDIS_URL"
    return client


def wait_for_idle_threads(then: Callable[[], None] = lambda: None) -> None:
    """Wait until no thread that works for sockets has anything to do, and have each do this.

    The connections in the event loop are closed.
    """
    give_back_idle()
    for pool in (threads(), write_threads()):
        everyone = threading.Barrier(pool._max_workers)

        def rest(everyone: threading.Barrier = everyone) -> None:
            everyone.wait(timeout=10)
            then()

        for resting in [pool.submit(rest) for _ in range(pool._max_workers)]:
            resting.result()


@contextmanager
def counted_queries() -> Iterator[list[str]]:
    """Collect the statements, but for BEGIN, of the whole process: all threads, all connections, psycopg's cursors."""
    statements: list[str] = []

    def note(sql: str) -> None:
        if not sql.startswith("BEGIN"):
            statements.append(sql)

    with watched_statements(note):
        yield statements


@contextmanager
def watched_statements(after: Callable[[str], None]) -> Iterator[None]:
    """Call `after` behind each statement of the process, in the thread that made it, or in the event loop."""
    fetch = LoopConnection.fetch

    async def fetch_watched(self: LoopConnection, statement: str, parameters: Any) -> Any:
        try:
            return await fetch(self, statement, parameters)
        finally:
            after(statement)

    def watched(owner: type, name: str) -> Any:
        method = getattr(owner, name)

        def watch(self: Any, sql: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return method(self, sql, *args, **kwargs)
            finally:
                if isinstance(self, CursorWrapper) or type(self) is psycopg.Cursor:
                    after(str(sql))

        return patch.object(owner, name, watch)

    with ExitStack() as stack:
        for owner, name in ((CursorWrapper, "execute"), (CursorWrapper, "executemany"), (psycopg.Cursor, "execute")):
            stack.enter_context(watched(owner, name))
        stack.enter_context(patch.object(LoopConnection, "fetch", fetch_watched))
        yield


HANDSHAKE_QUERY = "FROM accounts_user person"  # in the statement that finds who may connect where


@contextmanager
def paused_after(text: str) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Hold the first statement with this text back behind its end: (it was made, let it go on)."""
    made, go_on = threading.Event(), threading.Event()

    def hold_up(sql: str) -> None:
        if text in sql and not made.is_set():
            made.set()
            go_on.wait(5)

    with watched_statements(hold_up):
        yield made, go_on


@contextmanager
def recorded_queries() -> Iterator[list[str]]:
    """`with recorded_queries() as queries`: afterwards it holds the statements that this thread made meanwhile.

    What only begins and ends transactions is left out: it depends on the test's own transaction.
    """
    queries: list[str] = []
    with CaptureQueriesContext(connection) as captured:
        yield queries
    transactions = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")
    queries += [query["sql"] for query in captured if not query["sql"].startswith(transactions)]


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Return what the calls return, each made in a thread of its own, all let go at the same moment."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        try:
            start.wait(5)
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))
