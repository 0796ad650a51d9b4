"""Each override of a method of daphne, autobahn, twisted or uvicorn is needed: without it, its test in OVERRIDES fails.

First come the tests that exist only for this; the table below them also refers to those of the other files.
"""

import asyncio
import inspect
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from tests.e2e import test_server_back_pressure as back_pressure
from tests.e2e import test_server_drain as drain
from tests.e2e import test_server_limits as limits
from tests.e2e import test_server_requests as requests
from tests.e2e.conftest import Start
from tests.e2e.echo import LARGE
from tests.e2e.server import WebServer
from tests.websocket_client import RawSocket
from tests.websocket_client.frames import CLOSE, PING, TEXT

MEGABYTE = 2**20


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return met


def ask(server: WebServer, path: str, header: str = "") -> RawSocket:
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n"
    return RawSocket(server.port, handshake=request, wait=False, receive_buffer=4096)


def test_a_malformed_origin_is_refused_like_any_other(start: Start) -> None:
    with RawSocket(start("daphne").port, headers={"Origin": "http://[x"}) as socket:
        assert socket.head == b"HTTP/1.1 403 Forbidden"


def test_a_handshake_of_an_unknown_version_is_not_our_failure(start: Start) -> None:
    server = start("daphne")
    with RawSocket(server.port, handshake=requests.HANDSHAKE.replace("13", "99") + "\r\n") as socket:
        assert socket.status == 400
    assert not wait_until(lambda: bool(server.failures), seconds=1), server.failures


def test_sigterm_with_half_a_request_open_is_not_our_failure(start: Start) -> None:
    server = start("daphne", grace_seconds=1)
    with RawSocket(server.port, handshake="GET / HTTP/1.1\r\nHost: x\r\nX: ", wait=False):
        time.sleep(0.3)
        assert server.terminate()[0] == 0
    assert server.failures == []


def test_a_body_is_refused_as_soon_as_its_length_is_announced(start: Start) -> None:
    server = start("daphne", body_bytes=1_000_000)
    begin = time.monotonic()
    with RawSocket(server.port, handshake=f"{requests.POST}Content-Length: 1000001\r\n\r\n", wait=False) as socket:
        assert socket.answer().startswith(b"HTTP/1.1 413 ")
    assert time.monotonic() - begin < 5


def test_a_chunked_body_is_refused_where_it_becomes_too_long(start: Start) -> None:
    server = start("daphne", body_bytes=1_000_000)
    with RawSocket(server.port, handshake=f"{requests.POST}Transfer-Encoding: chunked\r\n\r\n", wait=False) as socket:
        with suppress(ConnectionError):
            for _ in range(20):
                socket.send_bytes(b"186a0\r\n" + b"a" * 100_000 + b"\r\n")
            socket.send_bytes(b"0\r\n\r\n")
        assert not socket.answer().startswith(b"HTTP/1.1 200")


def test_an_unread_answer_in_parts_is_cut(start: Start, ours: str) -> None:
    server = start(ours, answer_seconds=1, keep_alive_seconds=1, close_seconds=1)
    with ask(server, "/parts") as client:
        time.sleep(4)
        assert client.count_bytes() < LARGE


def test_uvicorn_does_not_cut_a_slow_reader_of_an_answer(start: Start) -> None:
    server = start("uvicorn", answer_seconds=1)
    begin = time.monotonic()
    with ask(server, "/parts", "Connection: close\r\n") as client:
        assert client.count_bytes(pause=0.001) >= LARGE
    assert time.monotonic() - begin > 2


