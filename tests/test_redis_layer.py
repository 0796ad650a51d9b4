"""A dead Redis subscription is noticed and renewed, and missed events are recovered."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import msgpack
import msgspec
import pytest
from django.conf import settings as django_settings

from chat.bus import redis_layer as layers
from chat.bus.event_bus import EventBus
from chat.bus.events import AccessChanged
from chat.bus.redis_layer import RedisPubSubChannelLayer
from tests.queries import connected_redis

LAYER = "chat.bus.redis_layer.RedisPubSubChannelLayer"

pytestmark = pytest.mark.skipif(not django_settings.REDIS_URL, reason="needs Redis")


class Network:
    """A relay between a process and Redis that silently drops all data of swallowed connections."""

    def __init__(self) -> None:
        self.subscriptions: set[asyncio.StreamWriter] = set()
        self.swallowed: set[asyncio.StreamWriter] = set()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = urlsplit(django_settings.REDIS_URL)
        answers, questions = await asyncio.open_connection(target.hostname, target.port)
        await asyncio.gather(self.pump(reader, questions, writer), self.pump(answers, writer, writer))

    async def pump(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, client: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                if b"SUBSCRIBE" in data:
                    self.subscriptions.add(client)
                if client not in self.swallowed:
                    to.write(data)
        except OSError:
            pass
        finally:
            to.close()

    def swallow(self) -> None:
        self.swallowed |= self.subscriptions


@pytest.fixture
async def network(settings: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Network]:
    monkeypatch.setattr(layers, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(layers, "RETRY_SECONDS", 0.1)
    network = Network()
    server = await asyncio.start_server(network.connect, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": LAYER, "CONFIG": {"hosts": [f"redis://127.0.0.1:{port}/0"]}}}
    yield network
    server.close()


async def test_a_silently_dead_subscription_is_renewed(network: Network) -> None:
    bus, received, returned = EventBus(), asyncio.Queue[AccessChanged](), asyncio.Event()
    bus.on_gap = returned.set
    bus.on(AccessChanged, received.put_nowait)
    other = RedisPubSubChannelLayer(hosts=[django_settings.REDIS_URL])
    message = {"group": "here", "from": "another process", "body": msgspec.msgpack.encode(AccessChanged(7))}

    async def says() -> AccessChanged:
        await other.group_send("here", message)
        return await asyncio.wait_for(received.get(), 5)

    await bus.join(["here"])
    assert await says() == AccessChanged(7)
    await asyncio.sleep(3 * layers.QUIET_SECONDS)  # a quiet one that is alive answers
    assert not returned.is_set()
    network.swallow()
    await asyncio.wait_for(returned.wait(), 5)
    assert await says() == AccessChanged(7)
    bus.leave(["here"])
    await asyncio.gather(*(layer.flush() for layer in (other, bus._layer)))


async def test_a_message_is_published_although_redis_has_closed_the_connection() -> None:
    bus, redis = EventBus(), connected_redis()
    other = RedisPubSubChannelLayer(hosts=[django_settings.REDIS_URL], prefix="qader")
    channel = await other.new_channel()
    await other.group_add("chat_access", channel)
    while (await redis.pubsub_numsub("qader__group__chat_access"))[0][1] == 0:  # noqa: ASYNC110 - until it is subscribed
        await asyncio.sleep(0.01)
    for number in range(3):
        bus.publish(AccessChanged(number))
        received = await asyncio.wait_for(other.receive(channel), 5)
        assert msgspec.msgpack.decode(received["body"], type=AccessChanged) == AccessChanged(number)
        await redis.client_kill_filter(_type="normal", skipme=True)
    await asyncio.gather(other.flush(), bus._layer.flush(), redis.aclose())


async def test_own_copies_are_dropped_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    deserialize = RedisPubSubChannelLayer.deserialize

    def noted(self: RedisPubSubChannelLayer, message: bytes) -> Any:
        read.append(message)
        return deserialize(self, message)

    monkeypatch.setattr(RedisPubSubChannelLayer, "deserialize", noted)
    bus, received = EventBus(), asyncio.Queue[AccessChanged]()
    bus.on(AccessChanged, received.put_nowait)
    await bus.join(["chat_access"])
    await asyncio.sleep(0)
    bus.publish(AccessChanged(1))
    await bus.settle()
    body = msgspec.msgpack.encode(AccessChanged(2))
    message = {"group": "chat_access", "from": "another process", "body": body}
    async with asyncio.timeout(5):
        assert await received.get() == AccessChanged(1)
        await bus._layer.group_send("chat_access", message)
        assert await received.get() == AccessChanged(2)
    assert [msgpack.unpackb(data)["from"] for data in read] == ["another process"]
    await bus._layer.flush()
