"""The client's address, and the scheme and host of a request: the same for HTTP and sockets behind any proxies."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from asgiref.testing import ApplicationCommunicator
from channels.security.websocket import AllowedHostsOriginValidator
from channels.testing import WebsocketCommunicator
from django.test import Client

from accounts import addresses
from accounts.addresses import PublicAddress, client_address
from qader.http.origins import FullOriginValidator, OriginGuard
from qader.observability.access_log import AccessLog
from tests.conftest import Lines
from tests.people import PASSWORD, People

V6 = "2001:db8:1:2::"


@pytest.fixture(autouse=True)
def _hosts(settings: Any) -> Iterator[None]:
    settings.ALLOWED_HOSTS = ["localhost", "chat.qader.vip", "[::1]", "testserver"]
    addresses._reported.clear()
    yield
    addresses._reported.clear()


def scope_of(peer: str, headers: list[tuple[str, str]]) -> dict[str, Any]:
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return {"type": "websocket", "scheme": "ws", "client": (peer, 1) if peer else None, "headers": encoded}


@pytest.mark.parametrize(
    ("proxies", "headers", "address"),
    [
        (0, {}, "192.0.2.1"),
        (0, {"X-Real-IP": "203.0.113.9", "X-Forwarded-For": "203.0.113.9"}, "192.0.2.1"),
        (1, {}, "192.0.2.1"),
        (1, {"X-Real-IP": "203.0.113.9"}, "203.0.113.9"),
        (1, {"X-Real-IP": "203.0.113.9", "X-Forwarded-For": "198.51.100.7"}, "203.0.113.9"),
        (1, {"X-Real-IP": " 198.51.100.7:4711 "}, "198.51.100.7"),
        (1, {"X-Real-IP": "[2001:db8:1:2::3]:4711"}, V6),
        (1, {"X-Real-IP": "[2001:db8:1:2::3]"}, V6),
        (1, {"X-Real-IP": "2001:db8:1:2:aaaa::1"}, V6),
        (1, {"X-Real-IP": '"[2001:db8:1:2::3]:4711"'}, V6),
        (1, {"X-Real-IP": "::ffff:203.0.113.9"}, "203.0.113.9"),
        (1, {"X-Real-IP": "[::ffff:203.0.113.9]:80"}, "203.0.113.9"),
        (1, {"X-Real-IP": "fe80::1%eth0"}, "fe80::"),
        (1, {"X-Real-IP": "203.0.113.9, 198.51.100.7"}, "203.0.113.9"),
        (1, {"X-Real-IP": "", "X-Forwarded-For": "203.0.113.9"}, "203.0.113.9"),
        (1, {"X-Forwarded-For": "203.0.113.9"}, "203.0.113.9"),
        (1, {"X-Forwarded-For": "6.6.6.6, 203.0.113.9:5"}, "203.0.113.9"),
        (1, {"X-Forwarded-For": "6.6.6.6, 203.0.113.9, "}, "203.0.113.9"),
        (2, {"X-Real-IP": "10.0.0.1", "X-Forwarded-For": "6.6.6.6, 203.0.113.9, 10.0.0.1"}, "203.0.113.9"),
        (2, {"X-Forwarded-For": "6.6.6.6,[2001:db8:1:2::3]:4711,10.0.0.1:80"}, V6),
        (2, {"X-Forwarded-For": "203.0.113.9"}, "203.0.113.9"),
        (3, {"X-Forwarded-For": "6.6.6.6, 203.0.113.9, 10.0.0.1, 10.0.0.2"}, "203.0.113.9"),
        (1, {"X-Real-IP": "nonsense"}, "unknown"),
        (1, {"X-Real-IP": "\xff"}, "unknown"),
        (1, {"X-Real-IP": "010.0.0.1"}, "unknown"),
        (2, {"X-Forwarded-For": "6.6.6.6, unix:, 10.0.0.1"}, "unknown"),
    ],
)
def test_the_clients_address_is_what_the_trusted_proxies_say(
    rf: Any, settings: Any, proxies: int, headers: dict[str, str], address: str
) -> None:
    settings.TRUST_PROXY = proxies
    assert client_address(rf.get("/", REMOTE_ADDR="192.0.2.1", headers=headers)) == address
    assert client_address(scope_of("192.0.2.1", list(headers.items()))) == address


@pytest.mark.parametrize(
    ("peer", "address"), [("2001:db8:1:2:aaaa::1", V6), ("::ffff:192.0.2.1", "192.0.2.1"), ("", "unknown")]
)
def test_without_a_proxy_the_clients_address_is_the_peers(rf: Any, peer: str, address: str) -> None:
    assert client_address(rf.get("/", REMOTE_ADDR=peer)) == address
    assert client_address(scope_of(peer, [])) == address


def test_a_header_that_is_sent_twice_is_one_list(settings: Any) -> None:
    settings.TRUST_PROXY = 2
    twice = scope_of("192.0.2.1", [("X-Forwarded-For", "6.6.6.6, 203.0.113.9"), ("X-Forwarded-For", "10.0.0.1")])
    assert client_address(twice) == "203.0.113.9"


def test_what_cannot_be_read_is_logged_once(rf: Any, settings: Any, lines: Lines) -> None:
    settings.TRUST_PROXY = 1
    for _ in range(3):
        client_address(rf.get("/", headers={"X-Real-IP": "unix:/run/x"}))
        client_address(rf.get("/"))
        addresses.is_secure(scope_of("", [("X-Forwarded-Proto", "quic")]))
    event = "a proxy's headers cannot be read"
    assert [(line["level"], line["event"], line["header"], line["value"]) for line in lines()] == [
        ("WARNING", event, "X-Real-IP", "unix:/run/x"),
        ("WARNING", event, "X-Forwarded-For", ""),
        ("WARNING", event, "X-Forwarded-Proto", "quic"),
    ]


# What each proxy of docs/operations.md sends for a client at 198.51.100.7 that asks https://chat.qader.vip.
PROXIES = {
    "Caddy": (1, {"X-Real-IP": "198.51.100.7", "X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "https"}),
    "Traefik": (1, {"X-Real-IP": "198.51.100.7", "X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "wss"}),
    "Next.js behind nginx": (1, {"X-Real-IP": "198.51.100.7", "X-Forwarded-Proto": "https"}),
    "nginx behind Caddy": (
        2,
        {"X-Real-IP": "10.0.0.1", "X-Forwarded-For": "6.6.6.6, 198.51.100.7, 10.0.0.1", "X-Forwarded-Proto": "https"},
    ),
    "Traefik behind a load balancer": (
        2,
        {"X-Real-IP": "10.0.0.1", "X-Forwarded-For": "198.51.100.7:4711, 10.0.0.1", "X-Forwarded-Proto": "https, wss"},
    ),
}


@pytest.mark.parametrize("proxy", PROXIES)
def test_each_proxy_of_the_documentation_is_understood(settings: Any, proxy: str) -> None:
    settings.TRUST_PROXY, headers = PROXIES[proxy]
    asked = scope_of("10.0.0.2", [("Host", "chat.qader.vip"), *headers.items()])
    assert (client_address(asked), addresses.public_origin(asked)) == ("198.51.100.7", "https://chat.qader.vip")


async def http_address(headers: list[tuple[bytes, bytes]]) -> str:
    """The scheme and host of a request, as an answer has them: the address of the sockets in the AsyncAPI document."""
    from qader.asgi import application

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/api/asyncapi.yaml",
        "query_string": b"",
        "headers": headers,
    }
    exchange = ApplicationCommunicator(application, scope)
    await exchange.send_input({"type": "http.request", "body": b""})
    assert (await exchange.receive_output(5))["status"] == 200
    server = yaml.safe_load((await exchange.receive_output(5))["body"])["servers"]["this"]
    await exchange.wait()
    return f"{server['protocol']}://{server['host']}"


async def accepting(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})


async def socket_accepts(origin: str, headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a socket with this Origin gets through the checks of origins; they read the settings when made."""
    checks = OriginGuard(AllowedHostsOriginValidator(FullOriginValidator(accepting)))
    path = "/ws/chat/my-conversation/"
    socket = WebsocketCommunicator(AccessLog(PublicAddress(checks)), path, [*headers, (b"origin", origin.encode())])
    accepted, code = await socket.connect(5)
    await socket.disconnect()
    assert accepted or code == 4403
    return bool(accepted)


