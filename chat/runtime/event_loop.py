"""Objects and background tasks of an event loop.

A server has one loop; tests, and threads outside a server, have others.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import SyncToAsync, async_to_sync

logger = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_SECONDS = 1.0  # pause after work that failed, before it is tried again


def per_event_loop(make: Callable[[], T]) -> Callable[[], T]:
    """Return a function that returns the one object of the running event loop, made by `make` at the first call.

    In a thread that an event loop has called, it is the object of that loop.
    """
    made: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()

    def get() -> T:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return get_in_thread()
        if (found := made.get(loop)) is None:
            found = made[loop] = make()
        return found

    def get_in_thread() -> T:
        if (loop := calling_loop()) is None:
            raise RuntimeError("no event loop has called this thread")
        found = made.get(loop)
        return async_to_sync(get_in_loop)() if found is None else found

    async def get_in_loop() -> T:
        return get()

    return get


def calling_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that has called this thread by `sync_to_async`, or None; asgiref itself goes by it."""
    return getattr(SyncToAsync.threadlocal, "main_event_loop", None)


def start_for_all(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Start a task that works for all sockets: its log lines do not name the socket that happened to start it."""
    return asyncio.get_running_loop().create_task(work, name=name, context=Context())


class Tasks:
    """The background tasks of one owner; one at a time under each name."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._running: dict[str, asyncio.Task[None]] = {}

    def run(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start `work` unless it is running. If it raises, it is started again after `RETRY_SECONDS`."""
        if name not in self._running:
            self._running[name] = start_for_all(self._run(name, work), f"{self._owner}-{name}")

    def get(self, name: str) -> asyncio.Task[None] | None:
        """Return the task that is running under this name."""
        return self._running.get(name)

    def cancel(self, name: str) -> None:
        """Stop the task of this name; it may be run again at once."""
        if task := self._running.pop(name, None):
            task.cancel()

    async def _run(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            while True:
                try:
                    return await work()
                except Exception:  # no one awaits this task, so it would end unnoticed
                    logger.exception("%s-%s failed", self._owner, name)
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            # Not in a callback, which is called later: until then, `run` would take the ended task for a running one.
            if self._running.get(name) is asyncio.current_task():
                del self._running[name]
