"""Redis and PostgreSQL fail under pairs who write to each other, in every way; the same two processes go on."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest
from websockets.exceptions import InvalidStatus

from tests import servers
from tests.e2e.client import Client, Rest
from tests.e2e.cluster import Cluster, Databases, Pair, Person
from tests.e2e.load import Load, equal_to_rest, rows, seeded, start_both, tell
from tests.e2e.server import WebServer

PAIRS = 6
HEAL_SECONDS = 3
POOL_SIZE = 16
DEFAULT_HEAL_SECONDS = 30
ANSWER_SECONDS = 5.0  # what the contract gives the server to say that the database is away
OUTAGE_SECONDS = 10.0
RECOVERY_SECONDS = 8.0  # after it; each try that fails has waited for a connection already
BUSY_SECONDS = 2.0  # what a machine with two processors may add where the server is judged by a clock


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


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """One for all tests of this file: a process must survive every fault, whatever came before."""
    with servers.postgresql() as postgresql, servers.redis() as redis:
        cluster = Cluster(Databases(postgresql.url, tmp_path_factory.mktemp("unused")).create(), redis)
        settings = {
            "CHAT_HEAL_SECONDS": str(HEAL_SECONDS),
            "DATABASE_POOL_SIZE": str(POOL_SIZE),
            "CHAT_RATE_LIMIT": "0",
        }
        try:
            web = start_both(cluster, **settings)
            yield Ground(cluster, postgresql, redis, web)
        finally:
            cluster.close()


async def redis_is_killed(ground: Ground, rng: random.Random) -> None:
    ground.redis.kill()
    await asyncio.sleep(rng.uniform(1, 4))
    await asyncio.to_thread(ground.redis.start)


async def redis_is_stopped(ground: Ground, rng: random.Random) -> None:
    (pair,) = await asyncio.to_thread(ground.cluster.cast)
    ground.redis.freeze()
    late = ground.cluster.server("daphne")  # a process that has never seen Redis
    try:
        async with asyncio.TaskGroup() as at_once:
            at_once.create_task(asyncio.sleep(OUTAGE_SECONDS))
            await asyncio.to_thread(late.start)
            for person, server in ((pair.student, ground.web[0]), (pair.teacher, ground.web[1]), (pair.student, late)):
                at_once.create_task(everything_works(person, server))
    finally:
        ground.redis.thaw()
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


async def redis_cuts_its_subscribers(ground: Ground, rng: random.Random) -> None:
    for _ in range(3):
        assert await asyncio.to_thread(ground.redis.cut_subscribers) >= len(ground.web)
        await asyncio.sleep(rng.uniform(0.5, 1.5))


async def postgresql_cuts_everybody(ground: Ground, rng: random.Random) -> None:
    cut = 0
    for _ in range(8):
        cut += await asyncio.to_thread(ground.postgresql.terminate_backends)
        await asyncio.sleep(rng.uniform(0, 0.5))
    assert cut


async def postgresql_is_killed(ground: Ground, rng: random.Random) -> None:
    ground.postgresql.kill()
    await asyncio.sleep(rng.uniform(0, 3))
    await asyncio.to_thread(ground.postgresql.start)


Fault = Callable[[Ground, random.Random], Awaitable[None]]
REDIS_FAULTS: list[Fault] = [redis_is_killed, redis_is_stopped, redis_cuts_its_subscribers]
FAULTS: list[Fault] = [*REDIS_FAULTS, postgresql_cuts_everybody, postgresql_is_killed]


@asynccontextmanager
async def under_load(ground: Ground, rng: random.Random) -> AsyncIterator[Load]:
    """Pairs write to each other meanwhile, and afterwards until all is well; then everybody has everything."""
    pids = [server.pid for server in ground.web]
    async with Load(ground.cluster, rng) as load:
        for pair in ground.cluster.cast(PAIRS):
            await load.join(pair, ground.web[:1], ground.web[1:])
        await load.talk()
        await load.grow(20, 30)
        yield load
        await load.grow(50, 30)
        seconds = await load.fall_silent()
        await load.judge(ground.web[0], HEAL_SECONDS + 10)
        lives = sum(len(client.lives) for client in load.clients)
        errors = sum(len(client.errors) for client in load.clients)
        tell(
            f"{len(load.said)} messages, {lives} connections, {errors} errors, {seconds:.1f} s to settle",
        )
    assert [server.pid for server in ground.web if server.process.poll() is None] == pids


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_lost_when(ground: Ground, fault: Fault) -> None:
    rng = seeded()
    async with under_load(ground, rng) as load:
        lives = [client.life for client in load.clients]
        await fault(ground, rng)
    if fault in REDIS_FAULTS:
        assert not any(client.errors for client in load.clients)
        assert [client.life for client in load.clients] == lives, "a socket was closed for Redis"


@pytest.mark.slow
async def test_a_stopped_database_is_told_within_five_seconds(ground: Ground) -> None:
    rng = seeded()
    (pair,) = ground.cluster.cast()
    people = [pair.student, pair.teacher]
    async with under_load(ground, rng), AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(entered(who, where)) for who in people for where in ground.web]
        outage = asyncio.create_task(ground.outage(ground.postgresql, OUTAGE_SECONDS))
        async with asyncio.TaskGroup() as at_once:
            sent = [at_once.create_task(sends_refused(socket, str(n))) for n, socket in enumerate(sockets)]
            for wait in (0.1, 4.4):  # what waits already must not hold up what comes later
                for server in ground.web:
                    at_once.create_task(refusals(pair, server, wait))
        assert not outage.done(), "the last answers came when the database was back"
        await outage
        for socket, task in zip(sockets, sent, strict=True):
            await repeated_until_stored(socket, task.result())
        for server in ground.web:
            await answers_again(pair, server)
    assert await asyncio.to_thread(connections_in_use, ground, pair) == POOL_SIZE * len(ground.web)
    stored = [row["client_id"] for row in rows(ground.cluster, pair.conversation_id) if row["client_id"]]
    assert sorted(stored) == sorted(client_id for task in sent for client_id in task.result())


def connections_in_use(ground: Ground, pair: Pair) -> int:
    """Keep all connections that the processes can have busy, and count them: none may have been lost."""
    url = ground.cluster.database_url
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = %s"
    with (
        psycopg.connect(url) as holder,
        psycopg.connect(url, autocommit=True) as observer,
        ThreadPoolExecutor(2 * POOL_SIZE * len(ground.web)) as threads,
    ):
        holder.execute("LOCK TABLE chat_conversation")
        for server in ground.web * (2 * POOL_SIZE):
            headers = {"Cookie": pair.student.cookie}
            threads.submit(httpx.get, f"{server.url}/api/v1/chat/my-conversation/", headers=headers, trust_env=False)
        deadline, found = time.monotonic() + 2, 0
        while found < POOL_SIZE * len(ground.web) and time.monotonic() < deadline:
            time.sleep(0.05)
            found = observer.execute(count, ["client backend"]).fetchone()[0] - 2
        holder.rollback()
    return found


@asynccontextmanager
async def entered(person: Person, server: WebServer) -> AsyncIterator[Any]:
    """A socket past its first frame."""
    async with person.socket(server, max_queue=None) as socket:  # not all that it is sent is read
        assert json.loads(await socket.recv())["type"] == "connection_established"
        yield socket


async def sends_refused(socket: Any, name: str) -> list[str]:
    """Send every half second; each must be answered in time, however many wait. Returns the client_ids."""
    sent: dict[str, float] = {}

    async def send() -> None:
        for number in range(8):
            sent[f"{name}-{number}"] = time.monotonic()
            await socket.send(json.dumps({"message": "in vain?", "client_id": f"{name}-{number}"}))
            await asyncio.sleep(0.5)

    sending = asyncio.create_task(send())
    for number in range(8):
        frame = json.loads(await socket.recv())
        assert frame.get("code") == "temporarily_unavailable", frame
        seconds = time.monotonic() - sent[f"{name}-{number}"]  # those that wait are answered in turn
        assert seconds < ANSWER_SECONDS, f"send {number} on {name}: {seconds:.2f} s"
    await sending
    return list(sent)


async def repeated_until_stored(socket: Any, client_ids: list[str]) -> None:
    """The same socket, without a restart of anything: what was refused is stored when it is repeated."""
    waiting = dict.fromkeys(client_ids)
    async with asyncio.timeout(RECOVERY_SECONDS):
        while waiting:
            await socket.send(json.dumps({"message": "in vain?", "client_id": next(iter(waiting))}))
            while "error" not in (frame := json.loads(await socket.recv())) and "client_id" not in frame:
                pass
            waiting.pop(frame.get("client_id"), None)


async def refusals(pair: Pair, server: WebServer, wait: float) -> None:
    """Check every path of REST, and opening a socket."""
    await asyncio.sleep(wait)
    async with asyncio.TaskGroup() as all_at_once:
        for person in (pair.student, pair.teacher):
            all_at_once.create_task(handshake_refused(person, server))
            for method, path, body in requests(pair, person):
                all_at_once.create_task(rest_refused(person, server, method, path, body))


def requests(pair: Pair, person: Person) -> list[tuple[str, str, Any]]:
    """Every path that asks the database, but for those that need nobody signed in."""
    mark = ("POST", f"chat/conversations/{pair.conversation_id}/mark-read/", {})
    common = [("GET", "auth/me/", None), mark]
    if person is pair.student:
        messages = "chat/my-conversation/messages/"
        own = [("GET", "chat/my-conversation/", None)]
    else:
        messages = f"chat/teacher/conversations/{pair.conversation_id}/messages/"
        own = [("GET", "chat/teacher/conversations/", None)]
        own += [("POST", "auth/login/", {"username": person.username, "password": "x"})]
    return [*common, *own, ("GET", messages, None), ("POST", messages, {"content": "never mind"})]


async def rest_refused(person: Person, server: WebServer, method: str, path: str, body: Any) -> None:
    async with Rest(person, server) as rest:
        begin = time.monotonic()
        answer = await rest.ask(method, path, body)
        seconds = time.monotonic() - begin
    assert (answer.status_code, answer.json()["code"]) == (503, "temporarily_unavailable"), f"{method} {path}"
    assert seconds < ANSWER_SECONDS, f"{method} {path} of {server.command}: {seconds:.2f} s"


async def handshake_refused(person: Person, server: WebServer) -> None:
    begin = time.monotonic()
    with pytest.raises(InvalidStatus) as refused:
        async with person.socket(server, open_timeout=20):
            pass
    assert refused.value.response.status_code == 403
    assert time.monotonic() - begin < ANSWER_SECONDS


async def answers_again(pair: Pair, server: WebServer) -> None:
    for person in (pair.student, pair.teacher):
        async with Rest(person, server) as rest:
            for method, path, body in requests(pair, person):
                deadline = time.monotonic() + RECOVERY_SECONDS
                while (answer := await rest.ask(method, path, body)).status_code == 503:
                    assert time.monotonic() < deadline, f"{method} {path}"
                assert answer.status_code in ({400} if "login" in path else {200, 201}), f"{path}: {answer.text}"


@pytest.mark.slow
@pytest.mark.parametrize("heal", ["shortened", "default"])
async def test_open_sockets_catch_up_when_redis_is_back(ground: Ground, heal: str) -> None:
    """Messages and read state, in both processes, whichever of them was written to."""
    web, seconds = ground.web, HEAL_SECONDS
    if heal == "default":
        web, seconds = start_both(ground.cluster), DEFAULT_HEAL_SECONDS
    (pair,) = ground.cluster.cast()
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(Client(person, [server], name=f"{person.username}@{number}"))
            for person in (pair.student, pair.teacher)
            for number, server in enumerate(web)
        ]
        for client in clients:
            assert await client.until(lambda client=client: client.ready, 10)
        lives = [client.life for client in clients]
        students = clients[:2]
        await asyncio.sleep(1.5)  # past the look at newcomers
        ground.redis.kill()
        try:
            for number in range(3):
                for client in students:
                    begin = time.monotonic()
                    await client.say(f"{client.name}: {number}")
                    assert time.monotonic() - begin < 1 + BUSY_SECONDS, "an acknowledgement waited for Redis"
            await clients[2].mark_read()
            await clients[2].until(lambda: any(message["is_read"] for message in clients[2].messages.values()), 5)
        finally:
            await asyncio.to_thread(ground.redis.start)
        begin = time.monotonic()
        for client in clients:
            await equal_to_rest(client, web[0], begin + seconds + BUSY_SECONDS - time.monotonic())
        assert any(message["is_read"] for message in clients[1].messages.values()), "nothing was read meanwhile"
        tell(f"healed after {time.monotonic() - begin:.1f} s")
        begin = time.monotonic()
        await students[0].say("and live again")
        seconds = BUSY_SECONDS if heal == "default" else HEAL_SECONDS + BUSY_SECONDS
        for client in clients:
            assert await client.until(lambda client=client: len(client.order) == 7, seconds), client.name
        tell(f"live after {time.monotonic() - begin:.2f} s")
        assert [client.life for client in clients] == lives
        assert not [fault for client in clients for fault in client.faults]
    if heal == "default":
        for server in web:
            server.terminate()