@pytest.mark.parametrize(
    ("proto", "host", "origin"),
    [
        (["https"], "chat.qader.vip", "https://chat.qader.vip"),
        (["wss"], "chat.qader.vip", "https://chat.qader.vip"),
        (["HTTPS"], "Chat.Qader.VIP", "https://chat.qader.vip"),
        (["https,http"], "chat.qader.vip", "https://chat.qader.vip"),
        ([" https , https"], "chat.qader.vip:443", "https://chat.qader.vip"),
        (["https", "http"], "chat.qader.vip", "https://chat.qader.vip"),
        (["wss", "ws"], "chat.qader.vip:8443", "https://chat.qader.vip:8443"),
        (["http,https"], "chat.qader.vip", "http://chat.qader.vip"),
        (["ws"], "chat.qader.vip:80", "http://chat.qader.vip"),
        (["nonsense"], "chat.qader.vip", "http://chat.qader.vip"),
        ([""], "[::1]:8000", "http://[::1]:8000"),
        ([], "localhost", "http://localhost"),
    ],
)
@pytest.mark.django_db(transaction=True)
async def test_http_and_sockets_have_the_same_scheme_and_host(
    settings: Any, proto: list[str], host: str, origin: str
) -> None:
    settings.TRUST_PROXY = 1
    headers = [(b"host", host.encode()), *((b"x-forwarded-proto", one.encode()) for one in proto)]
    assert (await http_address(headers)).replace("ws", "http", 1) == origin
    assert await socket_accepts(origin, headers)
    other = origin.replace("https:", "http:") if origin.startswith("https") else origin.replace("http:", "https:")
    assert not await socket_accepts(other, headers)


