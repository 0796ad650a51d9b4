"""Requests that two servers in a row may read differently, through the shipped proxies: one never becomes two."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import httpx
import pytest

from tests.debian import program
from tests.e2e.caddy import Proxy, proxy
from tests.e2e.nginx import Nginx, nginx
from tests.e2e.server import WebServer
from tests.websocket_client import RawSocket

HIDDEN = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
ENDED = f"0\r\n\r\n{HIDDEN}"  # for a server that reads chunks, the body ends before it
CHUNK = f"{len(HIDDEN):x}\r\n{HIDDEN}\r\n0\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
UPGRADE = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
CLAIMED = "198.51.100.9"


def length(body: str) -> str:
    return f"Content-Length: {len(body)}\r\n"


# What comes behind "Host", and the body.
TRICKS = {
    "length and chunks": (length(ENDED) + CHUNKED, ENDED),
    "chunks and length": (f"{CHUNKED}Content-Length: 4\r\n", CHUNK),
    "no length": ("Content-Length: 0\r\n", HIDDEN),
    "two lengths": (length(HIDDEN) + "Content-Length: 0\r\n", HIDDEN),
    "two lengths, the shorter first": ("Content-Length: 0\r\n" + length(HIDDEN), HIDDEN),
    "two lengths in one": (f"Content-Length: 0, {len(HIDDEN)}\r\n", HIDDEN),
    "a length with a sign": (f"Content-Length: +{len(HIDDEN)}\r\n", HIDDEN),
    "a length with an underscore": (f"Content_Length: {len(HIDDEN)}\r\n", HIDDEN),
    "a length with a space": (f"Content-Length : {len(HIDDEN)}\r\n", HIDDEN),
    "chunks with extensions": (CHUNKED, f"1;a=b\r\na\r\n0;{HIDDEN[:-4]}\r\n\r\n"),
    "an extension with a bare LF": (CHUNKED, f"2;\nxx\r\n{len(HIDDEN) + 7:x}\r\n0\r\n\r\n{HIDDEN}\r\n0\r\n\r\n"),
    "a size with a bare LF": (CHUNKED, f"1\na\r\n0\n\r\n{HIDDEN}"),
    "a chunk with a bare LF": (CHUNKED, f"1\r\na\n0\r\n\r\n{HIDDEN}"),
    "a size with a sign": (CHUNKED, f"+1\r\na\r\n0\r\n\r\n{HIDDEN}"),
    "a size in hexadecimal": (CHUNKED, f"0x1\r\na\r\n0\r\n\r\n{HIDDEN}"),
    "a size with an underscore": (CHUNKED, f"1_0\r\na\r\n0\r\n\r\n{HIDDEN}"),
    "a trailer": (CHUNKED, f"0\r\nContent-Length: {len(HIDDEN)}\r\n\r\n{HIDDEN}"),
    "an upgrade with a body": (f"{UPGRADE}Connection: upgrade\r\n" + length(HIDDEN), HIDDEN),
    "an upgrade that fails": (f"Upgrade: websocket\r\nConnection: upgrade\r\n{length(HIDDEN)}", HIDDEN),
    "an upgrade to HTTP/2": (
        f"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n{length(HIDDEN)}",
        HIDDEN,
    ),
    "Expect": (f"Expect: 100-continue\r\n{length(HIDDEN)}", HIDDEN),
    "a length that is no header of this connection": (f"Connection: Content-Length\r\n{length(HIDDEN)}", HIDDEN),
} | {
    f"chunks as {odd!r}": (length(ENDED) + odd, ENDED)
    for odd in (
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\tchunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding\r\n : chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: x\nTransfer-Encoding: chunked\r\n",
        "X: x\rTransfer-Encoding: chunked\r\n",
        "Transfer_Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
        'Transfer-Encoding: "chunked"\r\n',
        "Transfer-Encoding: chunked\0\r\n",
    )
}


@dataclass
class Row:
    """A proxy and the server behind it."""

    front: Proxy | Nginx
    server: WebServer

    def send(self, trick: str, method: str = "POST", path: str = "/early") -> bytes:
        """All that the client gets; it says that this is its last request."""
        headers, body = TRICKS[trick]
        closing = "" if "Connection" in headers else "Connection: close\r\n"
        text = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{closing}{headers}\r\n{body}"
        with RawSocket(self.front.port, handshake=text.replace("{", "{{"), wait=False, seconds=3) as client:
            with suppress(TimeoutError):
                return client.read_to_end()
            return client.head

    def ask(self, path: str, **headers: str) -> dict[str, str]:
        """The headers that the server was asked with, and the path."""
        with self.front.client() as http:
            http.headers.clear()
            found: dict[str, str] = json.loads(http.get(path, headers=headers).content)
            return found


@pytest.fixture(scope="module", params=["caddy", "nginx"])
def row(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Row]]:
    """By the kind of the server."""
    if request.param == "nginx" and program("nginx", "nginx") is None:
        pytest.skip("needs nginx, or apt-get to download it with")
    with ExitStack() as stack:
        rows = {}
        for kind in ("daphne", "uvicorn"):
            server = WebServer(command=["tests.e2e.echo", kind, "{}"]).start()
            stack.callback(server.close)
            folder = tmp_path_factory.mktemp(request.param)
            if request.param == "nginx":
                rows[kind] = Row(stack.enter_context(nginx(server.port, folder=folder, tls=False)), server)
            else:
                rows[kind] = Row(stack.enter_context(proxy(server.port, folder=folder)), server)
        yield rows


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_one_request_never_becomes_two(row: dict[str, Row], ours: str, method: str) -> None:
    """Nor do the answers of those who come after it on the proxy's connection shift by one."""
    with ThreadPoolExecutor(len(TRICKS)) as threads:
        answers = dict(zip(TRICKS, threads.map(lambda trick: row[ours].send(trick, method), TRICKS), strict=True))
    final = {trick: len(re.findall(rb"HTTP/1\.1 [2-5]", answer)) for trick, answer in answers.items()}
    assert {trick: number for trick, number in final.items() if number > 1} == {}
    for number in range(40):
        assert row[ours].ask(f"/headers/{number}")["path"] == f"/headers/{number}"
    assert httpx.get(f"{row[ours].server.url}/", trust_env=False).json()["smuggled"] == 0
    assert row[ours].server.failures == []


@pytest.mark.parametrize("connection", ["close", "close, X-Real-IP, X-Forwarded-Proto, X-Forwarded-For"])
def test_what_a_client_claims_of_itself_is_not_passed_on(row: dict[str, Row], ours: str, connection: str) -> None:
    """Also where it calls them headers of the connection, which a proxy removes, or writes them with underscores."""
    names = ["X-Real-IP", "X-Forwarded-For", "X-Forwarded-Proto", "X-Request-ID"]
    claims = dict.fromkeys([*names, *(name.replace("-", "_") for name in names)], CLAIMED)
    seen = row[ours].ask("/headers", Connection=connection, **claims)
    read = {name: value for name, value in seen.items() if name.replace("_", "-") in map(str.lower, names)}
    assert seen["x-real-ip"] == "127.0.0.1"
    assert CLAIMED not in str(read)
