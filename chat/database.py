"""The database from the event loop: a bounded pool of threads, and a timeout on every call.

Channels' own `database_sync_to_async` would share one thread among all sockets of a process.
"""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections

from chat.errors import UnavailableError

P = ParamSpec("P")
T = TypeVar("T")

CALL_SECONDS = 4.0  # a call that takes longer is given up; handshakes and sends have 5 s in all


@functools.cache
def threads() -> ThreadPoolExecutor:
    """The process's threads for sockets; half of the connection pool, the other half is for HTTP."""
    return ThreadPoolExecutor(max(2, settings.DATABASE_POOL_SIZE // 2), thread_name_prefix="sockets-database")


def submit(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
    """Run `function` in one of the threads; its connection goes back to the pool when it returns."""
    return threads().submit(_call(function, *args, **kwargs))


def _call(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Callable[[], T]:
    def call() -> T:
        close_old_connections()
        try:
            return function(*args, **kwargs)
        finally:
            close_old_connections()

    return call


async def in_database(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `function` returns; raises `UnavailableError` where the database fails or takes over `CALL_SECONDS`.

    A call that was given up may still run to its end when the database comes back.
    """
    try:
        async with asyncio.timeout(CALL_SECONDS):
            # asgiref's, which tells the thread of this event loop: what `function` publishes goes out from here.
            call = _call(function, *args, **kwargs)
            return await sync_to_async(call, thread_sensitive=False, executor=threads())()
    except (TimeoutError, OperationalError, InterfaceError) as error:
        raise UnavailableError from error
