"""Work that comes one by one and is done in batches, by one task, until it is done."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

from chat.runtime.event_loop import RETRY_SECONDS, Tasks

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Split the items, as they are now, into lists of at most `size`."""
    rest = iter(list(items))
    while batch := list(islice(rest, size)):
        yield batch


class BatchQueue(Generic[K]):
    """Keys that wait for `work`, which gets up to `size` of them at a time; a key waits once.

    `work` returns whether it is done with them; if not, they wait again, and it goes on after `RETRY_SECONDS`. Each
    batch is worked on `delay` seconds after it was taken from the queue.
    """

    def __init__(self, name: str, work: Callable[[list[K]], Awaitable[bool]], size: int, delay: float = 0.0) -> None:
        self._work, self._size, self._delay = work, size, delay
        self._waiting: dict[K, None] = {}
        self._tasks = Tasks(name)

    def add(self, keys: Collection[K]) -> None:
        """Have these worked on soon."""
        if keys:
            self._waiting.update(dict.fromkeys(keys))
            self._tasks.run("batches", self._run)

    def discard(self, key: K) -> None:
        """Forget this one if it waits."""
        self._waiting.pop(key, None)

    async def _run(self) -> None:
        while self._waiting:
            batch = list(islice(self._waiting, self._size))
            for key in batch:
                del self._waiting[key]
            if self._delay:
                await asyncio.sleep(self._delay)
            if not await self._work(batch):
                self._waiting.update(dict.fromkeys(batch))
                await asyncio.sleep(RETRY_SECONDS)
