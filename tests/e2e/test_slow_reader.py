"""A client that does not read, or sends without end, costs little and delays nobody.

Both servers are measured at the same time, each with three pairs. The first gets many messages and reads them, the
second gets as many and does not read, and the third chats meanwhile.
"""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import psutil
import pytest

from tests.e2e.chat_socket import ChatSocket, connected
from tests.e2e.cluster import Cluster, Pair
from tests.e2e.server import WebServer, start_together
from tests.websocket_client import RawSocket
from tests.websocket_client.frames import CLOSE, TEXT, frame

BIG = "😀" * 4000  # the longest message there may be: 16 kB
POURED = 1500  # of these: 24 MB, a few of which the kernel takes before the server has to wait
AT_ONCE = 8
BOUND_MEGABYTES = 12  # for each reader that takes nothing: 200 messages of 16 kB that wait, and the server's buffers
CUT_SECONDS = 60
SLOWER = 3.0  # how many times as long the others' p99 may be, and
SECONDS = 0.5  # what is no matter on a busy machine; who waits for a reader that stopped waits 30 s
FLOOD = frame(b'{"message": "and again"}') * 10_000
POOL = 8  # database connections
GET = "GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"
RATE, BURST = 5, 20
REFUSALS = 100  # in 10 s; one more is a flood


@pytest.mark.slow
async def test_a_client_that_does_not_read_costs_little_and_delays_nobody(cluster: Cluster) -> None:
    await on_both_servers(cluster, a_reader_takes_nothing, CHAT_RATE_LIMIT="0")


async def test_a_flood_is_throttled_then_closed_and_delays_nobody(cluster: Cluster) -> None:
    await on_both_servers(cluster, a_socket_floods)


async def test_answers_that_are_not_read_hold_no_database_connection(cluster: Cluster) -> None:
    await on_both_servers(cluster, answers_are_not_read, CHAT_RATE_LIMIT="0", DATABASE_POOL_SIZE=str(POOL))


async def answers_are_not_read(server: WebServer, unread: Pair, others: Pair, _: Pair) -> None:
    """Twice as many answers of a megabyte are begun as there are database connections, and none is read."""
    async with unread.student.http(server) as http:
        for _number in range(60):
            assert (await http.post("chat/my-conversation/messages/", json={"content": BIG})).status_code == 201
    path, headers = "/api/v1/chat/my-conversation/messages/?limit=200", {"Cookie": unread.student.cookie}
    with ExitStack() as stack:
        for _number in range(2 * POOL):
            options: dict[str, Any] = {"headers": headers, "handshake": GET, "receive_buffer": 4096, "wait": False}
            client = stack.enter_context(RawSocket(server.port, path, **options))
            assert (await asyncio.to_thread(client.answer)).startswith(b"HTTP/1.1 200")
        async with others.teacher.http(server) as http:
            for _number in range(10):
                async with asyncio.timeout(SECONDS * 4):
                    assert (await http.get("chat/teacher/conversations/")).status_code == 200
            metrics = (await http.get(f"{server.url}/metrics")).text
        assert "qader_database_pool_timeouts_total 0.0" in metrics


async def on_both_servers(cluster: Cluster, case: Any, **settings: str) -> None:
    servers = [cluster.server(kind, **settings) for kind in ("daphne", "uvicorn")]
    await asyncio.to_thread(start_together, *servers)
    pairs = await asyncio.to_thread(cluster.make_pairs, 6)
    await asyncio.gather(case(servers[0], *pairs[:3]), case(servers[1], *pairs[3:]))


async def a_reader_takes_nothing(server: WebServer, read: Pair, unread: Pair, others: Pair) -> None:
    async with connected(read.student, server) as reader:
        reading = asyncio.create_task(read_all(reader))
        before = await while_pouring(server, others, read)
        reading.cancel()
    megabytes = server.megabytes  # the memory that this many messages need is allocated by now
    path, headers = f"/ws/chat/{unread.student.path}", {"Cookie": unread.student.cookie, "Origin": server.url}
    options: dict[str, Any] = {"headers": headers, "receive_buffer": 4096}
    with RawSocket(server.port, path, **options) as never, RawSocket(server.port, path, **options) as later:
        begin = time.monotonic()
        assert (never.status, later.status) == (101, 101)
        meanwhile = await while_pouring(server, others, unread)
        assert meanwhile < max(SLOWER * before, SECONDS), (meanwhile, before)
        assert server.megabytes - megabytes < BOUND_MEGABYTES
        async with asyncio.timeout(CUT_SECONDS - (time.monotonic() - begin)):
            await wait_until_true(lambda: server.log.count("frame not sent: too slow") == 2)
            assert await asyncio.to_thread(later.close_code) == 1013  # who goes on reading learns why
            await wait_until_true(lambda: never.local_port not in clients_ports(server))
        assert server.megabytes - megabytes < BOUND_MEGABYTES


