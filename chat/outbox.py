"""The outgoing half of one socket: nothing is awaited by those who bring news.

The socket is written by a task that lives only while there is something to write. What a client that does not read
can cost is bounded, and then it is closed.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable
from contextvars import copy_context

from chat.errors import CloseCode
from chat.events import AnyEvent
from chat.serializers import Frame, encode

logger = logging.getLogger(__name__)

MAX_WAITING = 1000  # frames; a replay of 500 fits
SEND_SECONDS = 30.0  # a socket that takes nothing for so long is closed


class Outbox:
    """`send` writes one text frame, `close` closes with a code.

    Made in the socket's task: `context` is the socket's, and all that works for it runs there, whoever brings news.
    """

    def __init__(self, send: Callable[[str], Awaitable[None]], close: Callable[[int], None]) -> None:
        self._send, self._close = send, close
        self.context = copy_context()
        self.written = 0  # frames
        self._started = self._closed = False
        self._waiting: deque[str] = deque()
        self._latest: dict[Hashable, str] = {}
        self._writing: asyncio.Task[None] | None = None
        self._began = 0.0  # to write the frame under way, in the loop's time
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, frames: Iterable[Frame]) -> None:
        """Begin to write, with these frames."""
        self._started = True
        for frame in frames:
            self.say(encode(frame))
        self._wake()

    def stop(self) -> None:
        """Send nothing more."""
        self._closed = True
        if self._writing is not None:
            self._writing.cancel()
        if self._timer is not None:
            self._timer.cancel()

    def hear(self, event: AnyEvent) -> None:
        """Take what a group says."""
        raise NotImplementedError

    def say(self, text: str) -> None:
        """Send a frame."""
        if len(self._waiting) >= MAX_WAITING:
            return self._close(CloseCode.TRY_LATER)
        self._waiting.append(text)
        self._wake()

    def show(self, key: Hashable, text: str) -> None:
        """Send a frame that supersedes what was shown under this key before: of those that wait, the newest is kept."""
        self._latest[key] = text
        self._wake()

    def _wake(self) -> None:
        if self._started and not self._closed and self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write(), context=self.context)

    async def _write(self) -> None:
        try:
            while (text := self._next()) is not None:
                self._watch()
                await self._send(text)
                self.written += 1
        except Exception as error:
            # Gone under the frame: what was taken off the queue is not sent again, so it ends here.
            self._give_up(type(error).__name__)
        finally:
            self._writing = None

    def _watch(self) -> None:
        """Look after the frame that is begun now; one timer looks after all of `SEND_SECONDS`, for each costs."""
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        if self._timer is None:
            self._timer = loop.call_at(self._began + SEND_SECONDS, self._look, context=self.context)

    def _look(self) -> None:
        self._timer = None
        if self._writing is None:
            return
        loop, due = asyncio.get_running_loop(), self._began + SEND_SECONDS
        if loop.time() < due:
            self._timer = loop.call_at(due, self._look, context=self.context)
        else:
            self._give_up("too slow")

    def _give_up(self, why: str) -> None:
        logger.info("socket closed, frame not sent: %s", why)
        self._close(CloseCode.TRY_LATER)

    def _next(self) -> str | None:
        """Return the next frame to write; None where there is nothing, or nothing yet."""
        if self._waiting:
            return self._waiting.popleft()
        if self._latest:
            return self._latest.pop(next(iter(self._latest)))
        return None
