"""Whoever can write to Redis runs no code here, and ends nothing: what is not ours is ignored."""

import asyncio
import logging
import pickle
from typing import Any

import msgpack
import msgspec
import pytest
from django.conf import settings as django_settings

from chat.bus.event_bus import EventBus
from chat.bus.events import AccessChanged
from chat.live.heartbeats import Heartbeats
from tests.queries import connected_redis
from tests.test_login_throttle import Exploit

pytestmark = pytest.mark.skipif(not django_settings.REDIS_URL, reason="needs Redis")

GROUP = "qader__group__here"  # the channel of Redis that the group "here" is
EVENT = msgspec.msgpack.encode(AccessChanged(7))
OURS = {"group": "here", "from": "another process", "body": EVENT}
JUNK = [b"", b"text", b"\xc1", b"\x81", b"\x91" * 2000, b"\xd9\x02\xff\xfe", pickle.dumps(Exploit())]
JUNK += [msgpack.packb(value) for value in (None, 1, "text", [1], {}, {"from": 1}, {"from": "x", "body": 1})]
JUNK += [msgpack.packb(OURS | change) for change in ({"at": "x"}, {"body": "text"}, {"body": pickle.dumps(Exploit())})]
JUNK += [msgpack.packb(OURS | {"body": msgpack.ExtType(5, b"x")}), msgpack.packb({1: 2, b"from": 3}), b"\x81\x90\x01"]


async def test_bytes_that_are_no_event_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    bus, received = EventBus(), asyncio.Queue[AccessChanged]()
    bus.on(AccessChanged, received.put_nowait)
    await bus.join(["here"])
    async with asyncio.timeout(5):
        while not await connected_redis().publish(GROUP, msgpack.packb(OURS)):  # noqa: ASYNC110 - until it has joined
            await asyncio.sleep(0.01)
        await received.get()
        for junk in JUNK:
            await connected_redis().publish(GROUP, junk)
        await connected_redis().publish(GROUP, msgpack.packb(OURS))
        events = [await received.get()]
    while not received.empty():
        events.append(received.get_nowait())
    assert set(events) == {AccessChanged(7)}  # that with a wrong time is delivered, too
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "channel layer away" not in caplog.text
    assert not Exploit.ran
    bus.leave(["here"])
    await asyncio.gather(bus._layer.flush(), connected_redis().aclose())


@pytest.mark.parametrize("junk", ["text", "hash", "inf", "-inf", "1e300", "9e15"])
async def test_a_heartbeat_that_is_none_is_ignored(junk: Any) -> None:
    redis, heartbeats = connected_redis(), Heartbeats()
    await redis.flushdb()
    if junk == "text":
        await redis.set("qader:presence:1", pickle.dumps(Exploit()))
    elif junk == "hash":
        await redis.hset("qader:presence:1", "process", "x")
    else:
        await redis.zadd("qader:presence:1", {b"\xff": float(junk)})
    assert not await heartbeats.last_heartbeats([1])
    await heartbeats.beat([1])
    await heartbeats.leave([1])
    assert not Exploit.ran
    await redis.aclose()
