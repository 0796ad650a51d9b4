"""The addresses of a request: its client's, and the scheme and host that the client sent it to.

HTTP, sockets, limits and logs all read them here, so a proxy means the same to each of them. `TRUST_PROXY` is the
number of proxies in a row; docs/operations.md lists proxies and what they send.
"""

import logging
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from django.conf import settings
from django.http import HttpRequest

logger = logging.getLogger(__name__)

Scope = Mapping[str, Any]

SECURE = {"http": False, "ws": False, "https": True, "wss": True}
# An IPv6 address in brackets, or an IPv4 one with a port. Proxies that quote write "[2001:db8::1]:4711".
BRACKETS_OR_PORT = re.compile(r"\[(?P<v6>[^\]]*)\](?::\d+)?|(?P<v4>[^:]*):\d+")

_reported: set[str] = set()


def PublicAddress(inner: Any) -> Any:  # noqa: N802 - an ASGI wrapper, named like AuthMiddlewareStack
    """Give `inner` a scope with the scheme and the host that the client used, the host without a default port."""

    async def with_public_address(scope: Scope, receive: Any, send: Any) -> Any:
        if scope["type"] in {"http", "websocket"}:
            scope = _public(scope)
        return await inner(scope, receive, send)

    return with_public_address


def _public(scope: Scope) -> Scope:
    plain = "http" if scope["type"] == "http" else "ws"  # by ASGI, what a missing scheme means
    name = plain + ("s" if is_secure(scope) else "")
    headers, origin = scope["headers"], public_origin(scope)
    if origin is not None:
        host = origin.partition("://")[2].encode("latin-1")
        headers = [(key, host if key == b"host" else value) for key, value in headers]
    if name == scope.get("scheme", plain) and headers == scope["headers"]:
        return scope  # an open socket keeps its scope: a second one would cost it 1.5 kB
    return {**scope, "scheme": name, "headers": headers}


def public_origin(scope: Scope) -> str | None:
    """Return the origin of pages on the scheme and host that the client used; None unless there is one Host header."""
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1 or not hosts[0]:
        return None
    secure = is_secure(scope)
    host = hosts[0].lower().removesuffix(":443" if secure else ":80")
    return f"{'https' if secure else 'http'}://{host}"


def is_secure(scope: Scope) -> bool:
    """Whether the client used TLS; behind trusted proxies, the first entry of X-Forwarded-Proto decides."""
    own = SECURE.get(scope.get("scheme", ""), False)
    given = _entries(scope, "X-Forwarded-Proto") if settings.TRUST_PROXY else []
    if not given:
        return own
    if given[0].lower() not in SECURE:
        _report("X-Forwarded-Proto", given[0])
    return SECURE.get(given[0].lower(), own)


def client_address(asked: HttpRequest | Scope) -> str:
    """Return the client's address; for IPv6 its /64 network, because one customer usually has all of it.

    Behind one trusted proxy it is X-Real-IP, or without it the last entry of X-Forwarded-For; behind several, that many
    from the right of X-Forwarded-For, because clients can forge what stands further left. "unknown" for other text,
    e.g. from a Unix socket.
    """
    text, source = _client(asked)
    address = parse_address(text)
    if address is None and settings.TRUST_PROXY:
        _report(source, text)
    if isinstance(address, IPv6Address):
        address = ip_network((int(address), 64), strict=False).network_address
    return str(address) if address else "unknown"


def _client(asked: HttpRequest | Scope) -> tuple[str, str]:
    """Return the text that names the client, and where it is from."""
    if settings.TRUST_PROXY == 1 and (real := _entries(asked, "X-Real-IP")):
        return real[0], "X-Real-IP"
    if settings.TRUST_PROXY:
        passed = _entries(asked, "X-Forwarded-For")
        if len(passed) < settings.TRUST_PROXY:
            _report("X-Forwarded-For", ", ".join(passed))
        if passed:
            return passed[-min(settings.TRUST_PROXY, len(passed))], "X-Forwarded-For"
    if isinstance(asked, HttpRequest):
        return asked.META.get("REMOTE_ADDR", ""), "peer"
    return (asked.get("client") or ("",))[0], "peer"


def _entries(asked: HttpRequest | Scope, name: str) -> list[str]:
    """Return the entries of a header that is a list, one that is sent several times included."""
    if isinstance(asked, HttpRequest):
        text = asked.headers.get(name, "")
    else:
        key = name.lower().encode()
        text = ",".join(value.decode("latin-1") for header, value in asked["headers"] if header == key)
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address, without brackets and port, an IPv4 one for an IPv4-mapped IPv6 one; None for other text."""
    text = text.strip().strip('"')
    if match := BRACKETS_OR_PORT.fullmatch(text):
        text = match["v6"] if match["v6"] is not None else match["v4"]
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed


def _report(source: str, text: str) -> None:
    """Log, once for each source in a process, what should be wrong with the configuration of a proxy."""
    if source not in _reported:
        _reported.add(source)
        logger.warning("a proxy's headers cannot be read", extra={"fields": {"header": source, "value": text[:100]}})
