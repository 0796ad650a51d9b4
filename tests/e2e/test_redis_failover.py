"""Redis with a Sentinel: the server that leads fails, its replica is promoted, and no socket notices."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

import pytest

from tests import servers
from tests.e2e.client import Client
from tests.e2e.cluster import Cluster, Databases
from tests.e2e.load import Load, seeded, start_both, tell
from tests.e2e.server import wait_until

PASSWORD = "p/w:d"
SETTINGS = {"CHAT_RATE_LIMIT": "0"}  # and open sockets are compared with the database only every 30 s
FAILOVER_SECONDS = 15.0
LIVE_SECONDS = 2.0
PAIRS = 4


@dataclass
class RedisGroup:
    """A leader, its replica, and the Sentinel that knows both."""

    leader: servers.Redis
    replica: servers.Redis
    sentinel: servers.Sentinel


@pytest.fixture
def redis_group() -> Iterator[RedisGroup]:
    with ExitStack() as stack:
        config, login = f"requirepass {PASSWORD}\nmasterauth {PASSWORD}\n", f":{quote(PASSWORD, safe='')}@"
        leader = stack.enter_context(closing(servers.Redis(config, login)))
        replica = stack.enter_context(closing(servers.Redis(f"{config}replicaof 127.0.0.1 {leader.port}\n", login)))
        sentinel = stack.enter_context(closing(servers.Sentinel(leader, PASSWORD)))
        for server in (leader, replica, sentinel):
            server.start()
        wait_until(lambda: sentinel.replicas() == 1, "the Sentinel does not know the replica")
        yield RedisGroup(leader, replica, sentinel)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_a_failover_of_redis_closes_no_socket_and_loses_nothing(
    databases: Databases, redis_group: RedisGroup, fault: str
) -> None:
    cluster = Cluster(databases.create(), redis_group.sentinel)
    with closing(cluster):
        web = start_both(cluster, **SETTINGS)
        async with Load(cluster, seeded()) as load:
            for pair in cluster.make_pairs(PAIRS):
                await load.join(pair, web[:1], web[1:])
            await load.talk()
            await load.wait_for_messages(20, 30)
            connections = [client.connection for client in load.clients]
            if fault == "killed":
                redis_group.leader.kill()
            else:
                redis_group.leader.freeze()
            begin = time.monotonic()
            while redis_group.sentinel.leader() != redis_group.replica.port:
                assert time.monotonic() - begin < FAILOVER_SECONDS, "no replica was promoted"
                await asyncio.sleep(0.1)
            promoted = time.monotonic() - begin
            await load.stop_talking()
            await everybody_is_live(load, begin + FAILOVER_SECONDS)
            tell(f"promoted after {promoted:.1f} s, live after {time.monotonic() - begin:.1f} s")
            await load.check(web[0], LIVE_SECONDS)
            assert not any(client.errors for client in load.clients)
            assert [client.connection for client in load.clients] == connections, "a socket was closed for Redis"


def has_message(client: Client, number: int) -> bool:
    return number in client.messages


async def everybody_is_live(load: Load, deadline: float) -> None:
    """Wait until a message reaches the other process at once, in both directions of every pair."""
    for sender in load.clients:
        (other,) = [
            one for one in load.clients if one is not sender and load.conversations[one] == load.conversations[sender]
        ]
        while True:
            content = f"{sender.name} is live at {time.monotonic()}"
            load.said.add(content)
            number = await sender.say(content)
            if await other.until(partial(has_message, other, number), LIVE_SECONDS):
                break
            assert time.monotonic() < deadline, f"{other.name} waits for the healing"
