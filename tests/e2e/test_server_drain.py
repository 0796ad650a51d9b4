"""SIGTERM: the proxy notices first, then the sockets close one after the other, each served until then."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from qader import environment
from qader.server import main
from qader.server.lifecycle import SAME_STOP_SECONDS
from qader.server.options import Limits
from tests.e2e.chat_socket import ChatSocket, connected
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import Start
from tests.e2e.server import WebServer, start_together
from tests.websocket_client import RawSocket, SocketClosedError, WebSocket
from tests.websocket_client.frames import HANDSHAKE

SERVERS = pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
END_SECONDS = 10.0  # by the contract
EARLY_SECONDS = 0.02  # by which the clocks of two processes may differ
REQUEST = "GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"


@asynccontextmanager
async def crowd(server: WebServer, size: int) -> AsyncIterator[list[WebSocket]]:
    """So many sockets of an echo server, in the order in which they were opened."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(WebSocket(server.ws_url)) for _ in range(size)]


async def ended(sockets: list[WebSocket], begin: float) -> list[float]:
    """The seconds from `begin` on after which each of them was closed with 1012."""

    async def seconds(one: WebSocket) -> float:
        assert await one.wait_closed(30) == 1012
        return time.monotonic() - begin

    return await asyncio.gather(*map(seconds, sockets))


def early(seconds: list[float], rate: int) -> list[tuple[int, float]]:
    """The turns that ended before `rate` sockets a second allowed it, and when they did."""
    return [(turn, one) for turn, one in enumerate(seconds) if one < turn / rate - EARLY_SECONDS]


def readyz(server: WebServer) -> tuple[int, dict[str, bool]]:
    answer = httpx.get(f"{server.url}/readyz", timeout=10, trust_env=False)
    return answer.status_code, answer.json()


def test_all_shutdown_steps_fit_into_ten_seconds() -> None:
    limits = Limits()
    assert (limits.closes_per_second, limits.spread_seconds, limits.grace_seconds) == (200, 5, 2)
    assert limits.spread_seconds + limits.last_seconds + main.SETTLE_SECONDS <= main.STOP_SECONDS
    assert environment.MAX_NOTICE_SECONDS + main.STOP_SECONDS < END_SECONDS


@pytest.mark.parametrize(("debug", "seconds"), [("0", "1.5"), ("1", "0")])
def test_only_production_waits_for_the_proxy_before_stopping(lone_cluster: Cluster, debug: str, seconds: str) -> None:
    del lone_cluster.environment["STOP_NOTICE_SECONDS"]
    lone_cluster.environment["DEBUG"] = debug
    lines = "from django.conf import settings; print(settings.STOP_NOTICE_SECONDS)"
    shown = lone_cluster.run("-c", f"import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'qader.settings'; {lines}")
    assert shown == f"{seconds}\n"


@SERVERS
async def test_during_the_stop_notice_readyz_is_red_and_everything_is_served(cluster: Cluster, kind: str) -> None:
    (pair,) = cluster.make_pairs()
    server = cluster.start(kind, STOP_NOTICE_SECONDS="2.5")
    assert readyz(server) == (200, {"database": True, "channel_layer": True, "stopping": False})
    async with connected(pair.student, server) as student:
        begin = time.monotonic()
        server.process.terminate()
        while (answer := await asyncio.to_thread(readyz, server))[0] == 200:
            assert time.monotonic() - begin < 2.5
        assert answer == (503, {"database": True, "channel_layer": True, "stopping": True})
        async with connected(pair.teacher, server) as teacher:
            await student.send_json({"message": "still here?"})
            for one in (student, teacher):
                assert (await one.receive_json())["message"]["content"] == "still here?"
            async with pair.teacher.http(server) as http:
                assert (await http.get("auth/me/")).status_code == 200
                assert (await http.get(f"{server.url}/healthz")).status_code == 200
            assert time.monotonic() - begin < 2.5
            assert [await one.wait_closed(END_SECONDS) for one in (student, teacher)] == [1012, 1012]
            assert time.monotonic() - begin > 2.5 - EARLY_SECONDS
        assert await asyncio.to_thread(server.exit_code) == 0
        assert time.monotonic() - begin < END_SECONDS


async def test_sockets_are_closed_evenly_200_a_second(start: Start, ours: str) -> None:
    server = start(ours)
    async with crowd(server, 300) as sockets:
        begin = time.monotonic()
        server.process.terminate()
        seconds = await ended(sockets, begin)
    # Never too soon, which a slow machine cannot make them either.
    assert early(seconds, rate=200) == []
    assert server.exit_code() == 0
    assert time.monotonic() - begin < END_SECONDS


async def test_closing_many_sockets_takes_only_the_allowed_time(start: Start, ours: str) -> None:
    server = start(ours, spread_seconds=4, closes_per_second=1)
    async with crowd(server, 300) as sockets:
        begin = time.monotonic()
        server.process.terminate()
        seconds = await ended(sockets, begin)
    assert early(seconds, rate=75) == []
    assert seconds[-1] < 300 / 10  # far from one a second
    # And not all of them at the end: a quarter of them each second, with much room for a busy machine.
    parts = [sum(quarter <= one - seconds[0] < quarter + 1 for one in seconds) for quarter in range(4)]
    assert all(part > 10 for part in parts), parts
    assert server.exit_code() == 0


