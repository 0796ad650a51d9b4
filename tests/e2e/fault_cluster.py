"""Two processes with all that they stand on, to be broken while pairs write to each other."""

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
class Ground:
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
def stand(settings: Mapping[str, str], directory: Path) -> Iterator[Ground]:
    """A PostgreSQL, a Redis, and two processes with these settings."""
    with servers.postgresql() as postgresql, servers.redis() as redis:
        cluster = Cluster(Databases(postgresql.url, directory).create(), redis)
        try:
            yield Ground(cluster, postgresql, redis, start_both(cluster, **settings))
        finally:
            cluster.close()


@asynccontextmanager
async def under_load(ground: Ground, rng: random.Random, seconds: float) -> AsyncIterator[Load]:
    """Pairs write to each other meanwhile and a little longer; then everybody has everything, within `seconds`."""
    pids = [server.pid for server in ground.web]
    async with Load(ground.cluster, rng) as load:
        for pair in ground.cluster.cast(PAIRS):
            await load.join(pair, ground.web[:1], ground.web[1:])
        await load.talk()
        await load.grow(20, 30)
        yield load
        await load.grow(50, 30)
        settling = await load.fall_silent()
        await load.judge(ground.web[0], seconds)
        lives = sum(len(client.lives) for client in load.clients)
        errors = sum(len(client.errors) for client in load.clients)
        tell(f"{len(load.said)} messages, {lives} connections, {errors} errors, {settling:.1f} s to settle")
    assert [server.pid for server in ground.web if server.process.poll() is None] == pids
