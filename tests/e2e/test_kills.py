"""Processes are killed while twenty pairs chat; no message is lost, repeated or reordered."""

import asyncio

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.load import Load, seeded, start_both, tell

PAIRS = 20
KILLS = 5
HEAL_SECONDS = 3


@pytest.mark.slow
async def test_no_message_is_lost_when_processes_are_killed(cluster: Cluster) -> None:
    rng = seeded()
    settings = {"CHAT_HEAL_SECONDS": str(HEAL_SECONDS), "CHAT_RATE_LIMIT": "0"}
    servers = start_both(cluster, **settings)
    async with Load(cluster, rng) as load:
        for number, pair in enumerate(cluster.make_pairs(PAIRS)):
            if number % 2:
                await load.join(pair, servers, servers)
            else:
                await load.join(pair, servers[:1], servers[1:])
        await load.talk()
        for _ in range(KILLS):
            await load.wait_for_messages(rng.randint(20, 150), 30)
            victim = rng.choice(servers)
            bystanders = {c: c.connection for c in load.clients if c.ready and c.connection.server is not victim}
            victim.kill()
            await asyncio.sleep(rng.uniform(0, 1))
            await asyncio.to_thread(victim.start)
            assert all(
                client.connection is connection and not connection.ended for client, connection in bystanders.items()
            )
        await load.wait_for_messages(50, 30)
        await load.stop_talking()
        await load.check(servers[0], HEAL_SECONDS + 10)
        connections = sum(len(client.connections) for client in load.clients)
        tell(f"{KILLS} kills, {len(load.said)} messages, {connections} connections")
        assert connections > len(load.clients) + KILLS