@pytest.mark.django_db(transaction=True)
async def test_without_trusted_proxies_their_headers_mean_nothing(settings: Any) -> None:
    headers = [(b"host", b"localhost"), (b"x-forwarded-proto", b"https")]
    assert await http_address(headers) == "ws://localhost"
    assert await socket_accepts("http://localhost", headers)


async def test_the_log_line_of_a_refused_socket_says_what_was_compared(settings: Any, lines: Lines) -> None:
    settings.TRUST_PROXY = 1
    headers = [(b"host", b"chat.qader.vip"), (b"x-forwarded-proto", b"http")]
    assert not await socket_accepts("https://chat.qader.vip", headers)
    line = lines()[0]
    assert (line["event"], line["reason"]) == ("socket refused", "origin")
    assert (line["origin"], line["own"]) == ("https://chat.qader.vip", "http://chat.qader.vip")
    assert line["settings"] == "TRUST_PROXY"


def test_failed_log_ins_count_for_the_address_that_the_proxy_names(people: People, settings: Any) -> None:
    settings.TRUST_PROXY, settings.LOGIN_LIMIT_ADDRESS, settings.LOGIN_LIMIT_ACCOUNT = 1, 2, 1

    def status(address: str, password: str = "wrong") -> int:
        body = {"username": "student", "password": password}
        headers = {"X-Real-IP": address}
        return Client().post("/api/v1/auth/login/", body, "application/json", headers=headers).status_code

    assert [status(f"198.51.100.7:{port}") for port in (4711, 4712)] == [400, 429]
    assert status("198.51.100.8:4711", PASSWORD) == 200
