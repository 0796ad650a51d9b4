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
from tests.websocket_client.frames import BINARY, CONTINUATION, PING, TEXT, frame

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
