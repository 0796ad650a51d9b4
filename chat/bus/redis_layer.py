"""The channel layer: Redis pub/sub. It publishes many messages in one round trip and receives without polling.

It may lose, repeat and reorder messages; see `event_bus`.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, cast

import msgpack
from channels_redis import pubsub
from channels_redis.utils import create_pool
from hiredis import pack_command
from redis.exceptions import ConnectionError

from chat.runtime.event_loop import start_for_all

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0  # pause after Redis failed, before it is tried again
# One command for all messages. A pipeline of PUBLISH would cost this process twice as much: each has an answer.
PUBLISH = "for i = 1, #ARGV, 2 do redis.call('PUBLISH', ARGV[i], ARGV[i + 1]) end"
MARK_BYTES = 64  # the part of a message that names its sender, before anything that a client has written
QUIET_SECONDS = 5.0  # without a message; then Redis is pinged, and has as long to answer


class RedisPubSubChannelLayer(pubsub.RedisPubSubChannelLayer):  # type: ignore[misc] # channels_redis has no types
    """The layer of a process, for all of its event loops."""

    def _get_layer(self) -> "LoopLayer":
        loop = asyncio.get_running_loop()
        if loop not in self._layers:
            self._layers[loop] = LoopLayer(*self._args, **self._kwargs, channel_layer=self)
            pubsub._wrap_close(self, loop)
        return cast(LoopLayer, self._layers[loop])

    def deserialize(self, message: bytes) -> Any:
        """Return the message; an empty one for bytes that no process of ours has sent."""
        try:
            return super().deserialize(message)
        except (ValueError, TypeError, msgpack.UnpackException):
            return {}

    def serve(self, own_mark: bytes, on_gap: Callable[[], None]) -> None:
        """Drop messages that begin with this mark, unread: they are this process's own.

        `on_gap` is called in the running event loop when a lost subscription is restored.
        """
        layer = self._get_layer()
        layer.own_mark, layer.on_gap = own_mark, on_gap

    async def group_send_many(self, messages: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Send each message to its group."""
        await self._get_layer().group_send_many(messages)

    async def group_add_many(self, groups: Iterable[str], channel: str | None) -> None:
        """Add the channel to each group."""
        await self._get_layer().group_add_many(groups, channel)

    async def group_discard_many(self, groups: Iterable[str], channel: str | None) -> None:
        """Remove the channel from each group."""
        await self._get_layer().group_discard_many(groups, channel)


