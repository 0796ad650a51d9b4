"""The event bus: calls this process's handlers at once, and reaches other processes over the channel layer.

Each process has one channel of the layer, not one per socket. The layer may lose, repeat and reorder events; healing
(in `live`) reads from the database what was lost. A call of the layer takes at most `LAYER_SECONDS`, and publishing
never waits for it.
"""

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from typing import Any, TypeVar

import msgspec
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from chat.bus.events import AnyEvent, Event
from chat.bus.redis_layer import RedisPubSubChannelLayer
from chat.runtime import metrics
from chat.runtime.event_loop import RETRY_SECONDS, Tasks, per_event_loop

logger = logging.getLogger(__name__)

E = TypeVar("E", bound=Event)

LAYER_SECONDS = 1.0  # how long one call of the layer may take
GROUPS_PER_CALL = 500  # an inbox joins the groups of all its conversations
MAX_OUTGOING = 10_000  # events waiting to be published; beyond that the oldest is dropped, and healing replaces it


def publish(*events: AnyEvent) -> None:
    """Handle events in this process now, and send them to every other process soon. From any thread; never fails."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        async_to_sync(_publish_from_thread)(*events)
    else:
        for event in events:
            event_bus().publish(event)


async def _publish_from_thread(*events: AnyEvent) -> None:
    """Publish in the server's event loop; a thread outside a server has a loop that ends with this call."""
    for event in events:
        event_bus().publish(event)
    if not event_bus().has_groups:
        await event_bus().settle()