@pytest.mark.parametrize("header", ["", "Connection: close\r\n"])
def test_an_unread_answer_of_any_size_does_not_keep_its_connection(start: Start, ours: str, header: str) -> None:
    """Also if only its last kilobytes stay in the server's own buffer, which is below its high-water mark then."""
    server = start(ours, answer_seconds=1, keep_alive_seconds=1, close_seconds=1)
    before = open_sockets(server)
    with ExitStack() as stack:
        for size in range(MEGABYTE // 4, 6 * MEGABYTE, 48 * 1024):
            stack.enter_context(ask(server, f"/large/{size}", header))
        time.sleep(1)
        assert wait_until(lambda: open_sockets(server) == before, seconds=6), open_sockets(server) - before


def open_sockets(server: WebServer) -> int:
    links = []
    for descriptor in Path(f"/proc/{server.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            links.append(str(descriptor.readlink()))
    return sum(link.startswith("socket:") for link in links)


def test_a_ping_after_our_close_frame_is_not_our_failure(start: Start, ours: str) -> None:
    server = start(ours, grace_seconds=1)
    with RawSocket(server.port) as socket:
        server.process.terminate()
        assert socket.receive() == (CLOSE, b"\x03\xf4")  # 1012
        for _ in range(5):
            socket.send(b"late", PING)
            time.sleep(0.02)
        socket.send(b"\x03\xf4", CLOSE)
        assert server.exit_code() == 0
    assert server.failures == []


def test_uvicorn_leaves_the_signals_to_us() -> None:
    from qader.server.uvicorn_server import UvicornServer

    def handlers_inside(server: Any) -> list[Any]:
        with server.capture_signals():
            return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert handlers_inside(UvicornServer.__new__(UvicornServer)) == before
    assert handlers_inside(uvicorn.Server(uvicorn.Config("unused:application"))) != before


def test_plain_autobahn_formats_text_for_a_debug_log_that_is_off(start: Start) -> None:
    server = start("plain")
    with RawSocket(server.port) as socket:
        socket.send("hello")
        assert socket.receive() == (TEXT, b"got 5")
    assert back_pressure.counts(server)["formatted"] > 0


# Override: the test that fails without it, and what that test takes besides `start`.
OVERRIDES: dict[str, tuple[Any, ...]] = {
    "daphne_server.Socket.failByDrop": (limits.test_a_larger_message_closes_with_1009, limits.send_parts, 65537),
    "daphne_server.Socket.autoPingRestartOnAnyTraffic": (
        back_pressure.test_a_client_that_sends_but_never_reads_is_cut,
    ),
    "daphne_server.Socket.onConnect": (
        requests.test_an_invalid_handshake_is_answered_or_cut_at_once,
        "Sec-WebSocket-Protocol: \xff\r\n",
    ),
    "daphne_server.Socket.failHandshake": (test_a_malformed_origin_is_refused_like_any_other,),
    "daphne_server.Socket.connectionMade": (back_pressure.test_data_a_client_does_not_read_is_not_buffered,),
    "daphne_server.Socket.dataReceived": (back_pressure.test_a_client_has_to_wait_while_the_application_is_busy,),
    "daphne_server.Socket.onOpen": (limits.test_bytes_sent_before_acceptance_wait_and_are_not_collected,),
    "daphne_server.Socket.onFrameBegin": (limits.test_a_flood_of_frames_costs_little_and_is_closed, "pings"),
    "daphne_server.Socket.onMessage": (back_pressure.test_frames_after_our_close_frame_are_ignored,),
    "daphne_server.Socket.sendPong": (back_pressure.test_pings_of_a_client_that_does_not_read_are_not_answered,),
    "daphne_server.Socket.onFrameData": (limits.test_a_refused_control_frame_is_not_buffered,),
    "daphne_server.Socket.serverClose": (limits.test_every_close_code_arrives, 1012),
    "daphne_server.Socket.dropConnection": (back_pressure.test_a_client_that_closes_without_reading_is_cut,),
    "daphne_server.Socket.onClose": (test_a_handshake_of_an_unknown_version_is_not_our_failure,),
    "daphne_server.DaphneServer.create_application": (requests.test_a_client_cannot_set_the_root_path,),
    "daphne_server.DaphneServer.handle_reply": (back_pressure.test_data_a_client_does_not_read_is_not_buffered,),
    "daphne_server.DaphneServer.kill_all_applications": (test_sigterm_with_half_a_request_open_is_not_our_failure,),
    "daphne_http.Channel.connectionMade": (requests.test_a_request_that_takes_too_long_is_cut,),
    "daphne_http.Channel.dataReceived": (requests.test_a_request_that_takes_too_long_is_cut,),
    "daphne_http.Channel.allContentReceived": (requests.test_responses_and_idle_time_may_take_longer_than_requests,),
    "daphne_http.Channel.requestDone": (requests.test_a_request_that_takes_too_long_is_cut,),
    "daphne_http.Channel.pauseProducing": (back_pressure.test_unread_answers_are_not_buffered,),
    "daphne_http.Channel.resumeProducing": (back_pressure.test_unread_answers_are_not_buffered,),
    "daphne_http.Request.gotLength": (test_a_body_is_refused_as_soon_as_its_length_is_announced,),
    "daphne_http.Request.handleContentChunk": (test_a_chunked_body_is_refused_where_it_becomes_too_long,),
    "daphne_http.HttpFactory.buildProtocol": (test_a_body_is_refused_as_soon_as_its_length_is_announced,),
    "uvicorn_server.Http.connection_made": (requests.test_a_request_that_takes_too_long_is_cut,),
    "uvicorn_server.Http.data_received": (requests.test_a_socket_outlives_the_request_limit,),
    "uvicorn_server.Http.handle_websocket_upgrade": (
        back_pressure.test_answered_requests_and_open_sockets_are_no_half_sent_requests,
    ),
    "uvicorn_server.Http.pause_writing": (test_an_unread_answer_in_parts_is_cut,),
    "uvicorn_server.Http.resume_writing": (test_uvicorn_does_not_cut_a_slow_reader_of_an_answer,),
    "uvicorn_server.Http.on_response_complete": (
        test_an_unread_answer_of_any_size_does_not_keep_its_connection,
        "Connection: close\r\n",
    ),
    "uvicorn_server.Http.send_400_response": (requests.test_malformed_chunks_behind_an_answer_are_not_our_failure,),
    "uvicorn_requests.Requests.next_event": (requests.test_a_body_in_too_many_chunks_costs_little_and_is_refused,),
    "uvicorn_server.Http.timeout_keep_alive_handler": (
        test_an_unread_answer_of_any_size_does_not_keep_its_connection,
        "",
    ),
    "uvicorn_server.Socket.data_received": (back_pressure.test_a_client_has_to_wait_while_the_application_is_busy,),
    "uvicorn_server.Socket.handle_events": (limits.test_a_flood_of_frames_costs_little_and_is_closed, "pings"),
    "uvicorn_server.Socket.receive": (back_pressure.test_a_client_has_to_wait_while_the_application_is_busy,),
    "uvicorn_server.Socket.send": (back_pressure.test_data_a_client_does_not_read_is_not_buffered,),
    "uvicorn_server.Socket.keepalive_timeout": (back_pressure.test_a_client_that_stopped_reading_is_cut,),
    "uvicorn_server.Socket.handle_ping": (test_a_ping_after_our_close_frame_is_not_our_failure,),
    "uvicorn_server.Socket.handle_close": (back_pressure.test_a_client_that_closes_without_reading_is_cut,),
    "uvicorn_server.Socket.handle_parser_exception": (
        limits.test_a_larger_message_closes_with_1009,
        limits.send_whole,
        5_000_000,
    ),
    "uvicorn_server.Socket.handle_connect": (drain.test_draining_refuses_new_sockets_and_serves_open_ones,),
    "uvicorn_server.UvicornServer.shutdown": (limits.test_a_handshake_under_way_at_sigterm_is_refused,),
}

# These only start our lifecycle, name our class, stop our timers or note the time.
OURS = {
    "daphne_http.HttpFactory.protocol",
    "daphne_http.Channel.connectionLost",
    "uvicorn_server.Http.connection_lost",
    "uvicorn_server.Socket.connection_made",
    "uvicorn_server.Socket.connection_lost",
    "uvicorn_server.UvicornServer.main_loop",
    # In this process: test_uvicorn_leaves_the_signals_to_us.
    "uvicorn_server.UvicornServer.capture_signals",
}
FAILURES = (AssertionError, OSError, subprocess.TimeoutExpired)
LIST_OVERRIDES = """
import importlib

def is_override(owner, attribute):
    options = [*getattr(owner, "CONFIG_ATTRS_COMMON", []), *getattr(owner, "CONFIG_ATTRS_SERVER", [])]
    return attribute in options or any(attribute in vars(base) for base in owner.__mro__[1:])

for name in ("daphne_server", "daphne_http", "uvicorn_server", "uvicorn_requests"):
    module = importlib.import_module(f"qader.server.{name}")
    for owner in vars(module).values():
        if isinstance(owner, type) and owner.__module__ == module.__name__:
            for attribute in vars(owner):
                if not attribute.startswith("__") and is_override(owner, attribute):
                    print(f"{name}.{owner.__name__}.{attribute}")
"""


def fails_without(override: str) -> bool:
    test, *arguments = OVERRIDES[override]
    with ExitStack() as stack:
        running: dict[str, WebServer] = {}

        def start(kind: str, **limits: int) -> WebServer:
            key = json.dumps(limits)
            if key not in running or running[key].process.poll() is not None:
                running[key] = WebServer(command=["tests.e2e.echo", kind, key, override]).start()
                stack.callback(running[key].close)
            return running[key]

        server = [override.partition("_")[0]] if "ours" in inspect.signature(test).parameters else []
        try:
            called = test(start, *server, *arguments)
            if inspect.iscoroutine(called):
                asyncio.run(called)
        except FAILURES:
            return True
    return False


@pytest.fixture(scope="module")
def results() -> dict[str, Future[bool]]:
    """Whether the test of each override fails without it; at the same time, because they mostly wait."""
    with ThreadPoolExecutor(8) as pool:
        return {override: pool.submit(fails_without, override) for override in OVERRIDES}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("override", OVERRIDES)
def test_without_an_override_its_test_fails(results: dict[str, Future[bool]], override: str) -> None:
    assert results[override].result()


def test_each_override_is_in_the_table() -> None:
    listed = subprocess.run([sys.executable, "-c", LIST_OVERRIDES], check=True, capture_output=True, text=True)
    assert set(listed.stdout.split()) == OVERRIDES.keys() | OURS
