"""What belongs to an event loop: the server has one, tests and threads outside of a server have their own."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

logger = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_SECONDS = 1.0


def per_event_loop(make: Callable[[], T]) -> Callable[[], T]:
    """Return a function that gives the running event loop's one object, made by `make` at the first call."""
    made: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()

    def get() -> T:
        loop = asyncio.get_running_loop()
        if (found := made.get(loop)) is None:
            found = made[loop] = make()
        return found

    return get


def start_for_all(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Start a task that works for everybody: what it logs is not the doing of the one who happened to start it."""
    return asyncio.get_running_loop().create_task(work, name=name, context=Context())


class Tasks:
    """The background tasks of one owner: of each name there is one at a time."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._going_on: dict[str, asyncio.Task[None]] = {}

    def run(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have `work` going on, unless it is; where it fails unexpectedly, once more after `RETRY_SECONDS`."""
        if name not in self._going_on:
            self._going_on[name] = start_for_all(self._run(name, work), f"{self._owner}-{name}")

    def get(self, name: str) -> asyncio.Task[None] | None:
        """Return the task that goes on under this name."""
        return self._going_on.get(name)

    def cancel(self, name: str) -> None:
        """Stop the task of this name; it may be run again at once."""
        if task := self._going_on.pop(name, None):
            task.cancel()

    async def _run(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            while True:
                try:
                    return await work()
                except Exception:  # nobody else would notice that it has ended
                    logger.exception("%s-%s failed", self._owner, name)
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            # Here and not in a callback, which comes later: who asks in between would be taken for served.
            if self._going_on.get(name) is asyncio.current_task():
                del self._going_on[name]
