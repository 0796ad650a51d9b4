"""Which pages may open a socket: those of this server and of CSRF_TRUSTED_ORIGINS.

`OriginGuard` and `FullOriginValidator` complete Channels' `AllowedHostsOriginValidator`, which compares only hosts,
not schemes and ports.
"""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlparse, urlsplit

from channels.security.websocket import OriginValidator
from django.conf import settings

from accounts import tracing
from accounts.addresses import public_origin
from chat.errors import CloseCode
from qader.http.asgi import single_header

LOGGED_LENGTH = 300  # characters of an origin; a host name has at most 253

# RFC 6454, section 6.2, as browsers write it: scheme, host and optional port in lower case. No user, path or list.
# The host may be an IPv6 address.
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[^\x00-\x20\x7fA-Z\[\]/?#@:,\\]+)(?::[0-9]{1,5})?")


def OriginGuard(validator: OriginValidator) -> Any:  # noqa: N802 - named like AllowedHostsOriginValidator
    """Pass on to `validator` only sockets with exactly one well-formed Origin that it accepts.

    The validator raises for some malformed origins. Its own refusal needs the channel layer, and without Redis it would
    be a traceback; so we ask `valid_origin` first and refuse ourselves.
    """

    async def guard(scope: dict[str, Any], receive: Any, send: Any) -> None:
        origin = single_header(scope, b"origin")
        if origin is not None and is_origin(origin) and validator.valid_origin(urlparse(origin)):
            await validator.application(scope, receive, send)  # it would only ask once more
        else:
            await _refuse(scope, receive, send, host_allowed=False)

    return guard


def FullOriginValidator(inner: Any) -> Any:  # noqa: N802
    """Pass on sockets of this server's own origin and of CSRF_TRUSTED_ORIGINS; scheme and port must match, too.

    The same rule as Django's CsrfViewMiddleware for POST.
    """

    async def validate(scope: dict[str, Any], receive: Any, send: Any) -> None:
        origin, own = single_header(scope, b"origin") or "", public_origin(scope) or ""
        if origin in (own, *settings.CSRF_TRUSTED_ORIGINS):
            if not _shares_cookies(origin, own) and not _has_session_cookie(scope):
                tracing.trace().refused["settings"] = "COOKIE_DOMAIN"  # logged if nobody is signed in
            await inner(scope, receive, send)
        else:
            await _refuse(scope, receive, send, host_allowed=True)

    return validate


def is_origin(text: str) -> bool:
    """Whether this is a well-formed origin. "null", which sandboxed pages send, is not."""
    if not ORIGIN.fullmatch(text):
        return False
    try:
        return urlsplit(text).port is None or bool(urlsplit(text).hostname)
    except ValueError:  # a port above 65535, or no address in the brackets
        return False


def _shares_cookies(*origins: str) -> bool:
    """Whether the browser sends a cookie that one of these origins has set to the other."""
    hosts = {re.sub(r":\d+$", "", origin.partition("://")[2]) for origin in origins}
    domain = (settings.SESSION_COOKIE_DOMAIN or "").removeprefix(".")
    return len(hosts) == 1 or (domain != "" and all(f".{host}".endswith(f".{domain}") for host in hosts))


def _has_session_cookie(scope: dict[str, Any]) -> bool:
    name = f"{settings.SESSION_COOKIE_NAME}=".encode()
    return any(name in value for header, value in scope["headers"] if header == b"cookie")


async def _refuse(scope: dict[str, Any], receive: Any, send: Any, *, host_allowed: bool) -> None:
    """Close the socket. Note for its log line what was compared, and the settings that would let the origin in."""
    origin, own = single_header(scope, b"origin") or "", public_origin(scope) or ""
    noted = {"origin": origin[:LOGGED_LENGTH], "own": own[:LOGGED_LENGTH]}
    if is_origin(origin):
        noted["settings"] = ", ".join(_missing_in(origin, own, host_allowed))
    tracing.trace().refused |= noted
    await receive()
    await send({"type": "websocket.close", "code": CloseCode.NOT_ALLOWED})


def _missing_in(origin: str, own: str, host_allowed: bool) -> Iterator[str]:
    if origin.partition("://")[2] == own.partition("://")[2]:
        if origin != own:
            yield "TRUST_PROXY"  # the page is our own: a proxy told the browser's scheme, and we did not believe it
    elif origin not in settings.CSRF_TRUSTED_ORIGINS:
        yield "CSRF_TRUSTED_ORIGINS"
    if not host_allowed:
        yield "ALLOWED_HOSTS"
