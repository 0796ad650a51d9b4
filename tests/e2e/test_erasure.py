"""A person is erased while they write and others chat, by a command that is killed again and again."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.e2e.chat_socket import ChatSocket, connected
from tests.e2e.cluster import Cluster, Pair
from tests.e2e.load import Load, seeded, start_both, tell
from tests.e2e.rest import Rest
from tests.e2e.server import ROOT, WebServer
from tests.websocket_client import SocketClosedError

pytestmark = pytest.mark.skipif(
    not os.environ.get("DATABASE_URL", "").startswith("postgres"), reason="several processes need PostgreSQL"
)

HISTORY = 10_000  # messages, every second one of them of the student
KILLS = 3
STEP = 1000  # messages that are erased between two kills
PAIRS = 4  # who chat meanwhile
HEAL_SECONDS = 3
SIGNED_OUT = 4401
SLOWEST_SECONDS = 2.0  # from a send to its acknowledgement, on a busy machine
PAUSE_SECONDS = 0.1  # between two of the messages that are measured
SECRET = "nobody else may read this"


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_person_who_writes_is_erased_by_a_command_that_is_killed(cluster: Cluster) -> None:
    settings = {"CHAT_HEAL_SECONDS": str(HEAL_SECONDS), "CHAT_RATE_LIMIT": "0"}
    servers = start_both(cluster, **settings)
    pair, *others = cluster.make_pairs(1 + PAIRS)
    fill(cluster, pair)
    async with Load(cluster, seeded()) as load:
        for other in others:
            await load.join(other, servers, servers)
        await load.talk()
        async with connected(pair.teacher, servers[1], "?events=1&mark_read=false") as watcher:
            async with Rest(pair.teacher, servers[0]) as rest:
                before = {message["id"]: message["content"] for message in await rest.history()}
            watching = asyncio.create_task(watch(watcher, before))
            writing = asyncio.create_task(write_until_closed(pair, servers[0]))
            slowest = await erase(cluster, pair, load)
            assert await writing == SIGNED_OUT
            await check_messages(pair, servers[0], before, watching)
        assert what_is_left(cluster, pair) == []
        await load.wait_for_messages(20, 30)
        await load.stop_talking()
        await load.check(servers[0], HEAL_SECONDS + 10)
        tell(f"{KILLS} kills, {len(load.said)} messages of others, the slowest took {slowest:.2f} s")
        assert slowest < SLOWEST_SECONDS


def fill(cluster: Cluster, pair: Pair) -> None:
    """Store a long history of the pair."""
    with psycopg.connect(cluster.database_url) as connection:
        connection.execute(
            """INSERT INTO chat_message (conversation_id, sender_id, content, timestamp, is_read, seq, client_id)
            SELECT %s, CASE n %% 2 WHEN 0 THEN %s ELSE %s END,
                CASE n %% 2 WHEN 0 THEN %s ELSE 'answer' END || ' ' || n, now(), false, n, n::text
            FROM generate_series(1, %s) AS n""",
            [pair.conversation_id, pair.student.user_id, pair.teacher.user_id, SECRET, HISTORY],
        )
        row = [HISTORY, pair.conversation_id]
        connection.execute("UPDATE chat_conversation SET last_seq = %s WHERE id = %s", row)


async def watch(socket: ChatSocket, shown: dict[int, str]) -> None:
    """Keep what the mentor's client shows, by id, until it is cancelled."""
    async for text in socket:
        frame = json.loads(text)
        if frame["type"] == "new_message":
            shown[frame["message"]["id"]] = frame["message"]["content"]
        elif frame["type"] == "messages_erased":
            assert len(frame["message_ids"]) <= 500
            shown.update(dict.fromkeys(frame["message_ids"], ""))


