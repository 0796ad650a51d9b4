"""The limits set for daphne and uvicorn, each compared with a plain daphne.

`plain` shows that the lines of qader/server/daphne_server.py are needed: if one of its tests fails, a line can go.
"""

import time
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Start
from tests.websocket_client import RawSocket
from tests.websocket_client.frames import BINARY, CLOSE, CONTINUATION, NO_MASK, PING, PONG, TEXT, frame

KIB_64 = 64 * 1024
MEGABYTE = 2**20


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
def test_plain_daphne_drops_the_connection_for_a_larger_message(start: Start, send: Any) -> None:
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
def test_protocol_errors_are_closed_with_their_code(start: Start, ours: str, name: str) -> None:
    data, code = MALFORMED[name]
    with RawSocket(start(ours).port) as socket:
        socket.send_bytes(data)
        assert socket.close_code() == code


def test_a_refused_control_frame_is_not_buffered(start: Start, ours: str) -> None:
    server = start(ours)
    with RawSocket(server.port) as socket:
        socket.send_bytes(frame(b"a" * 100, PING, size=2**40))
        before = server.megabytes
        with suppress(ConnectionError):  # cut meanwhile: as good
            for _ in range(40):
                socket.send_bytes(bytes(MEGABYTE))
        assert server.megabytes - before < 10


FLOODS = {
    "pings": (b"", frame(b"", PING), 4429),
    "long pings": (b"", frame(b"a" * 125, PING), 4429),
    "pongs": (b"", frame(b"", PONG), 4429),
    "empty fragments": (frame(b"", fin=False), frame(b"", CONTINUATION, fin=False), 4429),
    "fragments of a byte": (frame(b"a", BINARY, fin=False), frame(b"a", CONTINUATION, fin=False), 4429),
    "pings within a message": (frame(b"a", fin=False), frame(b"", PING), 4429),
    "frames after our close frame": (frame(b"close 4401"), frame(b""), 4401),
}
FLOOD_BYTES = 400_000  # as much as the server takes from a client that it has closed, before it cuts it off
FLOOD_SECONDS = 0.5  # of processor time; 50,000 frames took several


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_frames_costs_little_and_is_closed(start: Start, ours: str, name: str) -> None:
    server = start(ours)
    first, repeated, code = FLOODS[name]
    spent, megabytes = server.processor_seconds, server.megabytes
    with RawSocket(server.port) as socket:
        with suppress(ConnectionError):
            socket.send_bytes(first + repeated * (FLOOD_BYTES // len(repeated)))
        answers = socket.receive_until_close()
        assert answers[-1] == (CLOSE, code.to_bytes(2))
        assert len(answers) < 2000
    assert server.processor_seconds - spent < FLOOD_SECONDS
    assert server.megabytes - megabytes < 8


def test_a_message_that_comes_byte_by_byte_is_a_flood(start: Start, ours: str) -> None:
    with RawSocket(start(ours, frames_burst=50, frames_per_second=10).port) as socket:
        socket.send_bytes(frame(b"", size=60_000, mask=NO_MASK))
        with suppress(ConnectionError):
            for _ in range(500):
                socket.send_bytes(b"a")
                time.sleep(0.001)
        assert socket.close_code() == 4429


def test_ordinary_fragments_and_control_frames_are_no_flood(start: Start, ours: str) -> None:
    with RawSocket(start(ours).port) as socket:
        for number in range(800):
            socket.send("x" * 80, TEXT if number == 0 else CONTINUATION, fin=False)
            if number % 8 == 0:
                socket.send(b"still here", PING if number % 16 else PONG)
        socket.send("", CONTINUATION)
        pongs = [socket.receive() for _ in range(50)]
        assert pongs == [(PONG, b"still here")] * 50
        assert socket.receive() == (TEXT, b"got 64000")


def test_the_budget_of_frames_fills_up_again(start: Start, ours: str) -> None:
    with RawSocket(start(ours, frames_burst=50, frames_per_second=100).port) as socket:
        for _ in range(4):
            for _ in range(40):
                socket.send(b"", PING)
                assert socket.receive() == (PONG, b"")
            time.sleep(0.5)
        socket.send("still here")
        assert socket.receive() == (TEXT, b"got 10")


def test_many_small_messages_are_no_flood_for_the_server(start: Start, ours: str) -> None:
    """The application limits them."""
    with RawSocket(start(ours).port) as socket:
        socket.send_bytes(frame(b"a") * 5000)
        for number in range(5000):
            assert socket.receive() == (TEXT, b"got 1"), number


def test_bytes_sent_before_acceptance_wait_and_are_not_collected(start: Start, ours: str) -> None:
    server = start(ours)
    before = server.megabytes
    with RawSocket(server.port, "/wait", wait=False) as socket:
        taken = socket.send_until_full(b"x" * KIB_64, limit=60 * MEGABYTE, is_last=True)
        assert taken < 24 * MEGABYTE  # most of it in the kernel's own buffers
        assert server.megabytes - before < 8
    with RawSocket(server.port, "/late", wait=False) as socket:
        time.sleep(0.3)
        socket.send("x")
        time.sleep(0.1)
        socket.send("xyz")
        assert socket.answer().startswith(b"HTTP/1.1 101")
        assert [socket.receive(), socket.receive()] == [(TEXT, b"got 1"), (TEXT, b"got 3")]


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 1013, 4401, 4429])
def test_every_close_code_arrives(start: Start, ours: str, code: int) -> None:
    with RawSocket(start(ours).port) as socket:
        socket.send(f"close {code}")
        assert socket.close_code() == code


@pytest.mark.parametrize("code", [1012, 1013])
def test_plain_daphne_fails_at_unknown_close_codes(start: Start, code: int) -> None:
    with RawSocket(start("plain").port) as socket:
        socket.send(f"close {code}")
        assert socket.close_code() == 1011
    assert f"invalid close code {code}" in start("plain").log


def test_a_close_before_acceptance_is_403(start: Start, ours: str) -> None:
    with RawSocket(start(ours).port, "/refuse") as socket:
        assert socket.status == 403


def test_no_server_version_is_sent(start: Start, ours: str) -> None:
    server = start(ours)
    with RawSocket(server.port) as socket:
        assert b"server:" not in socket.head.lower()
    assert "server" not in httpx.get(f"{server.url}/", trust_env=False).headers


def test_a_socket_whose_application_has_ended_is_closed(start: Start, ours: str) -> None:
    with RawSocket(start(ours).port) as socket:
        socket.send("return")
        assert socket.close_code() == {"daphne": 1011, "uvicorn": 1006}[ours]


def test_plain_daphne_leaves_such_a_socket_open(start: Start) -> None:
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


def test_plain_daphne_closes_a_day_old_socket_with_1000(start: Start) -> None:
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
        assert socket.answer().split()[1] == b"503"
