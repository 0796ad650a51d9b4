"""One object for each event loop: the server has one loop, tests and threads outside of a server have their own."""

import asyncio
from collections.abc import Callable
from typing import TypeVar
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
