"""Pairs who write to each other while something breaks, and the check of what they received."""

import asyncio
import os
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from itertools import dropwhile, pairwise
from typing import Any

import httpx
import psycopg

from tests.e2e.client import Client
from tests.e2e.cluster import Cluster, Pair
from tests.e2e.connection import ConnectionRecord
from tests.e2e.rest import Message, Rest
from tests.e2e.server import Reachable, WebServer

PAUSE_SECONDS = 0.5  # between two messages of a talker, at the most
MARK_READ = 0.2  # how often a talker marks as read, per message
OVER_REST = 0.12  # how many messages go over REST
LOG_LINES = 60  # of each server, shown where a test fails
ACKNOWLEDGED_SECONDS = 30  # after the last fault: an outage of the database that backs off takes its time


def tell(*lines: str) -> None:
    """Print: pytest shows it where the test fails, and `-s` shows it always."""
    sys.stdout.write("\n".join(["", *lines, ""]))


def seeded() -> random.Random:
    """Return a random generator and print its seed; SEED=, or pytest's own, repeats a run as well as timing allows."""
    seed = int(os.environ.get("SEED") or random.getrandbits(32))
    tell(f"SEED={seed}")
    return random.Random(seed)


def start_both(cluster: Cluster, **settings: str) -> list[WebServer]:
    """Start a process of either kind: what two of them do to each other must not depend on it."""
    made = [cluster.server(kind, **settings) for kind in ("daphne", "uvicorn")]
    with ThreadPoolExecutor() as threads:
        return list(threads.map(WebServer.start, made))


class Load:
    """`async with Load(...) as load`: a client for each person of the pairs; `talk` sets them writing."""

    def __init__(self, cluster: Cluster, rng: random.Random, *, is_patient: bool = False) -> None:
        self.cluster, self.rng, self._is_patient = cluster, rng, is_patient
        self.clients: list[Client] = []
        self.conversations: dict[Client, int] = {}
        self.said: set[str] = set()  # contents, each said once
        self._talkers: list[asyncio.Task[None]] = []
        self._stack = AsyncExitStack()
        self._enough = asyncio.Event()

    async def __aenter__(self) -> "Load":
        return self

    async def __aexit__(self, _: object, error: object, __: object) -> None:
        for task in self._talkers:
            task.cancel()
        await self._stack.aclose()
        if error:
            for server in self.cluster.servers:
                tell(
                    f"--- {server.url}",
                    *[line for line in server.log.splitlines() if '"INFO"' not in line][-LOG_LINES:],
                )

    async def join(self, pair: Pair, students: Sequence[Reachable], teachers: Sequence[Reachable]) -> None:
        """Let both connect, each to any of their servers."""
        for person, servers in ((pair.student, students), (pair.teacher, teachers)):
            client = Client(person, servers, rng=random.Random(self.rng.random()), is_patient=self._is_patient)
            self.clients.append(await self._stack.enter_async_context(client))
            self.conversations[client] = pair.conversation_id

    async def talk(self, talkers: int = 2) -> None:
        """Have every client write, `talkers` messages at once at the most, until `stop_talking`."""
        for client in self.clients:
            assert await client.until_ready(20), f"{client.name} cannot connect"
            self._talkers += [asyncio.create_task(self._talk(client, n)) for n in range(talkers)]

    async def _talk(self, client: Client, talker: int) -> None:
        number = 0
        while not self._enough.is_set():
            number += 1
            content = f"{client.name} {talker} says {number}"
            self.said.add(content)
            await client.say(content, over_rest=client.rng.random() < OVER_REST)
            if client.rng.random() < MARK_READ:
                await client.mark_read(client.rng.choice([None, client.order[-1]]) if client.order else None)
            await asyncio.sleep(client.rng.uniform(0, PAUSE_SECONDS))

    @property
    def acknowledged(self) -> int:
        return sum(len(client.acknowledged) for client in self.clients)

    async def wait_for_messages(self, count: int, seconds: float) -> None:
        """Wait until this many more messages have been acknowledged."""
        goal, deadline = self.acknowledged + count, time.monotonic() + seconds
        while self.acknowledged < goal:
            assert time.monotonic() < deadline, f"{goal - self.acknowledged} of {count} missing; {self.faults}"
            await asyncio.sleep(0.05)

    async def stop_talking(self) -> float:
        """Stop writing; returns how many seconds it took until all that was said was acknowledged."""
        begin = time.monotonic()
        self._enough.set()
        _, waiting = await asyncio.wait(self._talkers, timeout=ACKNOWLEDGED_SECONDS)
        assert not waiting, f"{len(waiting)} never acknowledged; {self.faults}"
        await asyncio.gather(*self._talkers)
        return time.monotonic() - begin

    @property
    def faults(self) -> list[str]:
        return [fault for client in self.clients for fault in client.faults][:10]

    async def check(self, server: Reachable, seconds: float) -> None:
        """Hold what everybody has received to what REST returns, which must come to be equal within `seconds`."""
        deadline = time.monotonic() + seconds
        for client in self.clients:
            await client.mark_read()
        for client in self.clients:
            await equal_to_rest(client, server, max(deadline - time.monotonic(), 1))
        assert not self.faults
        for client in self.clients:
            check_connections(client)
        self._check_rows()

    def _check_rows(self) -> None:
        for conversation_id in set(self.conversations.values()):
            found = rows(self.cluster, conversation_id)
            assert [row["seq"] for row in found] == list(range(1, len(found) + 1))
            assert [row["id"] for row in found] == sorted(row["id"] for row in found)
            stored = {row["client_id"]: row["id"] for row in found}
            assert len(stored) == len(found), "a client_id is stored twice"
            clients = [client for client, pk in self.conversations.items() if pk == conversation_id]
            assert stored == {key: pk for client in clients for key, pk in client.acknowledged.items()}
            assert all(row["content"] in self.said for row in found)
        assert len(self.said) == self.acknowledged


