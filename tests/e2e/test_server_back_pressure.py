"""Clients that stop reading or never stop sending: bounded memory, cut in time; a slow one loses nothing."""

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import httpx
import pytest

from tests.e2e.conftest import Start
from tests.e2e.echo import LARGE
from tests.e2e.server import WebServer
from tests.websocket_client import RawSocket
from tests.websocket_client.frames import CLOSE, PING, PONG, TEXT, frame

KIB_64 = 64 * 1024
MEGABYTE = 2**20


def test_a_client_that_sends_but_never_reads_is_cut(start: Start, ours: str) -> None:
    with RawSocket(start(ours, ping_seconds=1, close_seconds=1).port) as socket:
        seconds = socket.seconds_until_cut(limit=10)
        assert seconds is not None
        assert seconds < 5


def test_plain_daphne_never_pings_a_client_that_sends(start: Start) -> None:
    with RawSocket(start("plain", ping_seconds=1).port) as socket:
        assert socket.seconds_until_cut(limit=5) is None


def test_a_client_that_answers_pings_stays(start: Start, ours: str) -> None:
    with RawSocket(start(ours, ping_seconds=1, close_seconds=1).port) as socket:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            assert socket.answer_ping() < 2
        socket.send("still here")
        assert socket.receive() == (TEXT, b"got 10")


def test_data_a_client_does_not_read_is_not_buffered(start: Start, ours: str) -> None:
    server = start(ours, close_seconds=1)
    poured = poured_bytes(server)
    with RawSocket(server.port, receive_buffer=4096) as socket:
        before = server.megabytes
        socket.send("pour 60")
        assert socket.seconds_until_cut(limit=15)  # closed with 1013 after 3 s without back-pressure's end
        assert poured_bytes(server) - poured < 8 * MEGABYTE
        assert server.megabytes - before < 8


def ask(server: WebServer, path: str, times: int = 1) -> RawSocket:
    """A client that asks, also several times in one write, and reads when it is told to."""
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" * times
    return RawSocket(server.port, handshake=request, wait=False, receive_buffer=4096)


def test_unread_answers_are_not_buffered(start: Start, ours: str) -> None:
    server = start(ours)
    before = server.megabytes
    with ExitStack() as stack:
        clients = [stack.enter_context(ask(server, "/parts")) for _ in range(10)]
        clients += [stack.enter_context(ask(server, "/parts", times=50)) for _ in range(3)]
        for client in clients:
            assert client.answer().startswith(b"HTTP/1.1 200")
        time.sleep(1)  # in which it would write on
        assert server.megabytes - before < 8
        assert clients[0].count_bytes() > LARGE - KIB_64


def test_the_largest_unread_answer_is_cut_when_there_are_too_many(start: Start, ours: str) -> None:
    server = start(ours, unread_bytes=2 * LARGE + MEGABYTE)
    before = server.megabytes
    with ExitStack() as stack:
        small = stack.enter_context(ask(server, f"/large/{MEGABYTE // 2}"))
        assert small.answer().startswith(b"HTTP/1.1 200")
        for _ in range(8):
            assert stack.enter_context(ask(server, "/large")).answer().startswith((b"HTTP/1.1 200", b""))
        assert server.megabytes - before < 4 * LARGE / MEGABYTE
        assert small.count_bytes() > MEGABYTE // 2 - KIB_64
    assert server.failures == []


HALF_A_BODY = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n{'a' * 80_000}"


def open_client(server: WebServer, request: str) -> RawSocket:
    client = RawSocket(server.port, handshake="", wait=False)
    with suppress(ConnectionError):  # cut already
        client.send_bytes(request.encode())
    return client


def is_cut(client: RawSocket) -> bool:
    try:
        return not client.is_silent(0.01) and not client.is_silent(0.01)  # the first may be an answer
    except ConnectionError:
        return True


