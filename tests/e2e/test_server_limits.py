"""What daphne and uvicorn are told, each against a plain daphne that was told nothing, in processes of their own.

`plain` shows why each line of qader/daphne_server.py is there: where a test of it fails, the line can go.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import pytest

from tests.e2e.rawsocket import BINARY, CLOSE, CONTINUATION, PING, TEXT, RawSocket, frame
from tests.e2e.server import WebServer

KIB_64 = 64 * 1024
MEGABYTE = 2**20

Start = Callable[..., WebServer]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """`start(kind, **limits)`: an echo server of this kind, shared by the tests that ask for the same."""
    with ExitStack() as stack:
        running: dict[tuple[str, str], WebServer] = {}

        def started(kind: str, **limits: int) -> WebServer:
            key = kind, json.dumps(limits)
            if key not in running or running[key].process.poll() is not None:
                running[key] = WebServer(command=["tests.e2e.echo", *key]).start()
                stack.callback(running[key].close)
            return running[key]

        yield started


@pytest.fixture(params=["daphne", "uvicorn"])
def ours(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def send_parts(socket: RawSocket, size: int) -> None:
    """One message of this size in three frames."""
    socket.send("x" * 30_000, fin=False)
    socket.send("x" * 30_000, CONTINUATION, fin=False)
    socket.send("x" * (size - 60_000), CONTINUATION)


def send_whole(socket: RawSocket, size: int) -> None:
    with suppress(ConnectionError):  # plain daphne cuts it under the message
        socket.send("x" * size)


@pytest.mark.parametrize("send", [send_whole, send_parts])
def test_a_message_of_exactly_64_kib_is_taken(start: Start, ours: str, send: Any) -> None:
    with RawSocket(start(ours).port) as socket:
        send(socket, KIB_64)
        assert socket.receive() == (TEXT, b"got 65536")


def test_64_kib_count_as_bytes_and_in_binary_frames_too(start: Start, ours: str) -> None:
    with RawSocket(start(ours).port) as socket:
        socket.send("ش" * (KIB_64 // 2))
        assert socket.receive() == (TEXT, b"got 65536")
        socket.send(bytes(KIB_64), BINARY)
        assert socket.receive() == (TEXT, b"got 65536")
        socket.send("ش" * (KIB_64 // 2) + "x")
        assert socket.close_code() == 1009


@pytest.mark.parametrize(
    ("send", "size"), [(send_whole, KIB_64 + 1), (send_parts, KIB_64 + 1), (send_whole, 5_000_000)]
)
def test_a_larger_message_closes_with_1009(start: Start, ours: str, send: Any, size: int) -> None:
    with RawSocket(start(ours).port) as socket:
        send(socket, size)
        assert socket.close_code() == 1009


@pytest.mark.parametrize("send", [send_whole, send_parts])
def test_plain_daphne_drops_the_connection_instead(start: Start, send: Any) -> None:
    with RawSocket(start("plain").port) as socket:
        send(socket, KIB_64 + 1)
        assert socket.close_code() == 1006


MALFORMED = {
    "text that is not UTF-8": (frame(b"\xff\xfe"), 1007),
    "a continuation of nothing": (frame(b"a", CONTINUATION), 1002),
    "an opcode that does not exist": (frame(b"a", 3), 1002),
    "a ping in parts": (frame(b"a", PING, fin=False), 1002),
    "a ping that is too long": (frame(b"a" * 200, PING), 1002),
    "no mask": (b"\x81\x01a", 1002),
    "a message announced as 2**62 bytes": (frame(b"a", size=2**62), 1009),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_breaks_the_protocol_is_told_so(start: Start, ours: str, name: str) -> None:
    data, code = MALFORMED[name]
    with RawSocket(start(ours).port) as socket:
        socket.send_bytes(data)
        assert socket.close_code() == code


def test_a_refused_control_frame_is_not_collected(start: Start, ours: str) -> None:
    server = start(ours)
    with RawSocket(server.port) as socket:
        socket.send_bytes(frame(b"a" * 100, PING, size=2**40))
        before = server.megabytes
        with suppress(ConnectionError):  # cut meanwhile: as good
            for _ in range(40):
                socket.send_bytes(bytes(MEGABYTE))
        assert server.megabytes - before < 10


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 1013, 4401, 4429])
def test_every_close_code_arrives(start: Start, ours: str, code: int) -> None:
    with RawSocket(start(ours).port) as socket:
        socket.send(f"close {code}")
        assert socket.close_code() == code


@pytest.mark.parametrize("code", [1012, 1013])
def test_plain_daphne_fails_at_codes_that_it_does_not_know(start: Start, code: int) -> None:
    with RawSocket(start("plain").port) as socket:
        socket.send(f"close {code}")
        assert socket.close_code() == 1011
    assert f"invalid close code {code}" in start("plain").log


def test_a_close_before_acceptance_is_403(start: Start, ours: str) -> None:
    with RawSocket(start(ours).port, "/refuse") as socket:
        assert socket.status == 403


def test_no_version_is_told(start: Start, ours: str) -> None:
    server = start(ours)
    with RawSocket(server.port) as socket:
        assert b"server:" not in socket.head.lower()
    assert "server" not in httpx.get(f"{server.url}/", trust_env=False).headers


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


def test_what_a_client_does_not_read_is_not_kept(start: Start, ours: str) -> None:
    server = start(ours, close_seconds=1)
    poured = poured_bytes(server)
    with RawSocket(server.port, receive_buffer=4096) as socket:
        before = server.megabytes
        socket.send("pour 60")
        assert socket.seconds_until_cut(limit=15)  # closed with 1013 after 3 s without back-pressure's end
        assert poured_bytes(server) - poured < 8 * MEGABYTE
        assert server.megabytes - before < 8


def test_plain_daphne_keeps_all_that_a_client_does_not_read(start: Start) -> None:
    server = start("plain")
    poured = poured_bytes(server)
    with RawSocket(server.port, receive_buffer=4096) as socket:
        before = server.megabytes
        socket.send("pour 60")
        end = time.monotonic() + 15
        while poured_bytes(server) - poured < 60 * MEGABYTE and time.monotonic() < end:
            time.sleep(0.1)
        assert poured_bytes(server) - poured == 60 * MEGABYTE
        assert server.megabytes - before > 40


def counts(server: WebServer) -> dict[str, int]:
    """What tests/e2e/echo.py counts."""
    return dict(httpx.get(f"{server.url}/", trust_env=False).json())


def poured_bytes(server: WebServer) -> int:
    return counts(server)["poured"]


def test_a_reader_that_stopped_is_cut_and_nobody_waits_for_it(start: Start, ours: str) -> None:
    server = start(ours, ping_seconds=1, close_seconds=1)
    with RawSocket(server.port, receive_buffer=4096) as socket:
        socket.send("pour 20 60")  # the application itself would wait for a minute
        assert counts(server)["running"] == 1
        seconds = socket.seconds_until_cut(limit=10)
        assert seconds is not None
        assert seconds < 5
    end = time.monotonic() + 5
    while counts(server)["running"]:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_reader_that_goes_on_in_time_learns_why_it_was_closed(start: Start, ours: str) -> None:
    with RawSocket(start(ours).port, receive_buffer=4096) as socket:
        socket.send("pour 20 1")
        time.sleep(2)
        assert socket.close_code() == 1013


def test_what_comes_behind_our_close_frame_is_not_heard(start: Start, ours: str) -> None:
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


def test_a_client_that_closes_but_reads_nothing_is_cut(start: Start, ours: str) -> None:
    with RawSocket(start(ours, close_seconds=1).port, receive_buffer=4096) as socket:
        socket.send("pour 20")
        time.sleep(0.5)
        socket.send(b"\x03\xe8", CLOSE)
        seconds = socket.seconds_until_cut(limit=8)
        assert seconds is not None
        assert seconds < 2.5  # before the application itself gives up


def test_plain_daphne_waits_for_it_for_ever(start: Start) -> None:
    with RawSocket(start("plain", ping_seconds=1).port, receive_buffer=4096) as socket:
        socket.send("pour 20")
        time.sleep(0.5)
        socket.send(b"\x03\xe8", CLOSE)
        assert socket.seconds_until_cut(limit=4) is None


def test_a_socket_whose_application_has_ended_is_closed(start: Start, ours: str) -> None:
    with RawSocket(start(ours).port) as socket:
        socket.send("return")
        assert socket.close_code() == {"daphne": 1011, "uvicorn": 1006}[ours]


def test_plain_daphne_leaves_it_open(start: Start) -> None:
    with RawSocket(start("plain").port) as socket:
        socket.send("return")
        assert socket.is_silent(seconds=2)


def test_a_day_old_socket_stays(start: Start, ours: str) -> None:
    server = start(ours, grace_seconds=1)
    with RawSocket(server.port) as socket:
        socket.send("jump 90000")
        assert socket.is_silent(seconds=3)
        socket.send("still here")
        assert socket.receive() == (TEXT, b"got 10")
    server.close()


def test_plain_daphne_closes_it_with_1000(start: Start) -> None:
    server = start("plain", grace_seconds=1)
    with RawSocket(server.port) as socket:
        socket.send("jump 90000")
        assert socket.close_code() == 1000
    server.close()


def test_sigterm_closes_with_1012_and_lets_requests_end(start: Start, ours: str) -> None:
    server = start(ours, grace_seconds=2, close_seconds=1)
    with RawSocket(server.port) as one, RawSocket(server.port) as other, RawSocket(server.port) as reader_of_nothing:
        one.send("hello")
        assert one.receive() == (TEXT, b"got 5")
        reader_of_nothing.send("pour 20")
        with RawSocket(
            server.port, "/slow", handshake="GET /slow HTTP/1.1\r\nHost: x\r\n{headers}\r\n", wait=False
        ) as slow:
            time.sleep(0.3)
            one.send("x" * 60_000)  # unread or unanswered: the code arrives even so
            server.process.terminate()
            assert other.close_code() == 1012
            assert one.close_code() == 1012
            assert slow.answer().startswith(b"HTTP/1.1 200")
        assert server.process.wait(10) == 0


def test_plain_daphne_cuts_sockets_and_requests(start: Start) -> None:
    server = start("plain", grace_seconds=3)
    with (
        RawSocket(server.port) as socket,
        RawSocket(server.port, "/slow", handshake="GET /slow HTTP/1.1\r\nHost: x\r\n{headers}\r\n", wait=False) as slow,
    ):
        time.sleep(0.3)
        server.process.terminate()
        assert socket.close_code() == 1006
        assert not slow.answer().startswith(b"HTTP/1.1 200")


def test_a_handshake_under_way_at_sigterm_is_refused(start: Start, ours: str) -> None:
    server = start(ours, grace_seconds=2)
    with RawSocket(server.port, "/wait", wait=False) as socket:
        time.sleep(0.3)
        assert server.terminate()[0] == 0
        assert socket.answer().split()[1] in {b"500", b"503"}
