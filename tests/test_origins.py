"""Which origins may open a socket: the server's own and trusted ones, compared by scheme, host and port."""

from typing import Any

import pytest
from channels.security.websocket import AllowedHostsOriginValidator
from channels.testing import WebsocketCommunicator

from accounts import tracing
from accounts.addresses import PublicAddress, public_origin
from qader.http.origins import FullOriginValidator, OriginGuard, is_origin
from qader.observability.access_log import AccessLog
from tests.conftest import Lines

ORIGINS = [
    "http://localhost",
    "http://localhost:3000",
    "https://qader.vip",
    "https://qader.vip:443",
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
    "HTTP://localhost",
    "http://LOCALHOST",
    " http://localhost",
]


@pytest.mark.parametrize("text", ORIGINS)
def test_valid_origins_are_recognized(text: str) -> None:
    assert is_origin(text)


@pytest.mark.parametrize("text", NO_ORIGINS)
def test_anything_else_is_no_origin(text: str) -> None:
    assert not is_origin(text)


async def accepting(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})


async def is_accepted(
    *origins: str,
    host: str = "localhost",
    scheme: str = "ws",
    around: Any = lambda application: application,
    application: Any = accepting,
    **headers: str,
) -> bool:
    """Whether a socket with these headers gets through to the application."""
    guarded = OriginGuard(AllowedHostsOriginValidator(FullOriginValidator(application)))
    application = around(PublicAddress(guarded))
    sent = [("host", host), *(("origin", origin) for origin in origins), *headers.items()]
    encoded = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in sent]
    socket = WebsocketCommunicator(application, "/ws/chat/my-conversation/", encoded)
    socket.scope["scheme"] = scheme
    accepted, code = await socket.connect(timeout=5)
    if accepted:
        await socket.disconnect()
    else:
        assert code == 4403
    return accepted


@pytest.fixture(autouse=True)
def _hosts(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["localhost", ".qader.vip", "[::1]"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://app.qader.vip", "http://localhost:3000"]


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        ("http://localhost", "localhost", "ws"),
        ("http://localhost", "LOCALHOST", "ws"),
        ("http://localhost", "localhost:80", "ws"),
        ("http://localhost:8000", "localhost:8000", "ws"),
        ("http://[::1]:8000", "[::1]:8000", "ws"),
        ("https://chat.qader.vip", "chat.qader.vip", "wss"),
        ("https://chat.qader.vip", "chat.qader.vip:443", "wss"),
    ],
)
async def test_the_servers_own_pages_may_connect(origin: str, host: str, scheme: str) -> None:
    assert await is_accepted(origin, host=host, scheme=scheme)


@pytest.mark.parametrize("origin", ["https://app.qader.vip", "http://localhost:3000"])
async def test_pages_of_trusted_origins_may_connect(origin: str) -> None:
    assert await is_accepted(origin, host="chat.qader.vip", scheme="wss")


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://localhost.evil.example",
        "http://xlocalhost",
        "http://localhost:8001",  # another port
        "https://localhost",  # another scheme
        "http://app.qader.vip",
        "https://app.qader.vip:8443",
        "https://other.qader.vip",  # a sibling, whose pages have the cookie
        "https://app.qader.vip.evil.example",
        "https://evil-app.qader.vip",
        "https://xn--pp-gia.qader.vip",
        "http://localhost.",  # another host to a browser, and the same to a resolver
        "http://localhost%00.evil.example",
        "http://*",
        "ws://localhost",
        "file://localhost",
    ],
)
async def test_other_pages_may_not_connect(origin: str) -> None:
    assert not await is_accepted(origin)


async def test_a_rebound_domain_may_not_connect() -> None:
    """DNS rebinding: the origin equals the requested host, but that host is not ours."""
    assert not await is_accepted("http://evil.example", host="evil.example")


@pytest.mark.parametrize("host", ["", "localhost, evil.example", "localhost@evil.example"])
async def test_an_invalid_host_has_no_origin(host: str) -> None:
    assert not await is_accepted("http://localhost", host=host)


def test_two_hosts_have_no_origin() -> None:
    scope = {"scheme": "ws", "headers": [(b"host", b"localhost"), (b"host", b"evil.example")]}
    assert public_origin(scope) is None


