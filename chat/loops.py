"""What belongs to an event loop: the server has one, tests and threads outside of a server have their own."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


def per_event_loop(make: Callable[[], T]) -> Callable[[], T]:
    """Return a function that gives the running event loop's one object, made by `make` at the first call."""
    made: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()

    def get() -> T:
        loop = asyncio.get_running_loop()
        if (found := made.get(loop)) is None:
            found = made[loop] = make()
        return found

    return get


class Tasks:
    """The background tasks of one owner: of each name there is one at a time."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._going_on: dict[str, asyncio.Task[None]] = {}

    def run(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have `work` going on, unless it is."""
        if name not in self._going_on:
            task = asyncio.get_running_loop().create_task(self._run(name, work), name=f"{self._owner}-{name}")
            self._going_on[name] = task

    def get(self, name: str) -> asyncio.Task[None] | None:
        """Return the task that goes on under this name."""
        return self._going_on.get(name)

    def cancel(self, name: str) -> None:
        """Stop the task of this name; it may be run again at once."""
        if task := self._going_on.pop(name, None):
            task.cancel()

    async def _run(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        finally:
            # Here and not in a callback, which comes later: who asks in between would be taken for served.
            if self._going_on.get(name) is asyncio.current_task():
                del self._going_on[name]