async def wait_until_true(condition: Callable[[], bool]) -> None:
    """Wait until this is so in the other process."""
    while not condition():  # noqa: ASYNC110 - another process sets no event
        await asyncio.sleep(0.1)


async def read_all(socket: ChatSocket) -> None:
    async for _ in socket:
        pass


async def pour(server: WebServer, pair: Pair) -> None:
    """Have the teacher send all of it, as fast as the server takes it."""
    frame = json.dumps({"message": BIG}, ensure_ascii=False)
    async with connected(pair.teacher, server) as socket:
        for number in range(POURED + AT_ONCE):
            if number < POURED:
                await socket.send(frame)
            if number >= AT_ONCE:
                assert (await socket.receive_json(30))["type"] == "new_message"


async def others_p99(server: WebServer, others: Pair, go_on: Callable[[int], bool]) -> float:
    """Return the p99 of the seconds from a send until both of a pair have it; sends while `go_on(count)` is true."""
    seconds: list[float] = []
    query = "?mark_read=false"
    async with connected(others.student, server, query) as one, connected(others.teacher, server, query) as two:
        while go_on(len(seconds)):
            begin = time.monotonic()
            await (one if len(seconds) % 2 else two).send_json({"message": "and we?"})
            frames = await asyncio.gather(one.receive_json(30), two.receive_json(30))
            assert {frame["type"] for frame in frames} == {"new_message"}
            seconds.append(time.monotonic() - begin)
    return sorted(seconds)[len(seconds) * 99 // 100]


async def while_pouring(server: WebServer, others: Pair, poured: Pair) -> float:
    """The others' p99 while much is sent to another student."""
    pouring = asyncio.create_task(pour(server, poured))
    found = await others_p99(server, others, lambda count: count < 100 or not pouring.done())
    await pouring
    return found


def clients_ports(server: WebServer) -> set[int]:
    """The far ends of the connections that the server has open."""
    return {found.raddr.port for found in psutil.Process(server.pid).net_connections("tcp4") if found.raddr}


async def a_socket_floods(server: WebServer, flooding: Pair, before: Pair, others: Pair) -> None:
    unhurried = await others_p99(server, before, lambda count: count < 2 * BURST)
    begin = time.monotonic()
    flood = asyncio.create_task(
        asyncio.to_thread(answers_to_a_flood, server, flooding)
    )  # beside the loop that measures
    meanwhile = await others_p99(server, others, lambda count: count < 2 * BURST)
    frames, allowed = await flood, BURST + RATE * (time.monotonic() - begin) + 1
    assert meanwhile < max(SLOWER * unhurried, SECONDS), (meanwhile, unhurried)
    accepted = [frame for frame in frames if frame.get("type") == "new_message"]
    refused = [frame for frame in frames if "error" in frame]
    assert len(frames) == 1 + len(accepted) + len(refused)
    for told in refused:
        text = {"error": "You are writing too fast.", "code": "rate_limited"}
        assert told == text | {"retry_after": told["retry_after"]}
        assert 0 < told["retry_after"] <= 1 / RATE
    assert REFUSALS <= len(refused) <= REFUSALS + 1  # the last may be lost in the closing
    async with flooding.teacher.http(server) as http:
        page = await http.get(f"chat/teacher/{flooding.teacher.path}messages/")
    assert len(accepted) <= page.json()["count"] <= allowed


def answers_to_a_flood(server: WebServer, pair: Pair) -> list[Any]:
    """All that a socket is sent on which thousands of messages come in, until it is closed as it should be."""
    path, headers = f"/ws/chat/{pair.student.path}", {"Cookie": pair.student.cookie, "Origin": server.url}
    with RawSocket(server.port, path, headers=headers) as socket:
        with suppress(ConnectionError):
            socket.send_bytes(FLOOD)
        frames = []
        while (got := socket.receive()) and got[0] == TEXT:
            frames.append(json.loads(got[1]))
        assert got == (CLOSE, (4429).to_bytes(2))
        return frames
