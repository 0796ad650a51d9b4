"""Redis and PostgreSQL fail in every way while pairs chat; the same two processes continue."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import pytest

from tests.e2e.client import Client
from tests.e2e.cluster import Person
from tests.e2e.fault_cluster import FaultCluster, under_load
from tests.e2e.load import equal_to_rest, seeded, start_both, tell
from tests.e2e.rest import Rest
from tests.e2e.server import WebServer

HEAL_SECONDS = 3
SETTINGS = {"CHAT_HEAL_SECONDS": str(HEAL_SECONDS), "CHAT_RATE_LIMIT": "0"}
DEFAULT_HEAL_SECONDS = 30
ANSWER_SECONDS = 5.0
OUTAGE_SECONDS = 10.0
BUSY_SECONDS = 2.0  # what a machine with two processors may add where the server is judged by a clock


async def redis_is_killed(fault_cluster: FaultCluster, rng: random.Random) -> None:
    fault_cluster.redis.kill()
    await asyncio.sleep(rng.uniform(1, 4))
    await asyncio.to_thread(fault_cluster.redis.start)


async def redis_is_stopped(fault_cluster: FaultCluster, rng: random.Random) -> None:
    (pair,) = await asyncio.to_thread(fault_cluster.cluster.make_pairs)
    fault_cluster.redis.freeze()
    late = fault_cluster.cluster.server("daphne", START_WAIT_SECONDS="0")  # a process that has never seen Redis
    try:
        async with asyncio.TaskGroup() as at_once:
            at_once.create_task(asyncio.sleep(OUTAGE_SECONDS))
            await asyncio.to_thread(late.start)
            for person, server in (
                (pair.student, fault_cluster.web[0]),
                (pair.teacher, fault_cluster.web[1]),
                (pair.student, late),
            ):
                at_once.create_task(everything_works(person, server))
    finally:
        fault_cluster.redis.thaw()
        await asyncio.to_thread(late.terminate)


async def everything_works(person: Person, server: WebServer) -> None:
    """Sign in, connect and write while Redis says nothing."""
    async with Rest(person, server) as rest:
        begin = time.monotonic()
        answer = await rest.ask("POST", "auth/login/", {"username": person.username, "password": "wrong"})
        assert answer.status_code == 400, answer.text
        assert time.monotonic() - begin < ANSWER_SECONDS
    async with Client(person, [server]) as client:
        assert await client.until(lambda: client.ready, ANSWER_SECONDS), "cannot connect without Redis"
        for over_rest in (False, True):
            begin = time.monotonic()
            await client.say("without Redis", over_rest=over_rest)
            assert time.monotonic() - begin < 1 + BUSY_SECONDS, "an acknowledgement waited for Redis"
        assert not client.faults


async def redis_cuts_its_subscribers(fault_cluster: FaultCluster, rng: random.Random) -> None:
    for _ in range(3):
        assert await asyncio.to_thread(fault_cluster.redis.cut_subscribers) >= len(fault_cluster.web)
        await asyncio.sleep(rng.uniform(0.5, 1.5))


async def postgresql_cuts_everybody(fault_cluster: FaultCluster, rng: random.Random) -> None:
    cut = 0
    for _ in range(8):
        cut += await asyncio.to_thread(fault_cluster.postgresql.terminate_backends)
        await asyncio.sleep(rng.uniform(0, 0.5))
    assert cut


async def postgresql_is_killed(fault_cluster: FaultCluster, rng: random.Random) -> None:
    fault_cluster.postgresql.kill()
    await asyncio.sleep(rng.uniform(0, 3))
    await asyncio.to_thread(fault_cluster.postgresql.start)


Fault = Callable[[FaultCluster, random.Random], Awaitable[None]]
REDIS_FAULTS: list[Fault] = [redis_is_killed, redis_is_stopped, redis_cuts_its_subscribers]
FAULTS: list[Fault] = [*REDIS_FAULTS, postgresql_cuts_everybody, postgresql_is_killed]


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
async def test_no_message_is_lost_when(fault_cluster: FaultCluster, fault: Fault) -> None:
    rng = seeded()
    async with under_load(fault_cluster, rng, HEAL_SECONDS + 10) as load:
        connections = [client.connection for client in load.clients]
        await fault(fault_cluster, rng)
    if fault in REDIS_FAULTS:
        assert not any(client.errors for client in load.clients)
        assert [client.connection for client in load.clients] == connections, "a socket was closed for Redis"


def has_messages(client: Client, count: int) -> bool:
    return len(client.order) == count


@pytest.mark.slow
@pytest.mark.parametrize("heal", ["shortened", "default"])
async def test_open_sockets_catch_up_when_redis_is_back(fault_cluster: FaultCluster, heal: str) -> None:
    """Messages and read state, in both processes, whichever of them was written to."""
    web, seconds = fault_cluster.web, float(HEAL_SECONDS)
    if heal == "default":
        web, seconds = start_both(fault_cluster.cluster), DEFAULT_HEAL_SECONDS
    (pair,) = fault_cluster.cluster.make_pairs()
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(Client(person, [server], name=f"{person.username}@{number}"))
            for person in (pair.student, pair.teacher)
            for number, server in enumerate(web)
        ]
        for client in clients:
            assert await client.until_ready(10)
        connections = [client.connection for client in clients]
        students = clients[:2]
        await asyncio.sleep(1.5)  # past the extra check of new sockets
        fault_cluster.redis.kill()
        try:
            for number in range(3):
                for client in students:
                    begin = time.monotonic()
                    await client.say(f"{client.name}: {number}")
                    assert time.monotonic() - begin < 1 + BUSY_SECONDS, "an acknowledgement waited for Redis"
            await clients[2].mark_read()
            await clients[2].until(lambda: any(message["is_read"] for message in clients[2].messages.values()), 5)
        finally:
            await asyncio.to_thread(fault_cluster.redis.start)
        begin = time.monotonic()
        for client in clients:
            await equal_to_rest(client, web[0], begin + seconds + BUSY_SECONDS - time.monotonic())
        assert any(message["is_read"] for message in clients[1].messages.values()), "nothing was read meanwhile"
        tell(f"healed after {time.monotonic() - begin:.1f} s")
        begin = time.monotonic()
        await students[0].say("and live again")
        seconds = BUSY_SECONDS if heal == "default" else HEAL_SECONDS + BUSY_SECONDS
        for client in clients:
            assert await client.until(partial(has_messages, client, 7), seconds), client.name
        tell(f"live after {time.monotonic() - begin:.2f} s")
        assert [client.connection for client in clients] == connections
        assert not [fault for client in clients for fault in client.faults]
    if heal == "default":
        for server in web:
            server.terminate()