async def write_until_closed(pair: Pair, server: WebServer) -> int:
    """Have the student write as fast as they are answered; return the code that ends it."""
    async with connected(pair.student, server, "?mark_read=false") as socket:
        number = 0
        try:
            while True:
                number += 1
                await socket.send_json({"message": f"{SECRET}: live {number}"})
                frame = await socket.receive_json()
                assert frame.get("type") == "new_message" or frame["code"] == "conversation_closed", frame
        except SocketClosedError as closed:
            return int(closed.code)


async def erase(cluster: Cluster, pair: Pair, load: Load) -> float:
    """Kill the command some times, let it end, and return how long the slowest message of others took meanwhile."""
    probe = asyncio.create_task(slowest_answer(load))
    for number in range(KILLS):
        with command(cluster, pair) as running:
            await until_erased(cluster, pair, (number + 1) * STEP)
            assert running.poll() is None
            running.kill()
    with command(cluster, pair) as running:
        assert await asyncio.to_thread(running.wait, 60) == 0
    probe.cancel()
    return max(await asyncio.gather(probe))


async def slowest_answer(load: Load) -> float:
    """Measure how long a message of one of the others takes, again and again, until it is cancelled."""
    client, slowest = load.clients[0], 0.0
    try:
        while True:
            begin = time.monotonic()
            content = f"measured at {begin}"
            load.said.add(content)
            await asyncio.shield(client.say(content))
            slowest = max(slowest, time.monotonic() - begin)
            await asyncio.sleep(PAUSE_SECONDS)
    except asyncio.CancelledError:
        return slowest


@contextmanager
def command(cluster: Cluster, pair: Pair) -> Iterator["subprocess.Popen[bytes]"]:
    arguments = [sys.executable, "manage.py", "erase_person", pair.student.username, "--yes"]
    with subprocess.Popen(arguments, cwd=ROOT, env=cluster.environment, stdout=subprocess.DEVNULL) as running:
        yield running


async def until_erased(cluster: Cluster, pair: Pair, count: int) -> None:
    """Wait until so many messages are erased."""
    query = "SELECT count(*) FROM chat_message WHERE sender_id = %s AND is_erased"
    async with (
        asyncio.timeout(60),
        await psycopg.AsyncConnection.connect(cluster.database_url, autocommit=True) as rows,
    ):
        found = 0
        while found < count:
            await asyncio.sleep(0.02)
            [found] = await (await rows.execute(query, [pair.student.user_id])).fetchone() or [0]


async def check_messages(pair: Pair, server: WebServer, shown: dict[int, str], watching: "asyncio.Task[None]") -> None:
    """What the mentor's open client shows comes to equal what REST returns: tombstones, and the mentor's own words."""
    async with Rest(pair.teacher, server) as rest:
        history = await rest.history()
        count = (await rest.get(f"{rest.messages_path}?limit=1"))["count"]
    assert [message["id"] for message in history] == sorted(shown)
    assert len(history) == count > HISTORY
    deadline = time.monotonic() + 10
    expected = {message["id"]: message["content"] for message in history}
    while shown != expected and time.monotonic() < deadline:
        assert not watching.done(), watching.result()
        await asyncio.sleep(0.05)
    assert shown == expected
    watching.cancel()
    nobody = {"full_name": "", "username": "", "email": "", "role": "STUDENT"}
    for message in history:
        of_student = message["sender"] == pair.student.user_id
        assert message["is_erased"] is of_student
        if of_student:
            assert (message["content"], message["sender_profile"] | nobody) == ("", message["sender_profile"])
        else:
            assert message["content"].startswith("answer ")


def what_is_left(cluster: Cluster, pair: Pair) -> list[tuple[str, Any]]:
    """Search every row of every table for the person's texts and name."""
    found = []
    with psycopg.connect(cluster.database_url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            query = f'SELECT t::text FROM "{table}" t WHERE strpos(t::text, %s) > 0 OR strpos(t::text, %s) > 0'
            rows = connection.execute(query.encode(), [SECRET, pair.student.username]).fetchall()
            found += [(table, row) for row in rows]
    return found