async def test_only_a_trusted_proxy_decides_whether_a_request_is_secure(settings: Any) -> None:
    behind = {"host": "chat.qader.vip", "x_forwarded_proto": "https"}
    assert not await is_accepted("https://chat.qader.vip", **behind)
    settings.TRUST_PROXY = 1
    assert await is_accepted("https://chat.qader.vip", **behind)
    assert not await is_accepted("http://chat.qader.vip", **behind)
    assert await is_accepted("http://chat.qader.vip", host="chat.qader.vip", x_forwarded_proto="http")


@pytest.mark.parametrize(
    ("origin", "host", "names"),
    [
        ("https://new.qader.vip", "chat.qader.vip", "CSRF_TRUSTED_ORIGINS"),
        ("https://app.qader.vip:8443", "chat.qader.vip", "CSRF_TRUSTED_ORIGINS"),
        ("https://new.example", "chat.qader.vip", "CSRF_TRUSTED_ORIGINS, ALLOWED_HOSTS"),
        ("https://trusted.example", "chat.qader.vip", "ALLOWED_HOSTS"),
        ("https://chat.qader.vip", "chat.qader.vip", "TRUST_PROXY"),  # it came as ws:// from the proxy
        ("null", "chat.qader.vip", None),
    ],
)
async def test_the_log_line_of_a_refused_origin_names_the_settings(
    settings: Any, lines: Lines, origin: str, host: str, names: str | None
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://app.qader.vip", "https://trusted.example"]
    assert not await is_accepted(origin, host=host, around=AccessLog)
    (line,) = lines()
    assert (line["event"], line["reason"], line.get("settings")) == ("socket refused", "origin", names)


async def refusing(scope: Any, receive: Any, send: Any) -> None:
    """Refuse as the consumer refuses who is not signed in."""
    tracing.trace().refusal = "not_authenticated"
    await receive()
    await send({"type": "websocket.close", "code": 4403})


@pytest.mark.parametrize(
    ("origin", "domain", "cookie", "names"),
    [
        ("https://app.qader.vip", None, "csrftoken=1", "COOKIE_DOMAIN"),
        ("https://app.qader.vip", ".chat.qader.vip", "", "COOKIE_DOMAIN"),
        ("https://app.qader.vip", ".qader.vip", "", None),  # nobody has signed in
        ("https://app.qader.vip", None, "csrftoken=1; sessionid=1", None),  # the session has ended
        ("https://chat.qader.vip", None, "", None),  # our own page
        ("https://chat.qader.vip:3000", None, "", None),  # cookies know no ports
    ],
)
async def test_a_trusted_frontend_whose_cookies_do_not_arrive_is_logged_with_the_setting(  # noqa: PLR0917
    settings: Any, lines: Lines, origin: str, domain: str | None, cookie: str, names: str | None
) -> None:
    settings.SESSION_COOKIE_DOMAIN = domain
    settings.CSRF_TRUSTED_ORIGINS = ["https://app.qader.vip", "https://chat.qader.vip:3000"]
    sent = {"host": "chat.qader.vip", "scheme": "wss", "cookie": cookie}
    assert not await is_accepted(origin, around=AccessLog, application=refusing, **sent)
    (line,) = lines()
    assert (line["reason"], line.get("settings")) == ("not_authenticated", names)


async def test_a_trusted_origin_may_come_with_any_host() -> None:
    for host in ("", "[", "[::1", "localhost:port", "a, b"):
        assert await is_accepted("https://app.qader.vip", host=host)


class AwayLayer:
    """A channel layer whose Redis is away."""

    async def new_channel(self) -> str:
        raise ConnectionError


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:8001", "null"])
async def test_a_refusal_needs_no_channel_layer(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from channels import consumer

    monkeypatch.setattr(consumer, "get_channel_layer", lambda alias: AwayLayer())
    assert not await is_accepted(origin)


@pytest.mark.parametrize("hosts", [["localhost"], ["*"]])
@pytest.mark.parametrize("origins", [(), ("http://localhost", "http://localhost"), *((text,) for text in NO_ORIGINS)])
async def test_an_invalid_origin_is_refused_for_any_allowed_hosts(
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
