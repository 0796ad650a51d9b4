"""One mailbox per process (and event loop) on the channel layer, instead of one channel per socket.

The layer may lose, repeat and reorder: what it brings is a hint, and `delivery` makes it whole. Nothing here waits
for the layer longer than `LAYER_SECONDS`, and publishing never waits at all.
"""

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec
from channels.layers import get_channel_layer

logger = logging.getLogger(__name__)

Event = TypeVar("Event")
Listener = Callable[[Event], None]

LAYER_SECONDS = 1.0  # how long one call of the layer may take
RETRY_SECONDS = 1.0  # how long a layer that failed is left alone
MAX_OUTGOING = 10_000  # events waiting to be published; beyond that the oldest is dropped, and healing replaces it


class Mailbox(Generic[Event]):
    """Hears for every group that some listener of this process joined, and publishes to groups.

    A listener is called in the event loop with each event of its group and must not block. What this process
    publishes reaches its own listeners at once, not by way of the layer.
    """

    def __init__(self, event_type: Any) -> None:
        self._decoder = msgspec.msgpack.Decoder(event_type)
        self._name = uuid.uuid4().hex
        self._listeners: dict[str, set[Listener[Event]]] = {}
        self._joined: set[str] = set()  # groups that the layer knows of
        self._outgoing: deque[tuple[str, bytes]] = deque(maxlen=MAX_OUTGOING)
        self._layer: Any = get_channel_layer()
        self._channel: str | None = None
        self._telling = asyncio.Lock()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._down = False
        self.on_return: Callable[[], None] = lambda: None  # called when a layer that was away is back

    @property
    def listening(self) -> bool:
        """Whether anybody listens: this is then a server's event loop, which outlives a task in the background."""
        return bool(self._listeners)

    async def join(self, group: str, listener: Listener[Event]) -> None:
        """Let `listener` hear the group; what other processes say may be missed for about a second still."""
        self._listeners.setdefault(group, set()).add(listener)
        self._run("receive", self._receive)
        if group not in self._joined and (self._down or not await self._ask(self._tell_groups())):
            self._run("synchronize", self._synchronize)

    def leave(self, group: str, listener: Listener[Event]) -> None:
        """Let `listener` hear the group no more; harmless if it did not."""
        listeners = self._listeners.get(group, set())
        listeners.discard(listener)
        if not listeners and self._listeners.pop(group, None) is not None:
            self._run("synchronize", self._synchronize)

    def publish(self, group: str, event: Event) -> None:
        """Hand the event to this process's listeners now and to every other process soon; never waits, never fails."""
        self._dispatch(group, event)
        self._outgoing.append((group, msgspec.msgpack.encode(event)))
        self._run("publish", self._publish)

    async def settle(self) -> None:
        """Wait until what was published has been handed to the layer, `LAYER_SECONDS` at the most."""
        if task := self._tasks.get("publish"):
            await asyncio.wait([task], timeout=LAYER_SECONDS)

    def _dispatch(self, group: str, event: Event) -> None:
        for listener in tuple(self._listeners.get(group, ())):
            try:
                listener(event)
            except Exception:
                logger.exception("a listener failed")

    def _run(self, name: str, work: Callable[[], Any]) -> None:
        """Have `work` going on as a task, once."""
        if name not in self._tasks:
            task = self._tasks[name] = asyncio.get_running_loop().create_task(work(), name=f"mailbox-{name}")
            task.add_done_callback(lambda _: self._tasks.pop(name, None))

    async def _publish(self) -> None:
        while self._outgoing:
            group, body = self._outgoing.popleft()
            message = {"type": "event", "group": group, "from": self._name, "body": body}
            if not await self._ask(self._layer.group_send(group, message)):
                await asyncio.sleep(RETRY_SECONDS)
                self._outgoing.clear()  # stale by now; healing brings what they said

    async def _receive(self) -> None:
        while True:
            try:
                if self._channel is None:
                    await self._tell_groups()
                message = await self._layer.receive(self._channel)
            except Exception as error:
                self._failed(error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                if message["from"] != self._name:
                    self._dispatch(message["group"], self._decoder.decode(message["body"]))

    async def _synchronize(self) -> None:
        """Tell the layer which groups are listened to, until it knows."""
        while self._joined != self._listeners.keys():
            if not await self._ask(self._tell_groups()):
                await asyncio.sleep(RETRY_SECONDS)

    async def _tell_groups(self) -> None:
        async with self._telling:
            if self._channel is None:
                self._channel = await self._layer.new_channel()
            for group in self._listeners.keys() - self._joined:
                await self._layer.group_add(group, self._channel)
                self._joined.add(group)
            for group in self._joined - self._listeners.keys():
                self._joined.discard(group)
                await self._layer.group_discard(group, self._channel)

    async def _ask(self, call: Any) -> bool:
        """Await a call of the layer and return whether it went through in time."""
        try:
            async with asyncio.timeout(LAYER_SECONDS):
                await call
        except Exception as error:
            self._failed(error)
            return False
        if self._down:
            logger.warning("channel layer back")
            self._down = False
            self.on_return()
        return True

    def _failed(self, error: Exception) -> None:
        if not self._down:
            logger.warning("channel layer away: %s", type(error).__name__)
            self._down = True
