"""The database from the event loop: bounded pools of threads, and a timeout on every call.

Channels' own `database_sync_to_async` would share one thread among all sockets of a process.
"""

import asyncio
import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, connection

from chat.errors import UnavailableError

P = ParamSpec("P")
T = TypeVar("T")

CALL_SECONDS = 4.0  # a call that takes longer is given up; handshakes and sends have 5 s in all
WRITE_THREADS = 4  # one works, the others stand in while the database holds it up
KEEP_SECONDS = 1.0  # a connection that was kept for longer without use is checked before the next


@functools.cache
def threads() -> ThreadPoolExecutor:
    """The process's threads for sockets; half of the connection pool, the other half is for HTTP and the writer."""
    return ThreadPoolExecutor(max(2, settings.DATABASE_POOL_SIZE // 2), thread_name_prefix="sockets-database")


async def in_database(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `function` returns; raises `UnavailableError` where the database fails or takes over `CALL_SECONDS`.

    A call that was given up may still run to its end when the database comes back.
    """

    def call() -> T:
        close_old_connections()
        try:
            return function(*args, **kwargs)
        finally:
            close_old_connections()

    try:
        async with asyncio.timeout(CALL_SECONDS):
            # asgiref's, which tells the thread of this event loop: what `function` publishes goes out from here.
            return await sync_to_async(call, thread_sensitive=False, executor=threads())()
    except (TimeoutError, OperationalError, InterfaceError) as error:
        raise UnavailableError from error


@functools.cache
def write_threads() -> ThreadPoolExecutor:
    """The process's threads for the writer."""
    return ThreadPoolExecutor(WRITE_THREADS, thread_name_prefix="writer-database")


def submit_write(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
    """Run `function` in a thread that keeps its connection: asking the pool each time would double a lone send."""

    def call() -> T:
        if connection.errors_occurred or time.monotonic() - getattr(_kept, "used_at", 0) > KEEP_SECONDS:
            close_old_connections()  # gives it back; the pool checks the one it gives out
        try:
            return function(*args, **kwargs)
        finally:
            _kept.used_at = time.monotonic()

    return write_threads().submit(call)


_kept = threading.local()
