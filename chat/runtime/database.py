"""The database from the event loop: bounded pools of threads, and a timeout on every call.

Channels' own `database_sync_to_async` would share one thread among all sockets of a process.
"""

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import psycopg
from asgiref.sync import SyncToAsync
from django.conf import settings
from django.db import Error, close_old_connections, connection

from chat.errors import UnavailableError
from chat.runtime.database_errors import Trouble, count_trouble, temporary_trouble, trouble_of

P = ParamSpec("P")
T = TypeVar("T")

CALL_SECONDS = 3.8  # a call that takes longer is given up; handshakes and sends have 5 s in all
WRITE_THREADS = 4  # one works; the others take over while a batch is stuck
KEEP_SECONDS = 1.0  # a connection that was unused for longer is checked before its next use
LOCKED_SECONDS = 0.2  # between two tries of a call that needs a row which somebody else has locked
FULL_SECONDS = 5.0  # for so long `/readyz` is red after a write that found no space


@functools.cache
def threads() -> ThreadPoolExecutor:
    """Return the threads for sockets: half of the connections that the writer leaves. HTTP takes what it finds."""
    count = (settings.DATABASE_POOL_SIZE - WRITE_THREADS) // 2
    return ThreadPoolExecutor(count, thread_name_prefix="sockets-database")


@functools.cache
def _in_thread() -> SyncToAsync[..., Any]:
    # asgiref's, so that the thread knows this event loop: events that the function publishes go out from here.
    return SyncToAsync(_keeping_connection, thread_sensitive=False, executor=threads())


def _keeping_connection(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function` and keep the thread's connection: asking the pool each time costs as much as a query."""
    now = time.monotonic()
    if connection.errors_occurred or now - _kept.used_at > KEEP_SECONDS or was_distrusted_since(_kept.taken_at):
        close_old_connections()  # gives it back; the pool checks the one it gives out
        _kept.taken_at = now
    try:
        return function(*args, **kwargs)
    except Error as error:
        note_refusal(trouble_of(error))
        raise
    finally:
        _kept.used_at = time.monotonic()


class _Kept(threading.local):
    """When this thread took its connection from the pool, and when it used it last."""

    taken_at = used_at = 0.0


class _LastTrouble:
    """When connections were thrown away, and when a write found no space."""

    distrusted_at = full_at = -3600.0


_kept, _trouble = _Kept(), _LastTrouble()


def note_refusal(trouble: Trouble | None) -> None:
    """Note that a write was refused; call it in the thread of the error, if possible.

    A connection to a read-only database is thrown away, and with it all others of the process.
    """
    if trouble is Trouble.READ_ONLY:
        if connection.in_atomic_block:
            return
        if getattr(connection, "pool", None) is not None and connection.connection is not None:
            connection.connection.close()  # else the pool would keep it, because it still answers
        connection.close()
    note_trouble(trouble)


def note_trouble(trouble: Trouble | None) -> None:
    """As `note_refusal`, for the event loop, whose thread has no connection."""
    if trouble is Trouble.FULL:
        _trouble.full_at = time.monotonic()
    if trouble is Trouble.READ_ONLY:
        distrust_connections()


def distrust_connections() -> None:
    """Throw away all connections of the process, at most once a second; those in use when they are given back.

    The database may have several servers: only a new connection finds the one that answers and writes.
    """
    if time.monotonic() - _trouble.distrusted_at > KEEP_SECONDS:
        if pool := getattr(connection, "pool", None):
            pool.drain()
        _trouble.distrusted_at = time.monotonic()


def was_distrusted_since(taken_at: float) -> bool:
    """Whether a connection that was taken then, in monotonic time, is to be thrown away."""
    return taken_at < _trouble.distrusted_at


def was_full() -> bool:
    """Whether a write found no space a moment ago."""
    return time.monotonic() - _trouble.full_at < FULL_SECONDS


async def in_database(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of `function`; raises `UnavailableError` if the database fails or exceeds `CALL_SECONDS`.

    A call that meets a locked row is made again, and holds neither thread nor connection in between: those who want
    other rows do not wait with it. A call that timed out may still run to its end when the database comes back.
    """
    meant = Trouble.GONE  # by a time-out
    try:
        async with asyncio.timeout(CALL_SECONDS):
            while True:
                try:
                    result: T = await _in_thread()(function, *args, **kwargs)
                    return result
                except Error as error:
                    if trouble_of(error) is not Trouble.LOCKED:
                        raise
                meant = Trouble.LOCKED
                await asyncio.sleep(LOCKED_SECONDS)
    except TimeoutError as error:
        count_trouble(meant, "sockets")
        raise UnavailableError from error
    except Error as error:
        if temporary_trouble(error, "sockets") is None:
            raise
        raise UnavailableError from error


def until_unlocked(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `in_database`, for the thread of an HTTP request: call `function` again while it meets a locked row.

    The thread gives its connection back in between. Raises the database's error after `CALL_SECONDS`.
    """
    deadline = time.monotonic() + CALL_SECONDS
    while True:
        try:
            return function(*args, **kwargs)
        except Error as error:
            if trouble_of(error) is not Trouble.LOCKED or time.monotonic() + LOCKED_SECONDS > deadline:
                raise
        close_old_connections()
        time.sleep(LOCKED_SECONDS)


@functools.cache
def write_threads() -> ThreadPoolExecutor:
    """The process's threads for the writer."""
    return ThreadPoolExecutor(WRITE_THREADS, thread_name_prefix="writer-database")


def submit_write(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
    """Run `function` in one of the writer's threads. On PostgreSQL, where that is rare, it leaves no connection."""

    def work() -> T:
        try:
            return _keeping_connection(function, *args, **kwargs)
        finally:
            if connection.vendor == "postgresql":
                connection.close()

    return write_threads().submit(work)


def submit_read(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
    """Run `function` in one of the threads for sockets; nobody waits for it."""
    return threads().submit(lambda: _keeping_connection(function, *args, **kwargs))


def fetch(statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a fixed statement whose best plan does not depend on the parameters.

    PostgreSQL plans it once per connection; with Django's cursor it would plan it on each call. Raises Django's errors.
    Within a transaction it may fail once after a migration has changed a column.
    """
    if connection.vendor != "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall())
    connection.ensure_connection()
    with connection.wrap_database_errors:
        try:
            return _fetch_prepared(statement, parameters)
        except psycopg.errors.FeatureNotSupported:  # a column's type changed: "cached plan must not change result type"
            connection.connection.execute("DEALLOCATE ALL")
            return _fetch_prepared(statement, parameters)


def _fetch_prepared(statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return psycopg.Cursor(connection.connection).execute(statement, parameters, prepare=True).fetchall()
