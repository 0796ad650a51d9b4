"""The subscriber of one open socket: its user, the events that it receives, and its queue of frames.

Senders never wait for the client: frames are queued and written at once, or by a task when the client takes no more for
a moment. The queue is bounded; the socket of a client that does not read is closed.
"""

import asyncio
import logging
import types
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Hashable, Iterable
from contextvars import copy_context
from typing import Any

import msgspec

from chat.bus.events import ConversationEvent
from chat.errors import ClientError, CloseCode
from chat.runtime.event_loop import RETRY_SECONDS
from chat.wire.server_frames import ErrorFrame, Frame

logger = logging.getLogger(__name__)

MAX_WAITING = 1000  # frames; a replay of 500 fits
SEND_SECONDS = 30.0  # the socket of a client that takes nothing for this long is closed

_encoder = msgspec.json.Encoder()


class Subscriber:
    """Base class of the feeds, one for each kind of socket.

    `session_key` is None for a socket that was not authenticated by a session. `write` sends one text frame. `close`
    closes the socket soon, with a code, and may be called from anywhere in the event loop. A subscriber must be created
    in the socket's task: it copies the context of that task and runs all work in it, so that log lines name the socket.
    """

    def __init__(
        self,
        *,
        user_id: int,
        session_key: str | None,
        wants_presence: bool,
        write: Callable[[str], Awaitable[None]],
        close: Callable[[int], None],
    ) -> None:
        self.user_id, self.session_key, self.close = user_id, session_key, close
        self.context = copy_context()
        self.frames_written = 0
        self._wants_presence, self._write = wants_presence, write
        self._started = self._stopped = False
        self._waiting: list[str] = []  # not a deque, whose 760 bytes would idle with each socket
        self._latest: dict[Hashable, str] = {}
        self._is_writing = False
        self._writing: asyncio.Task[None] | None = None  # if the client does not take a frame at once
        self._reading: asyncio.Task[None] | None = None
        self._write_began = 0.0  # of the frame that is being written, in the loop's time
        self._timer: asyncio.TimerHandle | None = None

    @property
    def conversation_ids(self) -> Collection[int]:
        """The conversations whose events it receives."""
        raise NotImplementedError

    @property
    def people(self) -> Collection[int]:
        """The ids of the users whose changes may end its access."""
        raise NotImplementedError

    @property
    def watched_users(self) -> Collection[int]:
        """The ids of the users whose presence it receives: the other participants of its active conversations."""
        return self._other_users() if self._wants_presence else ()

    def _other_users(self) -> Collection[int]:
        raise NotImplementedError

    def on_event(self, event: ConversationEvent) -> None:
        """Handle an event of one of its conversations."""
        raise NotImplementedError

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped = True
        for task in (self._writing, self._reading):
            if task is not None:
                task.cancel()
        if self._timer is not None:
            self._timer.cancel()

    def send(self, frame: Frame | ErrorFrame) -> None:
        """Queue a frame; closes the socket if too many wait."""
        if len(self._waiting) >= MAX_WAITING:
            return self.close(CloseCode.TRY_LATER)
        self._waiting.append(encode(frame))
        self._wake()

    def send_latest(self, key: Hashable, frame: Frame) -> None:
        """Queue a frame; it replaces a waiting frame with the same key."""
        self._latest[key] = encode(frame)
        self._wake()

    def _start(self, frames: Iterable[Frame]) -> None:
        """Start writing, with these frames first."""
        for frame in frames:
            self.send(frame)
        self._started = True  # not before: what has come meanwhile is behind these frames
        self._wake()

    def _wake(self) -> None:
        """Write what is ready, at once; a task goes on when the client takes no more for a moment."""
        if not self._started or self._stopped or self._is_writing:
            return
        self._is_writing = True
        writing = self._write_frames()
        try:
            waits_for = writing.send(None)
        except StopIteration:
            return
        self._writing = asyncio.get_running_loop().create_task(_go_on(writing, waits_for), context=self.context)
        self._watch()

    async def _write_frames(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while (text := self._next()) is not None:
                self._write_began = loop.time()
                await self._write(text)
                self.frames_written += 1
        except Exception as error:
            # The frame was taken off the queue and is not sent again, so the socket ends here.
            self._stopped = True
            loop.call_soon(self._give_up, type(error).__name__, context=self.context)
        finally:
            self._is_writing, self._writing = False, None

    def _next(self) -> str | None:
        """Return the next frame to write, or None if none is ready."""
        if self._waiting:
            return self._waiting.pop(0)
        if self._latest:
            return self._latest.pop(next(iter(self._latest)))
        return None

    def _start_reading(self) -> None:
        """Start a task that reads what is missing. The writing task can then send errors without the database."""
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._read(), context=self.context)

    async def _read(self) -> None:
        try:
            await self._read_missing()
        except ClientError:  # the database is unreachable
            await asyncio.sleep(RETRY_SECONDS)
        except Exception:
            logger.exception("what a socket misses could not be read")
            self.close(CloseCode.INTERNAL_ERROR)  # else the client would silently stay behind
        finally:
            self._reading = None
        self._wake()

    async def _read_missing(self) -> None:
        raise NotImplementedError

    def _watch(self) -> None:
        """Watch a write that waits. One timer watches all writes of `SEND_SECONDS`: a timer for each costs 4 µs."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._write_began + SEND_SECONDS, self._check_write, context=self.context)

    def _check_write(self) -> None:
        self._timer = None
        if not self._is_writing:
            return
        loop, due = asyncio.get_running_loop(), self._write_began + SEND_SECONDS
        if loop.time() < due:
            self._timer = loop.call_at(due, self._check_write, context=self.context)
        else:
            self._give_up("too slow")

    def _give_up(self, why: str) -> None:
        logger.info("socket closed, frame not sent: %s", why)
        self.close(CloseCode.TRY_LATER)


async def _go_on(begun: Coroutine[Any, Any, None], waits_for: Any) -> None:
    """Run a coroutine to its end that was begun without a task, and waits for this future."""
    await _rest(begun, waits_for)  # type: ignore[misc] # types.coroutine makes it awaitable


@types.coroutine
def _rest(begun: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    try:
        yield waits_for
    except BaseException:
        begun.close()
        raise
    yield from begun


def encode(frame: Frame | ErrorFrame) -> str:
    """Return the frame's text on the wire."""
    return _encoder.encode(frame).decode()
