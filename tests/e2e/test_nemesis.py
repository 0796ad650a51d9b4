"""Everything fails, at random and at once, while pairs chat; nothing acknowledged is lost, repeated or reordered.

`SECONDS=` says how long. Only `make prove` runs it.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests import servers
from tests.e2e.cluster import Cluster, Databases
from tests.e2e.load import Load, seeded, tell
from tests.e2e.relay import Relay
from tests.e2e.server import WebServer, start_together

SECONDS = float(os.environ.get("SECONDS") or 60)
PAIRS = 6
AT_ONCE = 3  # faults
FAULT_SECONDS = 0.2, 4.0
SLOW_SECONDS = 0.02, 0.2  # of a chunk on a slow network
HEAL_SECONDS = 3
CLOCK_AHEAD_SECONDS = 300
SETTINGS = {"CHAT_HEAL_SECONDS": str(HEAL_SECONDS), "CHAT_RATE_LIMIT": "0", "CHAT_CONNECT_LIMIT": "0"}

Fault = Callable[[], Awaitable[object]]


@dataclass
class Nemesis:
    """All that can fail, and how. What has one fault is left alone by the others."""

    rng: random.Random
    cluster: Cluster
    postgresql: servers.PostgreSQL
    redis: servers.Redis
    web: list[WebServer]
    links: dict[str, Relay]

    def faults(self) -> dict[str, dict[str, Fault]]:
        """The faults of each part, by its name."""
        found: dict[str, dict[str, Fault]] = {
            "PostgreSQL": {
                "killed": partial(self._kill, self.postgresql),
                "frozen": partial(self._freeze, self.postgresql),
                "cut": partial(asyncio.to_thread, self.postgresql.terminate_backends),
            },
            "Redis": {
                "killed": partial(self._kill, self.redis),
                "frozen": partial(self._freeze, self.redis),
                "cut": partial(asyncio.to_thread, self.redis.cut_subscribers),
            },
            "rows": {"locked": self._lock_rows},
        }
        for number, server in enumerate(self.web):
            found[f"process {number}"] = {
                "killed": partial(self._kill, server),
                "restarted": partial(asyncio.to_thread, server.restart),
                "frozen": partial(self._stop, server),
            }
        for name, link in self.links.items():
            found[name] = {
                "cut": partial(self._cut, link),
                "frozen": partial(self._hold_up, link),
                "slow": partial(self._slow_down, link),
            }
        return found

    async def rage(self, seconds: float) -> Counter[str]:
        """Let parts fail for so long, and mend them all; returns how often each fault was."""
        until = time.monotonic() + seconds
        faults, failing, count = self.faults(), set[str](), Counter[str]()

        async def one_after_the_other() -> None:
            while time.monotonic() < until:
                part = self.rng.choice(sorted(faults.keys() - failing))
                name = self.rng.choice(sorted(faults[part]))
                failing.add(part)
                await faults[part][name]()
                failing.remove(part)
                count[f"{part} {name}"] += 1
                await asyncio.sleep(self.rng.uniform(0, 1))

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(one_after_the_other())
        return count

    def _seconds(self) -> float:
        return self.rng.uniform(*FAULT_SECONDS)

    async def _kill(self, server: servers.Server | WebServer) -> None:
        server.kill()
        await asyncio.sleep(self._seconds() / 2)
        await asyncio.to_thread(server.start)

    async def _freeze(self, server: servers.Server) -> None:
        server.freeze()
        await asyncio.sleep(self._seconds())
        server.thaw()

    async def _stop(self, server: WebServer) -> None:
        server.stop()
        await asyncio.sleep(self._seconds())
        server.cont()

    async def _cut(self, link: Relay) -> None:
        await link.cut(self._seconds())

    async def _hold_up(self, link: Relay) -> None:
        await link.freeze(self._seconds())

    async def _slow_down(self, link: Relay) -> None:
        await link.slow_down(self._seconds(), self.rng.uniform(*SLOW_SECONDS))

    async def _lock_rows(self) -> None:
        """Hold a few conversations or people as somebody in psql would."""
        table = self.rng.choice(["chat_conversation", "accounts_user", "accounts_userprofile"])
        statement = f"SELECT 1 FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY random() LIMIT 3) FOR UPDATE"
        try:
            connecting = psycopg.AsyncConnection.connect(self.cluster.database_url, connect_timeout=2)
            async with await connecting as connection:
                await connection.execute(statement.encode())
                await asyncio.sleep(self._seconds())
        except psycopg.OperationalError:
            pass  # PostgreSQL failed as well


@asynccontextmanager
async def running_nemesis(rng: random.Random, directory: Path) -> AsyncIterator[Nemesis]:
    """Two processes, one with its clock ahead, all of whose networks go through relays."""
    async with AsyncExitStack() as stack:
        postgresql = stack.enter_context(servers.postgresql())
        redis = stack.enter_context(servers.redis())
        cluster = Cluster(Databases(postgresql.url, directory).create(), redis)
        stack.callback(cluster.close)
        web, links = [], {}

        async def link(name: str, target: Callable[[], int]) -> int:
            links[name] = await stack.enter_async_context(Relay(target))
            return links[name].port

        for number, kind in enumerate(["daphne", "uvicorn"]):
            database = await link(f"network of process {number} to PostgreSQL", lambda: postgresql.port)
            layer = await link(f"network of process {number} to Redis", lambda: redis.port)
            address = urlsplit(cluster.database_url)._replace(netloc=f"postgres@127.0.0.1:{database}")
            settings = {"DATABASE_URL": address.geturl(), "REDIS_URL": f"redis://127.0.0.1:{layer}/0"}
            if number:
                settings["CLOCK_AHEAD_SECONDS"] = str(CLOCK_AHEAD_SECONDS)
            module = "tests.e2e.skewed_clock" if number else "qader.serve"
            server = cluster.server(kind, module=module, **SETTINGS, **settings)
            web.append(server)
            await link(f"network to process {number}", partial(getattr, server, "port"))
        await asyncio.to_thread(start_together, *web)
        yield Nemesis(rng, cluster, postgresql, redis, web, links)


@pytest.mark.proof
@pytest.mark.timeout(SECONDS + 240)
async def test_no_message_is_lost_while_everything_fails_at_random(tmp_path: Path) -> None:
    rng = seeded()
    async with running_nemesis(rng, tmp_path) as nemesis, Load(nemesis.cluster, rng, is_patient=True) as load:
        doors = [nemesis.links[f"network to process {number}"] for number in range(2)]
        for pair in await asyncio.to_thread(nemesis.cluster.make_pairs, PAIRS):
            await load.join(pair, doors, doors)
        await load.talk()
        await load.wait_for_messages(20, 30)
        count = await nemesis.rage(SECONDS)
        await load.wait_for_messages(50, 60)
        settling = await load.stop_talking()
        await load.check(nemesis.web[0], HEAL_SECONDS + 15)
        connections = sum(len(client.connections) for client in load.clients)
        errors = sum(len(client.errors) for client in load.clients)
        tell(f"{count.total()} faults, {len(load.said)} messages, {connections} connections, {errors} errors,")
        tell(f"{settling:.1f} s to settle; {dict(count.most_common())}")
        times = [stored_times(nemesis.cluster, pk) for pk in set(load.conversations.values())]
        assert all(one <= other for found in times for one, other in pairwise(found)), "a time went back"


def stored_times(cluster: Cluster, conversation_id: int) -> list[datetime]:
    """The times of a conversation's messages in their order."""
    with psycopg.connect(cluster.database_url) as connection:
        query = b"SELECT timestamp FROM chat_message WHERE conversation_id = %s ORDER BY seq"
        return [time for (time,) in connection.execute(query, [conversation_id])]
