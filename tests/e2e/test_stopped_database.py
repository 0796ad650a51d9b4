"""While PostgreSQL is stopped every request fails within five seconds; then all sockets continue."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

import httpx
import psycopg
import pytest

from tests.e2e.chat_socket import connected
from tests.e2e.cluster import Pair, Person
from tests.e2e.fault_cluster import FaultCluster, under_load
from tests.e2e.load import rows, seeded
from tests.e2e.rest import Rest
from tests.e2e.server import WebServer
from tests.websocket_client import HandshakeRefusedError

HEAL_SECONDS = 3
POOL_SIZE = 16
SETTINGS = {
    "CHAT_HEAL_SECONDS": str(HEAL_SECONDS),
    "DATABASE_POOL_SIZE": str(POOL_SIZE),
    "CHAT_RATE_LIMIT": "0",
}
ANSWER_SECONDS = 5.0 + 1.0  # what the contract gives the server, and what this busy machine takes to say and hear it
OUTAGE_SECONDS = 10.0
RECOVERY_SECONDS = 8.0  # after it; each try that fails has waited for a connection already


@pytest.mark.slow
async def test_a_stopped_database_is_reported_within_five_seconds(fault_cluster: FaultCluster) -> None:
    rng = seeded()
    (pair,) = fault_cluster.cluster.make_pairs()
    people = [pair.student, pair.teacher]
    async with under_load(fault_cluster, rng, HEAL_SECONDS + 10), AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(connected(who, where)) for who in people for where in fault_cluster.web
        ]
        tabs = [await stack.enter_async_context(connected(who, where)) for who in people for where in fault_cluster.web]
        outage = asyncio.create_task(fault_cluster.outage(fault_cluster.postgresql, OUTAGE_SECONDS))
        async with asyncio.TaskGroup() as at_once:
            sent = [at_once.create_task(sends_refused(socket, str(n))) for n, socket in enumerate(sockets)]
            for socket in tabs:
                at_once.create_task(mark_refused(socket))
            for wait in (0.1, 4.4):  # what waits already must not hold up what comes later
                for server in fault_cluster.web:
                    at_once.create_task(refusals(pair, server, wait))
        assert not outage.done(), "the last answers came when the database was back"
        await outage
        for socket, task in zip(sockets, sent, strict=True):
            await repeated_until_stored(socket, task.result())
        for server in fault_cluster.web:
            await answers_again(pair, server)
    assert await asyncio.to_thread(connections_in_use, fault_cluster, pair) == POOL_SIZE * len(fault_cluster.web)
    stored = [row["client_id"] for row in rows(fault_cluster.cluster, pair.conversation_id) if row["client_id"]]
    assert sorted(stored) == sorted(client_id for task in sent for client_id in task.result())


def connections_in_use(fault_cluster: FaultCluster, pair: Pair) -> int:
    """Keep all connections that the processes can have busy, and count them: none may have been lost."""
    url = fault_cluster.cluster.database_url
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = %s"
    with (
        psycopg.connect(url) as holder,
        psycopg.connect(url, autocommit=True) as observer,
        ThreadPoolExecutor(6 * POOL_SIZE * len(fault_cluster.web)) as threads,
    ):
        holder.execute("LOCK TABLE chat_conversation")
        headers = {"Cookie": pair.student.cookie}
        found, tries = 0, 0
        while found < POOL_SIZE * len(fault_cluster.web) and tries < 200:
            if tries % 20 == 0:  # once a second: those that waited longest are refused
                for server in fault_cluster.web * (2 * POOL_SIZE):
                    path = f"{server.url}/api/v1/chat/my-conversation/"
                    threads.submit(httpx.get, path, headers=headers, trust_env=False)
            time.sleep(0.05)
            tries += 1
            found = observer.execute(count, ["client backend"]).fetchall()[0][0] - 2
        holder.rollback()
    return found


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


async def mark_refused(socket: Any) -> None:
    """Mark as read, which must be answered in time, too: nobody else's deadline stands behind it."""
    begin = time.monotonic()
    await socket.send(json.dumps({"type": "mark_read"}))
    frame = json.loads(await socket.recv())
    seconds = time.monotonic() - begin
    assert frame == {"error": "Temporarily unavailable. Try again.", "code": "temporarily_unavailable"}
    assert seconds < ANSWER_SECONDS, f"mark_read: {seconds:.2f} s"


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
    mark: tuple[str, str, Any] = ("POST", f"chat/conversations/{pair.conversation_id}/mark-read/", {})
    common: list[tuple[str, str, Any]] = [("GET", "auth/me/", None), mark]
    if person is pair.student:
        messages = "chat/my-conversation/messages/"
        own: list[tuple[str, str, Any]] = [("GET", "chat/my-conversation/", None)]
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
    with pytest.raises(HandshakeRefusedError) as refused:
        async with person.socket(server, open_seconds=20):
            pass
    assert refused.value.status == 403
    assert time.monotonic() - begin < ANSWER_SECONDS


async def answers_again(pair: Pair, server: WebServer) -> None:
    for person in (pair.student, pair.teacher):
        async with Rest(person, server) as rest:
            for method, path, body in requests(pair, person):
                deadline = time.monotonic() + RECOVERY_SECONDS
                while (answer := await rest.ask(method, path, body)).status_code == 503:
                    assert time.monotonic() < deadline, f"{method} {path}"
                assert answer.status_code in ({400} if "login" in path else {200, 201}), f"{path}: {answer.text}"
