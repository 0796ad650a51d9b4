"""Time and size limits of requests, compared with a plain daphne."""

import socket
import threading
import time
from contextlib import suppress

import pytest

from tests.e2e.conftest import Start
from tests.e2e.echo import LARGE
from tests.e2e.server import WebServer
from tests.websocket_client import RawSocket

HEAD = "GET / HTTP/1.1\r\nHost: x\r\n"
POST = "POST / HTTP/1.1\r\nHost: x\r\n"
HANDSHAKE = (
    f"{HEAD}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
BODY = "Content-Length: 5\r\n"
# What is sent at first, and then again and again.
SLOW = {
    "nothing at all": ("", ""),
    "half a line": ("GET / HT", ""),
    "byte by byte": (f"{HEAD}X: ", "a"),
    "line by line": (HEAD, "X: a\r\n"),
    "half a handshake": (HANDSHAKE, ""),
    "a handshake line by line": (HANDSHAKE, "X: a\r\n"),
    "half a body": (f"{POST}Content-Length: 100\r\n\r\na", ""),
    "a body byte by byte": (f"{POST}Content-Length: 100000\r\n\r\n", "a"),
    "a body chunk by chunk": (f"{POST}Transfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n"),
    "a second request byte by byte": (f"{HEAD}\r\nGET /", "a"),
}


def seconds_open(server: WebServer, first: str, then: str, limit: float) -> float:
    """Return after how many seconds the server cuts the connection."""
    begin = time.monotonic()
    with RawSocket(server.port, handshake=first, wait=False, seconds=0.1) as raw, suppress(ConnectionError):
        while time.monotonic() - begin < limit:
            try:
                if not raw.receive_bytes():
                    break
            except TimeoutError:
                raw.send_bytes(then.encode())
    return time.monotonic() - begin


def all_at_once(server: WebServer, limit: float) -> dict[str, float]:
    """The same for all of SLOW."""
    found: dict[str, float] = {}

    def measure(name: str, first: str, then: str) -> None:
        found[name] = seconds_open(server, first, then, limit)

    threads = [threading.Thread(target=measure, args=(name, *texts)) for name, texts in SLOW.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_a_request_that_takes_too_long_is_cut(start: Start, ours: str) -> None:
    found = all_at_once(start(ours, request_seconds=2), limit=15)
    assert {name: seconds for name, seconds in found.items() if not 1 < seconds < 12} == {}


def test_an_idle_connection_is_kept_only_for_a_while(start: Start, ours: str) -> None:
    assert 3 < seconds_open(start(ours, keep_alive_seconds=4, request_seconds=1), f"{HEAD}\r\n", "", limit=15) < 12


@pytest.mark.parametrize("header", ["", "Connection: close\r\n"])
def test_a_client_that_does_not_read_its_response_is_cut(start: Start, ours: str, header: str) -> None:
    server = start(ours, answer_seconds=1, keep_alive_seconds=1, close_seconds=1)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(f"GET /large HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode())
        time.sleep(6)  # nothing tells a client which does not read
        received = 0
        client.settimeout(10)
        with suppress(ConnectionError):
            while received < LARGE and (data := client.recv(2**20)):
                received += len(data)
    assert received < LARGE


def test_plain_daphne_waits_for_slow_clients(start: Start) -> None:
    found = all_at_once(start("plain"), limit=6)
    found.pop("a second request byte by byte")
    found.pop("half a handshake")
    assert min(found.values()) >= 6


def test_responses_and_idle_time_may_take_longer_than_requests(start: Start, ours: str) -> None:
    server = start(ours, request_seconds=1)
    with RawSocket(server.port, handshake=HEAD.replace("/", "/slow", 1) + "\r\n", wait=False) as socket:
        assert socket.answer().startswith(b"HTTP/1.1 200")
        assert socket.answer().endswith(b"\r\n0")  # the rest of it
        time.sleep(1.5)
        socket.send_bytes(f"{HEAD.replace('/', '/slow', 1)}\r\n".encode())
        assert socket.answer().startswith(b"HTTP/1.1 200")


def test_a_socket_outlives_the_request_limit(start: Start, ours: str) -> None:
    with RawSocket(start(ours, request_seconds=1).port) as socket:
        assert socket.is_silent(seconds=2)


@pytest.mark.parametrize("head", ["Content-Length: 1000001\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"])
def test_daphne_refuses_a_body_that_is_too_long(start: Start, head: str) -> None:
    """It would write it to the disk before the application is asked; uvicorn asks first, see test_attacks.py."""
    server = start("daphne", body_bytes=1_000_000)
    with RawSocket(server.port, handshake=POST + head, wait=False) as socket:
        with suppress(ConnectionError):
            for _ in range(40):
                socket.send_bytes(b"186a0\r\n" + b"a" * 100_000 + b"\r\n")
        assert socket.answer() in {b"", b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0"}
    assert server.failures == []


def test_a_body_of_exactly_the_limit_is_accepted(start: Start) -> None:
    head = f"{POST}Content-Length: 1000000\r\nConnection: close\r\n\r\n"
    with RawSocket(start("daphne", body_bytes=1_000_000).port, handshake=head, wait=False) as socket:
        socket.send_bytes(b"a" * 1_000_000)
        assert socket.answer().startswith(b"HTTP/1.1 200")


def test_a_client_cannot_set_the_root_path(start: Start, ours: str) -> None:
    server = start(ours)
    for path in ("/scope", "/"):
        with RawSocket(server.port, path, headers={"Daphne-Root-Path": "/evil", "Script-Name": "/evil"}) as socket:
            assert socket.status == 101
            socket.send("root")
            assert socket.receive() == (1, b"root ")


@pytest.mark.parametrize(
    "extra",
    [
        "Sec-WebSocket-Protocol: \xff\r\n",
        BODY,
        f"X: {'a' * 100_000}\r\n",
        "".join(f"X-{number}: a\r\n" for number in range(1000)),
        "Sec-WebSocket-Version: 99\r\n",
        "Sec-WebSocket-Key: x\r\n",
    ],
    ids=["sub-protocol", "body", "header", "headers", "version", "key"],
)
def test_an_invalid_handshake_is_answered_or_cut_at_once(start: Start, ours: str, extra: str) -> None:
    server = start(ours)
    begin = time.monotonic()
    with RawSocket(server.port, handshake=HANDSHAKE + extra + "\r\n", wait=False) as socket:
        with suppress(OSError):  # cut already
            socket.send_bytes(b"hello")
        status = socket.answer() and socket.status
        assert status in {b"", 400, 101}
        assert status != 101 or (ours, extra) == ("daphne", BODY)  # which is not for it to read
    assert time.monotonic() - begin < 5
    assert server.failures == []


CHUNKED = f"{POST}Transfer-Encoding: chunked\r\n\r\n"
REFUSED = {None, 400}  # the answer may be lost with the connection, because not all was read


def test_a_body_in_too_many_chunks_costs_little_and_is_refused(start: Start, ours: str) -> None:
    """A chunk costs as much as its kilobytes do; 40,000 of one byte stopped the process for a second."""
    server = start(ours)
    spent = server.processor_seconds
    for _ in range(4):
        with RawSocket(server.port, handshake=CHUNKED, wait=False) as socket:
            with suppress(ConnectionError):
                socket.send_bytes(b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n")
            socket.answer()
            assert socket.status in REFUSED
    assert server.processor_seconds - spent < 0.3
    assert server.failures == []


def test_a_body_in_a_thousand_chunks_is_taken(start: Start, ours: str) -> None:
    with RawSocket(start(ours).port, handshake=CHUNKED, wait=False) as socket:
        for _ in range(2):  # each request may have as many
            socket.send_bytes(b"1\r\na\r\n" * 999 + b"0\r\n\r\n")
            assert socket.answer().startswith(b"HTTP/1.1 200")
            assert socket.answer().endswith(b"\r\n0")  # the rest of it
            socket.send_bytes(CHUNKED.encode())


@pytest.mark.parametrize("before", ["", f"{HEAD}\r\n"], ids=["first", "behind another"])
@pytest.mark.parametrize("lines", [600, 15_000])
def test_a_head_of_too_many_lines_is_refused(start: Start, ours: str, before: str, lines: int) -> None:
    server = start(ours)
    with RawSocket(server.port, handshake=before + HEAD + "a:\r\n" * lines + "\r\n", wait=False) as socket:
        answers = socket.read_to_end()
    assert answers.count(b" 200 OK") == bool(before and answers)
    assert server.failures == []


def test_malformed_chunks_behind_an_answer_are_not_our_failure(start: Start, ours: str) -> None:
    server = start(ours)
    with RawSocket(server.port, handshake=CHUNKED.replace("/", "/early", 1), wait=False) as socket:
        if ours == "uvicorn":  # daphne asks the application only when the body is complete
            assert socket.answer().startswith(b"HTTP/1.1 200")
        socket.send_bytes(b"nonsense\r\n")
        assert socket.read_to_end().count(b" 400 ") == (ours == "daphne")
    assert server.failures == []
