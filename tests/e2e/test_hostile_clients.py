"""Clients that send what no application sees, as fast as they can, through the proxy too: others hardly notice."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.caddy import proxy
from tests.e2e.cluster import Cluster, Databases, Pair, Person
from tests.e2e.server import Reachable, WebServer
from tests.websocket_client import RawSocket
from tests.websocket_client.frames import CONTINUATION, HANDSHAKE, NO_MASK, PING, TEXT, frame

pytestmark = [pytest.mark.proof, pytest.mark.quiet]

SECONDS, SOCKETS = 5, 10
SLOWER = 5.0  # how many times as long the others' p99 may be, and
LATE = 0.1  # s, which no one notices
SHARE = 0.5  # of a core, for what the server does meanwhile; without the limits it is all of it
# What is sent first, and then again and again.
FLOODS = {
    "empty fragments": (frame(b'{"message":"', fin=False), frame(b"", CONTINUATION, fin=False, mask=NO_MASK)),
    "pings": (b"", frame(b"", PING, mask=NO_MASK)),
    "tiny messages": (b"", frame(b"x", TEXT, mask=NO_MASK)),
    # Not through the proxy, which needs the second of two cores to pass on single bytes.
    "a message byte by byte": (frame(b"", size=60_000, mask=NO_MASK), b""),
}


def connect(url: str, person: Person) -> RawSocket:
    host = url.partition("//")[2]
    headers = {"Cookie": person.cookie, "Origin": url}
    port = int(host.partition(":")[2])
    return RawSocket(port, f"/ws/chat/{person.path}", headers=headers, handshake=HANDSHAKE.replace("{host}", host))


def flood(url: str, person: Person, name: str) -> None:
    """Send for so long, without reading, from a process of its own, which leaves the server a core."""
    os.nice(19)
    first, repeated = FLOODS[name]
    end = time.monotonic() + SECONDS
    with connect(url, person) as socket, suppress(OSError):
        socket.send_bytes(first)
        while time.monotonic() < end:
            socket.send_bytes(repeated * 10_000 or b"a")


def p99(url: str, person: Person) -> float:
    """Return the p99 of the seconds that a ping takes, over twice the time of a flood, and open the socket before."""
    found = []
    with connect(url, person) as socket:
        end = time.monotonic() + 2 * SECONDS
        while time.monotonic() < end:
            begin = time.monotonic()
            socket.send('{"type": "ping"}')
            while (socket.receive() or (0, b""))[1] != b'{"type":"pong"}':
                pass
            found.append(time.monotonic() - begin)
            time.sleep(0.06)  # below the limit of such frames
    return sorted(found)[len(found) * 99 // 100]


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def server(request: pytest.FixtureRequest, databases: Databases) -> Iterator[tuple[WebServer, list[Pair]]]:
    cluster = Cluster(databases.create(), None)
    pairs = cluster.make_pairs(1 + 2 * len(FLOODS))
    yield cluster.start(request.param), pairs
    cluster.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["directly", "through the proxy"])
def test_floods_of_frames_delay_nobody(server: tuple[WebServer, list[Pair]], way: str, tmp_path: Path) -> None:
    web, (other, *pairs) = server
    if way == "directly":
        return floods_delay_nobody(web, web, other.student, pairs[: len(FLOODS)])
    with proxy(web.port, folder=tmp_path) as front:
        floods_delay_nobody(web, front, other.student, pairs[len(FLOODS) : -1])


def floods_delay_nobody(web: WebServer, front: Reachable, other: Person, pairs: list[Pair]) -> None:
    quiet = p99(front.url, other)
    for name, pair in zip(FLOODS, pairs, strict=False):
        spent = web.processor_seconds
        arguments = front.url, pair.student, name
        processes = [multiprocessing.Process(target=flood, args=arguments) for _ in range(SOCKETS)]
        for process in processes:
            process.start()
        meanwhile = p99(front.url, other)
        for process in processes:
            process.join()
        assert meanwhile < max(SLOWER * quiet, LATE), (name, meanwhile, quiet)
        assert web.processor_seconds - spent < SHARE * SECONDS, name
    assert web.failures == []