class LoopLayer(pubsub.RedisPubSubLoopLayer):  # type: ignore[misc]
    """The layer in one event loop."""

    def __init__(self, hosts: Any = None, **kwargs: Any) -> None:
        super().__init__(hosts=hosts, **kwargs)
        self._shards = [Shard(host, self) for host in pubsub.decode_hosts(hosts)]
        self.on_gap: Callable[[], None] = lambda: None
        self.own_mark = b"no mark"

    async def group_send_many(self, messages: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Send each message to its group."""
        by_shard: dict[Shard, list[tuple[str, bytes]]] = {}
        for group, message in messages:
            channel = self._get_group_channel_name(group)
            by_shard.setdefault(self._get_shard(channel), []).append((channel, self.channel_layer.serialize(message)))
        for shard, published in by_shard.items():
            await shard.publish_many(published)

    async def group_add_many(self, groups: Iterable[str], channel: str | None) -> None:
        """Add the channel to each group."""
        names = [self._get_group_channel_name(group) for group in groups]
        for name in names:
            self.groups.setdefault(name, set()).add(channel)
        for shard, wanted in self._by_shard(names):
            await shard.subscribe_many(wanted)

    async def group_discard_many(self, groups: Iterable[str], channel: str | None) -> None:
        """Remove the channel from each group."""
        names = [self._get_group_channel_name(group) for group in groups]
        for name in names:
            self.groups.get(name, set()).discard(channel)
        empty = [name for name in names if self.groups.get(name) == set()]
        for name in empty:
            del self.groups[name]
        for shard, unwanted in self._by_shard(empty):
            await shard.unsubscribe_many(unwanted)

    def _by_shard(self, names: Iterable[str]) -> Iterable[tuple["Shard", list[str]]]:
        by_shard: dict[Shard, list[str]] = {}
        for name in names:
            by_shard.setdefault(self._get_shard(name), []).append(name)
        return by_shard.items()


class Shard(pubsub.RedisSingleShardConnection):  # type: ignore[misc]
    """The connections to one Redis: one that publishes, and one that receives."""

    def __init__(self, host: Any, channel_layer: LoopLayer) -> None:
        super().__init__(host, channel_layer)
        # Without a timeout of its own: each would be a task. The callers have one.
        self._publishers = create_pool(self.host | {"socket_timeout": None})
        self._publisher: Any = self._publishers.make_connection()
        self._publishing = asyncio.Lock()

    async def publish(self, channel: str, message: bytes) -> None:
        """Publish the message."""
        await self.publish_many([(channel, message)])

    async def publish_many(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Publish each message in its channel, in one command. It does not take the lock that subscribing holds.

        The client would take a connection from its pool, and give it back, for each command: four times the work.
        """
        words: Any = ("PUBLISH", *messages[0]) if len(messages) == 1 else ("EVAL", PUBLISH, 0, *chain(*messages))
        command = pack_command(words)
        async with self._publishing:
            was_connected = self._publisher.is_connected
            try:
                await self._exchange(command)
            except ConnectionError:
                if not was_connected:
                    raise
                await self._exchange(command)  # Redis had closed the connection

    async def _exchange(self, command: bytes) -> None:
        """Send a command and read its answer; any failure closes the connection, so that no answer is left over."""
        if not self._publisher.is_connected:
            await self._publisher.connect()  # asks the Sentinels; sending alone would go to the server of before
        await self._publisher.send_packed_command(command, check_health=False)
        await self._publisher.read_response()

    async def flush(self) -> None:
        """Forget everything, and close the connections."""
        await super().flush()
        await self._publisher.disconnect()

    async def subscribe_many(self, channels: Iterable[str]) -> None:
        """Subscribe, in one command, to the channels that are not subscribed to."""
        async with self._lock:
            if new := [channel for channel in channels if channel not in self._subscribed_to]:
                self._ensure_redis()
                self._ensure_receiver()
                await self._pubsub.subscribe(*new)
                self._subscribed_to.update(new)

    async def unsubscribe_many(self, channels: Iterable[str]) -> None:
        """Unsubscribe from the channels, in one command."""
        async with self._lock:
            if old := [channel for channel in channels if channel in self._subscribed_to]:
                self._ensure_redis()
                self._ensure_receiver()
                await self._pubsub.unsubscribe(*old)
                self._subscribed_to.difference_update(old)

    _receive_task: asyncio.Task[None] | None

    def _ensure_receiver(self) -> None:
        if self._receive_task is None:
            self._receive_task = start_for_all(self._do_receiving(), "receiver")

    async def _do_receiving(self) -> None:
        lost = False
        while True:
            try:
                await self._receive_until_failure(lost)
            except Exception as error:
                logger.warning("receiving from Redis failed: %s", type(error).__name__)
                lost = True
                await asyncio.sleep(RETRY_SECONDS)

    async def _receive_until_failure(self, lost: bool) -> None:
        """Pass on received messages. Raises if the connection is dead, even if the network reported nothing."""
        pinged = False
        while True:
            if self._pubsub is None or not self._pubsub.subscribed:
                await asyncio.sleep(0.1)
                continue
            message = await self._pubsub.get_message(timeout=QUIET_SECONDS)
            if message is None and pinged:
                await self._pubsub.connection.disconnect(nowait=True)
                raise TimeoutError
            if pinged := message is None:
                await self._pubsub.ping()
            elif message["type"] == "message" and self.channel_layer.own_mark not in message["data"][:MARK_BYTES]:
                self._receive_message(message)
            if lost and message is not None:  # subscribed again: Redis has confirmed it
                lost = False
                self.channel_layer.on_gap()