async def test_draining_refuses_new_sockets_and_serves_open_ones(start: Start, ours: str) -> None:
    server = start(ours, closes_per_second=1)
    with RawSocket(server.port, handshake=REQUEST) as kept_alive, RawSocket(server.port, handshake=REQUEST) as idle:
        async with crowd(server, 5) as sockets:
            server.process.terminate()
            assert await sockets[0].wait_closed(END_SECONDS) == 1012
            kept_alive.send_bytes(HANDSHAKE.format(path="/", host=f"127.0.0.1:{server.port}", headers="").encode())
            assert kept_alive.answer().endswith(b"\r\n0")  # the rest of the first answer
            assert kept_alive.answer().startswith(b"HTTP/1.1 503 ")
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", server.port))
            await sockets[-1].send("hello")
            assert await sockets[-1].recv() == "got 5"
            assert [await one.wait_closed(END_SECONDS) for one in sockets] == [1012] * 5
        assert idle.status == 200
        assert server.exit_code() == 0


@pytest.mark.parametrize(("number", "wait"), [(signal.SIGTERM, SAME_STOP_SECONDS + EARLY_SECONDS), (signal.SIGINT, 0)])
async def test_a_later_or_different_signal_skips_the_notice(
    start: Start, ours: str, number: signal.Signals, wait: float
) -> None:
    server = start(ours, notice_seconds=60)
    async with crowd(server, 3) as sockets:
        server.process.terminate()
        await sockets[0].send("hello")
        assert await sockets[0].recv() == "got 5"
        await asyncio.sleep(wait)  # the time itself is what is tested
        begin = time.monotonic()
        server.process.send_signal(number)
        await ended(sockets, begin)
        assert (server.exit_code(), time.monotonic() - begin < END_SECONDS) == (0, True)


async def test_a_second_signal_closes_all_sockets_at_once(start: Start, ours: str) -> None:
    server = start(ours, closes_per_second=1, spread_seconds=60)
    async with crowd(server, 60) as sockets:
        server.process.terminate()
        assert await sockets[0].wait_closed(END_SECONDS) == 1012
        begin = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        await ended(sockets[1:], begin)
        assert (server.exit_code(), time.monotonic() - begin < END_SECONDS) == (0, True)


@SERVERS
async def test_make_serve_is_stopped_once_by_a_signal_to_its_process_group(lone_cluster: Cluster, kind: str) -> None:
    (pair,) = lone_cluster.make_pairs()
    server = lone_cluster.server(kind, STOP_NOTICE_SECONDS="2")
    server.make().until_it_listens()
    async with connected(pair.student, server) as student:
        begin = time.monotonic()
        os.killpg(server.pid, signal.SIGTERM)
        assert await student.wait_closed(END_SECONDS) == 1012
        assert time.monotonic() - begin > 2 - EARLY_SECONDS
    await asyncio.to_thread(server.exit_code)


@SERVERS
async def test_messages_sent_while_draining_are_stored_and_acknowledged(cluster: Cluster, kind: str) -> None:
    pair, others = cluster.make_pairs(2)
    server = cluster.start(kind, CHAT_RATE_LIMIT="0", CHAT_MAX_SOCKETS_PER_USER="1000")
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(connected(others.teacher, server)) for _ in range(300)]
        student = await stack.enter_async_context(connected(pair.student, server))
        teacher = await stack.enter_async_context(connected(pair.teacher, server))
        server.process.terminate()
        assert await sockets[0].wait_closed(END_SECONDS) == 1012
        acknowledged, received = await asyncio.gather(talk(student), listen(teacher))
        assert await asyncio.to_thread(server.exit_code) == 0
    assert acknowledged, "nobody was served while it drained"
    assert received[: len(acknowledged)] == acknowledged  # the teacher's turn came after the student's
    server.restart()
    async with pair.student.http(server) as http:
        stored = (await http.get("chat/my-conversation/messages/?limit=200")).json()["results"]
    contents = [message["content"] for message in stored]
    assert contents[: len(acknowledged)] == acknowledged
    assert len(contents) <= len(acknowledged) + 1  # the last one's acknowledgement may have been cut off


async def talk(socket: ChatSocket) -> list[str]:
    """Send one message after the other until the server restarts; return what was acknowledged."""
    acknowledged: list[str] = []
    try:
        while True:
            await socket.send_json({"message": f"number {len(acknowledged)}"})
            acknowledged.append((await socket.receive_json())["message"]["content"])
            await asyncio.sleep(0.02)
    except SocketClosedError as closed:
        assert closed.code == 1012
    return acknowledged


async def listen(socket: ChatSocket) -> list[str]:
    """What was said until the server restarts."""
    received: list[str] = []
    try:
        while True:
            received.append(json.loads(await socket.recv())["message"]["content"])
    except SocketClosedError as closed:
        assert closed.code == 1012
    return received


@SERVERS
async def test_a_restart_costs_only_its_own_sockets_one_reconnect(cluster: Cluster, kind: str) -> None:
    (pair,) = cluster.make_pairs()
    here, there = await asyncio.to_thread(start_together, cluster.server(kind), cluster.server(kind))
    async with connected(pair.teacher, there) as teacher:
        async with connected(pair.student, here) as student:
            assert (await asyncio.to_thread(here.terminate))[0] == 0
            assert await student.wait_closed(1) == 1012
        await asyncio.to_thread(here.start)
        async with connected(pair.student, here) as student:
            await student.send_json({"message": "back"})
            for one in (student, teacher):
                assert (await one.receive_json())["message"]["content"] == "back"
            assert (await asyncio.to_thread(there.terminate))[0] == 0
            assert await teacher.wait_closed(1) == 1012
            assert await student.receive_until_pong() == []