@pytest.mark.parametrize("before", ["", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["first", "behind another"])
def test_the_largest_half_sent_request_is_cut_when_there_are_too_many(start: Start, ours: str, before: str) -> None:
    server = start(ours, unanswered_bytes=MEGABYTE // 2, request_seconds=60)
    small = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + "a" * 4000
    with ExitStack() as stack:
        slow = stack.enter_context(open_client(server, small))
        clients = [stack.enter_context(open_client(server, before + HALF_A_BODY)) for _ in range(20)]
        until(lambda: sum(not is_cut(client) for client in clients) <= 6)
        slow.send_bytes(b"a" * 1000)
        assert slow.answer().startswith(b"HTTP/1.1 200")
    assert server.failures == []


def test_answered_requests_and_open_sockets_are_no_half_sent_requests(start: Start, ours: str) -> None:
    server = start(ours, unanswered_bytes=MEGABYTE // 4)
    large = dict.fromkeys("XY", "a" * 7000)
    with ExitStack() as stack, httpx.Client(base_url=server.url, headers=large, trust_env=False) as http:
        sockets = [stack.enter_context(RawSocket(server.port, headers=large)) for _ in range(20)]
        for _ in range(20):
            assert http.get("/").status_code == 200
        for socket in sockets:
            socket.send("still here")
            assert socket.receive() == (TEXT, b"got 10")


def test_plain_daphne_buffers_all_that_a_client_does_not_read(start: Start) -> None:
    server = start("plain", close_seconds=5)  # its own: what others left in memory would be used again
    poured = poured_bytes(server)
    with RawSocket(server.port, receive_buffer=4096) as socket:
        before = server.megabytes
        socket.send("pour 60")
        until(lambda: poured_bytes(server) - poured == 60 * MEGABYTE)
        until(lambda: server.megabytes - before > 40)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until it is so; a machine may be busy with other things."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def counts(server: WebServer) -> dict[str, int]:
    """What tests/e2e/echo.py counts."""
    return dict(httpx.get(f"{server.url}/", trust_env=False).json())


def poured_bytes(server: WebServer) -> int:
    return counts(server)["poured"]


def test_a_client_that_stopped_reading_is_cut(start: Start, ours: str) -> None:
    server = start(ours, ping_seconds=1, close_seconds=1)
    with RawSocket(server.port, receive_buffer=4096) as socket:
        socket.send("pour 20 60")  # the application itself would wait for a minute
        assert counts(server)["running"] == 1
        seconds = socket.seconds_until_cut(limit=10)
        assert seconds is not None
        assert seconds < 5
    until(lambda: not counts(server)["running"], seconds=5)


def test_a_client_that_reads_again_in_time_gets_the_close_code(start: Start, ours: str) -> None:
    with RawSocket(start(ours).port, receive_buffer=4096) as socket:
        socket.send("pour 20 1")
        time.sleep(2)
        assert socket.close_code() == 1013


def test_pings_of_a_client_that_does_not_read_are_not_answered(start: Start, ours: str) -> None:
    with RawSocket(start(ours).port, receive_buffer=4096) as socket:
        socket.send("pour 20 60")
        time.sleep(1)  # its buffers are full
        for _ in range(500):
            socket.send(b"a" * 125, PING)
        time.sleep(0.5)
        received = [socket.receive() for _ in range(320)]
        assert received == [(TEXT, b"x" * KIB_64)] * 320
        socket.send(b"and now?", PING)
        assert socket.receive() == (PONG, b"and now?")


def test_frames_after_our_close_frame_are_ignored(start: Start, ours: str) -> None:
    server = start(ours)
    with RawSocket(server.port) as socket:
        for number in range(10):
            socket.send_bytes(frame(b"close 4401") if number == 0 else frame(b"late"))
            time.sleep(0.02)
        assert socket.close_code() == 4401
    assert counts(server)["late"] == 0


def test_a_slow_reader_gets_everything(start: Start, ours: str) -> None:
    with RawSocket(start(ours).port, receive_buffer=4096) as socket:
        socket.send("pour 4")
        for number in range(64):
            assert socket.receive() == (TEXT, b"x" * KIB_64), number
            if number % 16 == 0:
                time.sleep(0.2)
        socket.send("still here")
        assert socket.receive() == (TEXT, b"got 10")


def test_a_client_has_to_wait_while_the_application_is_busy(start: Start, ours: str) -> None:
    server = start(ours)
    with RawSocket(server.port) as socket:
        before = server.megabytes
        socket.send("sleep 3")
        taken = socket.send_until_full(b"x" * KIB_64, limit=60 * MEGABYTE)
        assert taken < 24 * MEGABYTE  # most of it in the kernel's own buffers
        assert server.megabytes - before < 12
        for _ in range(taken // KIB_64):
            assert socket.receive() == (TEXT, b"got 65536")


def test_plain_daphne_queues_without_end(start: Start) -> None:
    with RawSocket(start("plain").port) as socket:
        socket.send("sleep 3")
        assert socket.send_until_full(b"x" * KIB_64, limit=60 * MEGABYTE) == 60 * MEGABYTE


def test_a_client_that_closes_without_reading_is_cut(start: Start, ours: str) -> None:
    with RawSocket(start(ours, close_seconds=1).port, receive_buffer=4096) as socket:
        socket.send("pour 20")
        time.sleep(0.5)
        socket.send(b"\x03\xe8", CLOSE)
        seconds = socket.seconds_until_cut(limit=8)
        assert seconds is not None
        assert seconds < 2.5  # before the application itself gives up


def test_plain_daphne_waits_for_a_close_for_ever(start: Start) -> None:
    with RawSocket(start("plain", ping_seconds=1).port, receive_buffer=4096) as socket:
        socket.send("pour 20")
        time.sleep(0.5)
        socket.send(b"\x03\xe8", CLOSE)
        assert socket.seconds_until_cut(limit=4) is None
