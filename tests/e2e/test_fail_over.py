"""PostgreSQL fails over to a standby while pairs chat: the same processes continue, no acknowledged message is lost."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import servers
from tests.e2e.cluster import Cluster, Databases, Person
from tests.e2e.fault_cluster import FaultCluster, under_load
from tests.e2e.load import seeded, start_both, tell
from tests.e2e.rest import Rest
from tests.e2e.server import WebServer

HEAL_SECONDS = 3
SETTINGS = {"CHAT_HEAL_SECONDS": str(HEAL_SECONDS), "CHAT_RATE_LIMIT": "0"}
ANSWER_SECONDS = 5.0
BUSY_SECONDS = 2.0  # what a machine with two processors may add
SERVING_SECONDS = 15.0  # after the promotion


@pytest.mark.slow
@pytest.mark.parametrize("fault", [servers.PostgreSQL.kill, servers.PostgreSQL.freeze], ids=["killed", "frozen"])
async def test_a_standby_takes_over_when_the_primary_is(
    tmp_path: Path, fault: Callable[[servers.PostgreSQL], None]
) -> None:
    rng = seeded()
    with servers.postgresql() as primary, servers.redis() as redis:
        name = urlsplit(Databases(primary.url, tmp_path).create()).path
        with servers.standby(primary) as standby:
            hosts = f"host=127.0.0.1,127.0.0.1&port={primary.port},{standby.port}&connect_timeout=2"
            cluster = Cluster(f"postgresql://postgres@{name}?{hosts}&target_session_attrs=read-write", redis)
            try:
                web = start_both(cluster, **SETTINGS)
                pairs = cluster.make_pairs(len(web))
                async with under_load(FaultCluster(cluster, primary, redis, web), rng, HEAL_SECONDS + 20):
                    fault(primary)
                    await asyncio.sleep(rng.uniform(0, 3))  # somebody has to notice
                    await asyncio.to_thread(standby.promote)
                    served = [serves(pair.student, server) for pair, server in zip(pairs, web, strict=True)]
                    seconds = await asyncio.gather(*served)
                tell(f"serving {', '.join(f'{each:.1f}' for each in seconds)} s after the promotion")
            finally:
                cluster.close()
                primary.kill()


async def serves(person: Person, server: WebServer) -> float:
    """Return after how many seconds a message is stored; each try must be answered in time."""
    begin = time.monotonic()
    async with Rest(person, server) as rest, asyncio.timeout(SERVING_SECONDS):
        while True:
            asked = time.monotonic()
            answer = await rest.ask("POST", rest.messages_path, {"content": "still there?", "client_id": "1"})
            assert time.monotonic() - asked < ANSWER_SECONDS + BUSY_SECONDS
            if answer.status_code in {200, 201}:
                return time.monotonic() - begin
            assert (answer.status_code, answer.json()["code"]) == (503, "temporarily_unavailable")
