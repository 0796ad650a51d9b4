"""Requests of one address take turns, so that the process serves everybody else in between.

However many requests somebody sends at once, cheap ones included, only a few of them run at the same time; the others
wait, in their order. A whole school may have one address, so a request that takes long keeps nobody waiting: it is
waiting itself, for the database or to be hashed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

AT_ONCE = 4  # requests of one address
TURN_SECONDS = 0.1  # then the next one runs, too
WAIT_SECONDS = 5.0  # for a turn; by then, `HttpDeadline` has answered


class Turns:
    """The turns of one event loop."""

    def __init__(self) -> None:
        self._free: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def take(self, address: str) -> AsyncIterator[None]:
        """Run the block when it is this request's turn; raises `TimeoutError`.

        The turn of a client that leaves lasts `TURN_SECONDS`: the thread works on.
        """
        free = self._free.setdefault(address, asyncio.Semaphore(AT_ONCE))
        async with asyncio.timeout(WAIT_SECONDS):
            await free.acquire()
        taken = [free]

        def pass_on() -> None:
            if taken:
                taken.pop().release()

        timer = asyncio.get_running_loop().call_later(TURN_SECONDS, pass_on)
        has_left = False
        try:
            yield
        except asyncio.CancelledError:
            has_left = True
            raise
        finally:
            if not has_left:
                timer.cancel()
                pass_on()
