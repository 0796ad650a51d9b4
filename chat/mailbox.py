"""One mailbox per process (and event loop) on the channel layer, instead of one channel per socket.

The layer may lose, repeat and reorder: what it brings is a hint, and `delivery` makes it whole. Nothing here waits
for the layer longer than `LAYER_SECONDS`, and publishing never waits at all.
"""

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from typing import Any, Generic, TypeVar

import msgspec
from channels.layers import get_channel_layer

from chat import metrics
from chat.layers import RedisPubSubChannelLayer
from chat.loops import Tasks

logger = logging.getLogger(__name__)

Event = TypeVar("Event")
Listener = Callable[[Event], None]

LAYER_SECONDS = 1.0  # how long one call of the layer may take
RETRY_SECONDS = 1.0  # how long a layer that failed is left alone
GROUPS_PER_CALL = 500  # an inbox joins the groups of all its conversations
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
        self._unsettled: set[str] = set()  # groups of which it has to be told
        self._outgoing: deque[tuple[str, bytes]] = deque(maxlen=MAX_OUTGOING)
        self._layer: Any = get_channel_layer()
        self._channel: str | None = None
        self._telling = asyncio.Lock()
        self._tasks = Tasks("mailbox")
        self._down = False
        metrics.LAYER_UP.set(1)
        self.on_return: Callable[[], None] = lambda: None  # called when what the layer lost is to be looked for
        if isinstance(self._layer, RedisPubSubChannelLayer):
            self._layer.call_after_gaps(self._returned)

    @property
    def listening(self) -> bool:
        """Whether anybody listens: this is then a server's event loop, which outlives a task in the background."""
        return bool(self._listeners)

    async def join(self, groups: Collection[str], listener: Listener[Event]) -> None:
        """Let `listener` hear the groups; what other processes say may be missed for about a second still."""
        for group in groups:
            self._listeners.setdefault(group, set()).add(listener)
        self._tasks.run("receive", self._receive)
        if self._joined.issuperset(groups):
            return
        self._unsettled.update(group for group in groups if group not in self._joined)
        if self._down or not await self._ask(self._tell_groups()):
            self._tasks.run("synchronize", self._synchronize)

    def leave(self, groups: Iterable[str], listener: Listener[Event]) -> None:
        """Let `listener` hear the groups no more; harmless if it did not."""
        for group in groups:
            listeners = self._listeners.get(group, set())
            listeners.discard(listener)
            if not listeners and self._listeners.pop(group, None) is not None:
                self._unsettled.add(group)
                self._tasks.run("synchronize", self._synchronize)

    def publish(self, group: str, event: Event) -> None:
        """Hand the event to this process's listeners now and to every other process soon; never waits, never fails."""
        self._dispatch(group, event)
        self._outgoing.append((group, msgspec.msgpack.encode(event)))
        self._tasks.run("publish", self._publish)

    def hint(self, group: str, event: Event) -> None:
        """As `publish`, but while the layer is away to this process alone: of what nobody will miss later."""
        if self._down:
            self._dispatch(group, event)
        else:
            self.publish(group, event)

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

    async def _publish(self) -> None:
        while self._outgoing:
            outgoing = [(group, self._message(group, body)) for group, body in self._outgoing]
            self._outgoing.clear()
            if not await self._ask(self._send(outgoing)):
                await asyncio.sleep(RETRY_SECONDS)
                self._outgoing.clear()  # stale by now; healing brings what they said

    def _message(self, group: str, body: bytes) -> dict[str, Any]:
        return {"type": "event", "group": group, "from": self._name, "body": body, "at": time.time()}

    async def _send(self, outgoing: list[tuple[str, dict[str, Any]]]) -> None:
        if isinstance(self._layer, RedisPubSubChannelLayer):
            await self._layer.group_send_many(outgoing)
            return
        for group, message in outgoing:
            await self._layer.group_send(group, message)

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
                self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        """Hand on what another process said; of a newer release it may be what this one does not know."""
        try:
            if message["from"] != self._name:
                self._dispatch(message["group"], self._decoder.decode(message["body"]))
                if "at" in message:  # an older release says nothing of it
                    metrics.LAYER_SECONDS.observe(time.time() - message["at"])
        except (KeyError, msgspec.MsgspecError) as error:
            logger.warning("an event was not understood: %s", type(error).__name__)

    async def _synchronize(self) -> None:
        """Tell the layer which groups are listened to, until it knows."""
        while self._unsettled:
            if not await self._ask(self._tell_groups()):
                await asyncio.sleep(RETRY_SECONDS)

    async def _tell_groups(self) -> None:
        async with self._telling:
            if self._channel is None:
                self._channel = await self._layer.new_channel()
            while self._unsettled:
                groups = set(islice(self._unsettled, GROUPS_PER_CALL))
                come = [group for group in groups if group in self._listeners]
                gone = [group for group in groups if group not in self._listeners]
                await self._group_add(come)
                self._joined.update(come)
                self._joined.difference_update(gone)
                await self._group_discard(gone)
                # Whoever came or went meanwhile is asked about once more.
                settled = {group for group in groups if (group in self._listeners) == (group in self._joined)}
                self._unsettled -= settled

    async def _group_add(self, groups: list[str]) -> None:
        if isinstance(self._layer, RedisPubSubChannelLayer):
            return await self._layer.group_add_many(groups, self._channel)
        for group in groups:
            await self._layer.group_add(group, self._channel)

    async def _group_discard(self, groups: list[str]) -> None:
        if isinstance(self._layer, RedisPubSubChannelLayer):
            return await self._layer.group_discard_many(groups, self._channel)
        for group in groups:
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
            metrics.LAYER_UP.set(1)
            self._returned()
        return True

    def _returned(self) -> None:
        self.on_return()

    def _failed(self, error: Exception) -> None:
        metrics.LAYER_ERRORS.inc()
        if not self._down:
            logger.warning("channel layer away: %s", type(error).__name__)
            self._down = True
            metrics.LAYER_UP.set(0)
            self._tasks.run("knock", self._knock)

    async def _knock(self) -> None:
        """Try a layer that is away until it is back: nobody may have anything to say for hours."""
        while self._down:
            await asyncio.sleep(RETRY_SECONDS)
            await self._ask(self._send([("knock", {"type": "knock"})]))
