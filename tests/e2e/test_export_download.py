"""Exports that are downloaded slowly hold no database connection and little memory, and delay nobody."""

import asyncio
import io
import json
import time
from contextlib import ExitStack
from hashlib import sha256
from typing import Any
from zipfile import ZipFile

import httpx
import psycopg
import pytest

from tests.e2e.cluster import CSRF, Cluster, Pair, Person
from tests.e2e.load import start_both
from tests.e2e.server import WebServer
from tests.websocket_client import RawSocket

MESSAGES = 6000  # of 4,000 random characters, which deflate makes little smaller: 24 MB
POOL = 8  # database connections
DOWNLOADS = 2 * POOL
SECONDS = 2.0  # an answer to somebody else, on a busy machine
BOUND_MEGABYTES = 60  # for all downloads: a page of messages and what waits to be sent for each
POST = "POST {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"
PATH = "/admin/chat/conversation/"


@pytest.mark.slow
async def test_downloads_that_nobody_reads_hold_no_connection_and_little_memory(cluster: Cluster) -> None:
    servers = start_both(cluster, DATABASE_POOL_SIZE=str(POOL))
    pair, others = cluster.make_pairs(2)
    fill(cluster, pair)
    admin = make_admin(cluster)
    for server in servers:
        await check_download(server, admin, pair)
        await check_slow_downloads(server, admin, pair, others)


def fill(cluster: Cluster, pair: Pair) -> None:
    """Store messages of the student that cannot be compressed to nothing."""
    with psycopg.connect(cluster.database_url) as connection:
        connection.execute(
            """INSERT INTO chat_message (conversation_id, sender_id, content, timestamp, is_read, seq)
            SELECT %s, %s, (SELECT string_agg(md5(n::text || part::text), '') FROM generate_series(1, 125) AS part),
                now(), false, n
            FROM generate_series(1, %s) AS n""",
            [pair.conversation_id, pair.student.user_id, MESSAGES],
        )
        row = [MESSAGES, pair.conversation_id]
        connection.execute("UPDATE chat_conversation SET last_seq = %s WHERE id = %s", row)


def make_admin(cluster: Cluster) -> Person:
    """Return a superuser who is signed in."""
    [pair] = cluster.make_pairs()
    with psycopg.connect(cluster.database_url) as connection:
        query = "UPDATE accounts_user SET is_staff = true, is_superuser = true WHERE id = %s"
        connection.execute(query, [pair.teacher.user_id])
    return pair.teacher


def form(pair: Pair) -> dict[str, Any]:
    return {
        "action": "export_conversations",
        "_selected_action": pair.conversation_id,
        "csrfmiddlewaretoken": CSRF,
    }


async def check_download(server: WebServer, admin: Person, pair: Pair) -> None:
    """Somebody who reads gets it whole."""
    async with httpx.AsyncClient(headers={"Cookie": admin.cookie, "Origin": server.url}, timeout=60) as http:
        answer = await http.post(f"{server.url}{PATH}", data=form(pair))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/zip")
    with ZipFile(io.BytesIO(answer.content)) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    [conversation] = json.loads(content["messages.json"])["conversations"]
    assert len(conversation["messages"]) == MESSAGES
    sums = [f"{sha256(content[name]).hexdigest()}  {name}" for name in ("messages.json", "messages.csv")]
    assert content["SHA256SUMS"].decode().splitlines() == sums


async def check_slow_downloads(server: WebServer, admin: Person, pair: Pair, others: Pair) -> None:
    """More downloads than there are connections are begun and not read; others are answered as before."""
    body = str(httpx.QueryParams(form(pair)))
    headers = {
        "Cookie": admin.cookie,
        "Origin": server.url,
        "Content-Type": "application/x-www-form-urlencoded",
        "Content-Length": str(len(body)),
    }
    before = server.megabytes
    with ExitStack() as stack:
        for _number in range(DOWNLOADS):
            options: dict[str, Any] = {
                "headers": headers,
                "handshake": POST + body,
                "receive_buffer": 4096,
                "wait": False,
            }
            client = stack.enter_context(RawSocket(server.port, PATH, **options))
            assert (await asyncio.to_thread(client.answer)).startswith(b"HTTP/1.1 200")
        async with others.teacher.http(server) as http:
            for _number in range(20):
                begin = time.monotonic()
                assert (await http.get("chat/teacher/conversations/")).status_code == 200
                assert time.monotonic() - begin < SECONDS
            metrics = (await http.get(f"{server.url}/metrics")).text
        assert "qader_database_pool_timeouts_total 0.0" in metrics
        assert server.megabytes - before < BOUND_MEGABYTES
