"""A queue whose items are added one by one, and are processed in batches by one task."""

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
    """Keys that wait for `work`, which gets up to `size` of them at a time. A key is in the queue at most once.

    `work` returns whether it succeeded. If not, its keys are queued again, and the queue pauses for `RETRY_SECONDS`.
    `delay` is the time in seconds between taking a batch from the queue and calling `work`.
    """

    def __init__(self, name: str, work: Callable[[list[K]], Awaitable[bool]], size: int, delay: float = 0.0) -> None:
        self._work, self._size, self._delay = work, size, delay
        self._waiting: dict[K, None] = {}
        self._tasks = Tasks(name)

    def add(self, keys: Collection[K]) -> None:
        """Queue these keys."""
        if keys:
            self._waiting.update(dict.fromkeys(keys))
            self._tasks.run("batches", self._run)

    def discard(self, key: K) -> None:
        """Remove this key if it is in the queue."""
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
