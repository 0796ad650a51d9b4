"""Both processes are replaced one after the other while people chat through the proxy over TLS."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.caddy import Proxy, proxy
from tests.e2e.chat_socket import connected
from tests.e2e.client import Client
from tests.e2e.cluster import Cluster, Person
from tests.e2e.load import Load, seeded, start_both, tell
from tests.e2e.server import WebServer, wait_until
from tests.websocket_client import SocketClosedError

PAIRS = 10
SETTINGS = {
    "SECURE_SSL": "1",
    "TRUST_PROXY": "1",
    "ALLOWED_HOSTS": "localhost",
    "CHAT_RATE_LIMIT": "0",
    "CHAT_HEAL_SECONDS": "3",
    "LOG_LEVEL": "DEBUG",  # tells when the proxy asked for /readyz
    "STOP_NOTICE_SECONDS": "2.5",
}
# The proxy knows as soon as it has read the answer; the rest is for a machine that is busy.
KNOWN = timedelta(seconds=1)
SOON = 30


def events(server: WebServer) -> list[dict[str, Any]]:
    """Return its log events, over all restarts."""
    return [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]


def when(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["time"])


def opened(server: WebServer, since: datetime) -> list[datetime]:
    """When sockets were let in there."""
    return [when(event) for event in events(server) if event["event"] == "socket opened" and when(event) >= since]


def users(server: WebServer) -> set[int]:
    """Whose sockets are there."""
    found: list[int] = []
    for event in events(server):
        if event["event"] == "socket opened":
            found.append(event["user"])
        elif event["event"] == "socket closed":
            found.remove(event["user"])
    return set(found)


@asynccontextmanager
async def connecting_repeatedly(person: Person, front: Proxy) -> AsyncIterator[list[datetime]]:
    """Somebody who comes and goes all the time meanwhile; yields when they were let in, which never fails."""
    came: list[datetime] = []

    async def try_connect() -> None:
        while True:
            begin = datetime.now(UTC)
            with suppress(SocketClosedError):  # by the process, while coming or going: it may be draining
                async with connected(person, front):
                    came.append(begin)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(try_connect())
    try:
        yield came
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def replace(server: WebServer, other: WebServer, load: Load) -> tuple[set[Client], datetime, datetime]:
    """Restart a process as an upgrade does; returns whose sockets it had, and between what times it was stopping."""
    mine = users(server)
    of_it = {client for client in load.clients if client.person.user_id in mine}
    connections = {client: client.connection for client in load.clients}
    begin = datetime.now(UTC)
    code, seconds = await asyncio.to_thread(server.terminate)
    assert (code, seconds < 10) == (0, True)
    end = datetime.now(UTC)
    await asyncio.to_thread(server.start)
    await asyncio.to_thread(
        wait_until, lambda: all(client.ready for client in load.clients), "somebody does not come back"
    )
    for client, connection in connections.items():
        if client in of_it:
            assert (connection.close_code, client.connections.index(connection)) == (
                1012,
                len(client.connections) - 2,
            ), client.name
        else:
            assert client.connection is connection, f"{client.name} was not on this process"
    assert other.process.poll() is None
    return of_it, begin, end


@pytest.mark.slow
async def test_a_rolling_restart_loses_nothing_and_costs_each_socket_one_reconnect(
    cluster: Cluster, tmp_path: Path
) -> None:
    servers = start_both(cluster, **SETTINGS)
    *pairs, newcomer = cluster.make_pairs(PAIRS + 1)
    with proxy(*[server.port for server in servers], folder=tmp_path, domain="localhost") as front:
        async with Load(cluster, seeded()) as load, connecting_repeatedly(newcomer.student, front) as came:
            for pair in pairs:
                await load.join(pair, [front], [front])
            await load.talk()
            await load.wait_for_messages(20, SOON)
            for server, other in (servers, servers[::-1]):
                of_it, begin, end = await replace(server, other, load)
                assert of_it, "nobody was there"
                (red, *_) = (
                    when(event)
                    for event in events(server)
                    if when(event) > begin and (event.get("route"), event.get("status")) == ("readyz", 503)
                )
                assert [time for time in opened(server, red + KNOWN) if time < end] == []
                assert [time for time in came if red + KNOWN < time < end], "nobody knocked meanwhile"
                tell(f"{len(of_it)} clients of {len(load.clients)} moved, red {red - begin}, ended {end - begin}")
                await load.wait_for_messages(20, SOON)
                # As `docker compose up --wait` does: the other process is replaced when this one serves again.
                await asyncio.to_thread(wait_until, partial(opened, server, end), "the proxy does not take it back")
            await load.stop_talking()
            await load.check(front, SOON)
            tell(f"{len(load.said)} messages, {len(came)} visits")
    assert [server.failures for server in servers] == [[], []]
