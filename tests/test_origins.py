"""Which pages may open a socket: whatever is no origin at all is refused before it can raise."""

from typing import Any

import pytest
from channels.security.websocket import AllowedHostsOriginValidator
from channels.testing import WebsocketCommunicator

from qader.origins import OriginGuard, is_origin

ORIGINS = [
    "http://localhost",
    "http://localhost:3000",
    "https://qader.vip",
    "HTTPS://Qader.VIP:443",
    "https://xn--mgbh0fb.example",
    "http://127.0.0.1:8000",
    "http://[::1]:8000",
    "capacitor://localhost",
]
NO_ORIGINS = [
    "",
    "null",
    "localhost",
    "//localhost",
    "http://",
    "http:localhost",
    "http://[x",
    "http://[x]",
    "http://[::1",
    "http://[::g]",
    "http://localhost:port:x",
    "http://localhost:port",
    "http://localhost:99999",
    "http://localhost:",
    "http://localhost/",
    "http://localhost/path",
    "http://localhost?query",
    "http://localhost#fragment",
    "http://user@localhost",
    "http://evil.example\\@localhost",
    "http://localhost, http://evil.example",
    "http://localhost http://evil.example",
    "http://localhost\x00",
    "http://localhost\n",
    "ht tp://localhost",
    "\u00ff://localhost",
]


@pytest.mark.parametrize("text", ORIGINS)
def test_origins_are_taken_for_such(text: str) -> None:
    assert is_origin(text)


@pytest.mark.parametrize("text", NO_ORIGINS)
def test_nothing_else_is(text: str) -> None:
    assert not is_origin(text)


async def accepting(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})


async def is_accepted(*origins: str) -> bool:
    application = OriginGuard(AllowedHostsOriginValidator(accepting))
    headers = [(b"host", b"localhost")] + [(b"origin", origin.encode("latin-1")) for origin in origins]
    socket = WebsocketCommunicator(application, "/ws/chat/my-conversation/", headers)
    accepted, _ = await socket.connect(timeout=5)
    if accepted:
        await socket.disconnect()
    return accepted


@pytest.mark.parametrize("origin", ["http://localhost", "http://localhost:3000", "https://LOCALHOST"])
async def test_pages_of_allowed_hosts_may_connect(settings: Any, origin: str) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]
    assert await is_accepted(origin)


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost.evil.example", "http://xlocalhost"])
async def test_other_pages_may_not(settings: Any, origin: str) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]
    assert not await is_accepted(origin)


@pytest.mark.parametrize("hosts", [["localhost"], ["*"]])
@pytest.mark.parametrize("origins", [(), ("http://localhost", "http://localhost"), *((text,) for text in NO_ORIGINS)])
async def test_what_is_no_origin_is_refused_whatever_hosts_are_allowed(
    settings: Any, hosts: list[str], origins: tuple[str, ...]
) -> None:
    settings.ALLOWED_HOSTS = hosts
    assert not await is_accepted(*origins)


async def test_without_the_guard_the_validator_raises_or_lets_pass(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]
    passed: list[Any] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope)

    for origin in ("http://localhost:port:x", "http://[x"):
        scope = {"type": "websocket", "headers": [(b"origin", origin.encode())]}
        try:
            await AllowedHostsOriginValidator(inner)(scope, None, None)
        except ValueError:
            passed.append(scope)
    assert len(passed) == 2