async def equal_to_rest(client: Client, server: Reachable, seconds: float) -> None:
    """Wait until the client's messages are those that REST returns, whole, in their order."""
    deadline = time.monotonic() + seconds
    async with Rest(client.person, server) as rest:
        while True:
            try:
                history = await rest.history()
            except httpx.HTTPStatusError as error:  # a connection that was cut, found late
                assert error.response.status_code == 503 and time.monotonic() < deadline, error
                continue
            if shown(client) == history or time.monotonic() > deadline:
                break
            await client.until(partial(shows, client, history), 0.5)
    found = differences(shown(client), history)
    assert not found, f"{client.name}: {found}, {client.faults}"
    assert client.order == [message["id"] for message in history], client.name


def shows(client: Client, history: list[Message]) -> bool:
    return shown(client) == history


def shown(client: Client) -> list[Message]:
    """The messages as the client shows them."""
    return [client.messages[pk] for pk in client.order]


def differences(ours: list[Message], theirs: list[Message]) -> dict[str, Any]:
    """What is missing, what is too many, what is otherwise; empty where nothing is."""
    mine, wanted = ({message["id"]: message for message in messages} for messages in (ours, theirs))
    found = {
        "missing": sorted(wanted.keys() - mine.keys()),
        "invented": sorted(mine.keys() - wanted.keys()),
        "different": [(mine[pk], wanted[pk]) for pk in sorted(mine.keys() & wanted.keys()) if mine[pk] != wanted[pk]],
    }
    return {name: (len(what), what[:3]) for name, what in found.items() if what}


def check_connections(client: Client) -> None:
    """Each connection showed a piece of the history without a hole, from where it began."""
    place = {pk: index for index, pk in enumerate(client.order)}
    for connection in client.connections:
        found = gaps(
            connection, place, {client.acknowledged[key] for key in connection.repeated & client.acknowledged.keys()}
        )
        assert not found, (
            f"{client.name}: {found}, of {client.order}, life {client.connections.index(connection)}: {connection}"
        )


def gaps(connection: ConnectionRecord, place: dict[int, int], repeated: set[int]) -> list[tuple[int | None, int]]:
    """The pairs of ids that followed each other on this connection but do not in the history.

    A connection that did not resume may begin with answers to what it repeated, older than where it began.
    """
    begin = connection.after if connection.recovered else None
    ids = [begin, *connection.ids] if begin is not None else list(dropwhile(repeated.__contains__, connection.ids))
    return [(one, two) for one, two in pairwise(ids) if place[two] != place[one] + 1]


def rows(cluster: Cluster, conversation_id: int) -> list[dict[str, Any]]:
    """The messages of a conversation as they are stored, by `seq`."""
    with psycopg.connect(cluster.database_url, row_factory=psycopg.rows.dict_row) as connection:
        query = "SELECT id, seq, client_id, content FROM chat_message WHERE conversation_id = %s ORDER BY seq"
        return connection.execute(query, [conversation_id]).fetchall()
