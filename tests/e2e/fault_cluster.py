"""Two server processes with a PostgreSQL and a Redis of their own, to be broken while pairs chat."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import servers
from tests.e2e.cluster import Cluster, Databases
from tests.e2e.load import Load, start_both, tell
from tests.e2e.server import WebServer

PAIRS = 6


@dataclass
class FaultCluster:
    """Two processes, and what they stand on."""

    cluster: Cluster
    postgresql: servers.PostgreSQL
    redis: servers.Redis
    web: list[WebServer]

    async def outage(self, server: servers.Server, seconds: float) -> None:
        """Freeze a server for so long."""
        server.freeze()
        try:
            await asyncio.sleep(seconds)
        finally:
            server.thaw()


@contextmanager
def running_fault_cluster(settings: Mapping[str, str], directory: Path) -> Iterator[FaultCluster]:
    """A PostgreSQL, a Redis, and two processes with these settings."""
    with servers.postgresql() as postgresql, servers.redis() as redis:
        cluster = Cluster(Databases(postgresql.url, directory).create(), redis)
        try:
            yield FaultCluster(cluster, postgresql, redis, start_both(cluster, **settings))
        finally:
            cluster.close()


@asynccontextmanager
async def under_load(fault_cluster: FaultCluster, rng: random.Random, seconds: float) -> AsyncIterator[Load]:
    """Pairs write to each other meanwhile and a little longer; then everybody has everything, within `seconds`."""
    pids = [server.pid for server in fault_cluster.web]
    async with Load(fault_cluster.cluster, rng) as load:
        for pair in fault_cluster.cluster.make_pairs(PAIRS):
            await load.join(pair, fault_cluster.web[:1], fault_cluster.web[1:])
        await load.talk()
        await load.wait_for_messages(20, 30)
        yield load
        await load.wait_for_messages(50, 30)
        settling = await load.stop_talking()
        await load.check(fault_cluster.web[0], seconds)
        connections = sum(len(client.connections) for client in load.clients)
        errors = sum(len(client.errors) for client in load.clients)
        tell(f"{len(load.said)} messages, {connections} connections, {errors} errors, {settling:.1f} s to settle")
    assert [server.pid for server in fault_cluster.web if server.process.poll() is None] == pids