class EventBus:
    """The bus of one event loop. Handlers are called in the event loop and must not block."""

    def __init__(self) -> None:
        self._decoder = msgspec.msgpack.Decoder(AnyEvent)
        self._name = uuid.uuid4().hex
        self._handlers: dict[type[Event], list[Callable[[Any], None]]] = {}
        self._wanted: set[str] = set()  # groups that this process wants to receive
        self._joined: set[str] = set()  # groups that the layer has joined
        self._unsettled: set[str] = set()  # groups whose change the layer does not know yet
        self._outgoing: deque[tuple[str, bytes]] = deque(maxlen=MAX_OUTGOING)
        self._layer: Any = get_channel_layer()
        self._channel: str | None = None
        self._updating = asyncio.Lock()
        self._tasks = Tasks("event-bus")
        self._down = False
        metrics.LAYER_UP.set(1)
        self.on_gap: Callable[[], None] = lambda: None  # called when events of other processes may have been lost
        if isinstance(self._layer, RedisPubSubChannelLayer):
            self._layer.serve(self._name.encode(), self._gap_found)

    @property
    def has_groups(self) -> bool:
        """Whether this process receives groups: then its event loop is that of a server, and outlives this call."""
        return bool(self._wanted)

    def on(self, event_type: type[E], handler: Callable[[E], None]) -> None:
        """Have `handler` called with each event of this type and of its subtypes."""
        self._handlers.setdefault(event_type, []).append(handler)
        for subtype in event_type.__subclasses__():
            self.on(subtype, handler)

    async def join(self, groups: Collection[str]) -> None:
        """Receive these groups. For about a second, events from other processes may still be missed."""
        self._wanted.update(groups)
        self._tasks.run("receive", self._receive)
        if self._joined.issuperset(groups):
            return
        self._unsettled.update(group for group in groups if group not in self._joined)
        if self._down or not await self._call(self._update_groups()):
            self._tasks.run("synchronize", self._synchronize)

    def leave(self, groups: Collection[str]) -> None:
        """Stop receiving these groups; harmless for groups that were not joined."""
        if left := self._wanted.intersection(groups):
            self._wanted -= left
            self._unsettled |= left
            self._tasks.run("synchronize", self._synchronize)

    def publish(self, event: AnyEvent) -> None:
        """Call this process's handlers now, and hand the event to every other process soon."""
        self._handle(event)
        if self._down and event.transient:
            return
        self._outgoing.append((event.group.format(event), msgspec.msgpack.encode(event)))
        if len(self._outgoing) == 1:
            self._tasks.run("publish", self._publish)

    async def settle(self) -> None:
        """Wait until the layer has taken all published events, at most `LAYER_SECONDS`."""
        if task := self._tasks.get("publish"):
            await asyncio.wait([task], timeout=LAYER_SECONDS)

    def _handle(self, event: AnyEvent) -> None:
        for handler in self._handlers.get(type(event), ()):
            try:
                handler(event)
            except Exception:
                logger.exception("an event handler failed")

    async def _publish(self) -> None:
        while self._outgoing:
            outgoing = [
                (group, {"from": self._name, "type": "event", "group": group, "body": body, "at": time.time()})
                for group, body in self._outgoing
            ]
            self._outgoing.clear()
            if not await self._call(self._send(outgoing)):
                await asyncio.sleep(RETRY_SECONDS)
                self._outgoing.clear()  # stale by now: healing sends their content

    async def _send(self, outgoing: Iterable[tuple[str, dict[str, Any]]]) -> None:
        if isinstance(self._layer, RedisPubSubChannelLayer):
            await self._layer.group_send_many(outgoing)
            return
        for group, message in outgoing:
            await self._layer.group_send(group, message)

    async def _receive(self) -> None:
        while True:
            try:
                if self._channel is None:
                    await self._update_groups()
                message = await self._layer.receive(self._channel)
            except Exception as error:
                self._failed(error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._handle_received(message)

    def _handle_received(self, message: dict[str, Any]) -> None:
        """Handle an event of another process; a process of a newer release may send events that are unknown here."""
        try:
            if message["from"] != self._name:
                self._handle(self._decoder.decode(message["body"]))
                if "at" in message:  # an older release does not send it
                    metrics.LAYER_SECONDS.observe(max(0.0, time.time() - message["at"]))  # two clocks
        except (KeyError, TypeError, msgspec.MsgspecError) as error:
            logger.warning("an event was not understood: %s", type(error).__name__)

    async def _synchronize(self) -> None:
        """Join and leave groups until the layer has all changes."""
        while self._unsettled:
            if not await self._call(self._update_groups()):
                await asyncio.sleep(RETRY_SECONDS)

    async def _update_groups(self) -> None:
        async with self._updating:
            if self._channel is None:
                self._channel = await self._layer.new_channel()
            while self._unsettled:
                groups = set(islice(self._unsettled, GROUPS_PER_CALL))
                new, old = groups & self._wanted, groups - self._wanted
                await self._group_add(new)
                self._joined |= new
                self._joined -= old
                await self._group_discard(old)
                # A group that was joined or left meanwhile stays unsettled.
                self._unsettled -= {group for group in groups if (group in self._wanted) == (group in self._joined)}

    async def _group_add(self, groups: Collection[str]) -> None:
        if isinstance(self._layer, RedisPubSubChannelLayer):
            return await self._layer.group_add_many(groups, self._channel)
        for group in groups:
            await self._layer.group_add(group, self._channel)

    async def _group_discard(self, groups: Collection[str]) -> None:
        if isinstance(self._layer, RedisPubSubChannelLayer):
            return await self._layer.group_discard_many(groups, self._channel)
        for group in groups:
            await self._layer.group_discard(group, self._channel)

    async def _call(self, call: Any) -> bool:
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
            self._gap_found()
        return True

    def _gap_found(self) -> None:
        self.on_gap()

    def _failed(self, error: Exception) -> None:
        metrics.LAYER_ERRORS.inc()
        if not self._down:
            logger.warning("channel layer away: %s", type(error).__name__)
            self._down = True
            metrics.LAYER_UP.set(0)
            self._tasks.run("probe", self._probe)

    async def _probe(self) -> None:
        """Try the layer until it is back. Publishing alone would not notice: there may be no event for hours."""
        while self._down:
            await asyncio.sleep(RETRY_SECONDS)
            await self._call(self._send([("probe", {"type": "probe"})]))


# The bus of the running event loop.
event_bus = per_event_loop(EventBus)
