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
from django.db import InterfaceError, OperationalError, close_old_connections, connection

from chat.errors import UnavailableError
from chat.runtime import metrics

P = ParamSpec("P")
T = TypeVar("T")

CALL_SECONDS = 3.8  # a call that takes longer is given up; handshakes and sends have 5 s in all
WRITE_THREADS = 4  # one works; the others take over while a batch is stuck
KEEP_SECONDS = 1.0  # a connection that was unused for longer is checked before its next use


@functools.cache
def threads() -> ThreadPoolExecutor:
    """Return the threads for sockets: half of the connections that the writer leaves; HTTP has the other half."""
    count = (settings.DATABASE_POOL_SIZE - WRITE_THREADS) // 2
    return ThreadPoolExecutor(count, thread_name_prefix="sockets-database")


@functools.cache
def _in_thread() -> SyncToAsync[..., Any]:
    # asgiref's, so that the thread knows this event loop: events that the function publishes go out from here.
    return SyncToAsync(_keeping_connection, thread_sensitive=False, executor=threads())


def _keeping_connection(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function` and keep the thread's connection: asking the pool each time costs as much as a query."""
    if connection.errors_occurred or time.monotonic() - getattr(_kept, "used_at", 0) > KEEP_SECONDS:
        close_old_connections()  # gives it back; the pool checks the one it gives out
    try:
        return function(*args, **kwargs)
    finally:
        _kept.used_at = time.monotonic()


_kept = threading.local()


async def in_database(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of `function`; raises `UnavailableError` if the database fails or exceeds `CALL_SECONDS`.

    A call that timed out may still run to its end when the database comes back.
    """
    try:
        async with asyncio.timeout(CALL_SECONDS):
            result: T = await _in_thread()(function, *args, **kwargs)
            return result
    except (TimeoutError, OperationalError, InterfaceError) as error:
        metrics.DATABASE_ERRORS_OF_SOCKETS.inc()
        raise UnavailableError from error


@functools.cache
def write_threads() -> ThreadPoolExecutor:
    """The process's threads for the writer."""
    return ThreadPoolExecutor(WRITE_THREADS, thread_name_prefix="writer-database")


def submit_write(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
    """Run `function` in one of the writer's threads."""
    return write_threads().submit(lambda: _keeping_connection(function, *args, **kwargs))


def fetch(statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a fixed statement whose best plan does not depend on the parameters.

    PostgreSQL plans it once per connection; with Django's cursor it would plan it on each call. Raises Django's errors
    if the database is unreachable, else those of psycopg. Within a transaction it may fail once after a migration has
    changed a column.
    """
    if connection.vendor != "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall())
    connection.ensure_connection()
    try:
        try:
            return _fetch_prepared(statement, parameters)
        except psycopg.errors.FeatureNotSupported:  # a column's type changed: "cached plan must not change result type"
            connection.connection.execute("DEALLOCATE ALL")
            return _fetch_prepared(statement, parameters)
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        connection.errors_occurred = True
        raise OperationalError(str(error)) from error


def _fetch_prepared(statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return psycopg.Cursor(connection.connection).execute(statement, parameters, prepare=True).fetchall()
