"""Which pages may open a socket: those of this server, and of the origins in CSRF_TRUSTED_ORIGINS.

Channels' `AllowedHostsOriginValidator` stands between the two: it compares hosts, but neither scheme nor port.
"""

import re
from typing import Any
from urllib.parse import urlparse, urlsplit

from channels.security.websocket import OriginValidator
from django.conf import settings

from chat.errors import CloseCode
from qader.environment import as_browsers_write

# RFC 6454, 6.2, as browsers write it: scheme, host and perhaps a port, in lower case; no user, no path, no list.
# A host may be an IPv6 address.
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[^\x00-\x20\x7fA-Z\[\]/?#@:,\\]+)(?::[0-9]{1,5})?")

Headers = list[tuple[bytes, bytes]]


def OriginGuard(validator: OriginValidator) -> Any:  # noqa: N802 - stands in a row with AllowedHostsOriginValidator
    """Hand on to `validator` the sockets with exactly one, well-formed Origin that it will let through.

    It raises on some that are malformed. And it refuses by way of the channel layer, without which there would be a
    traceback instead; so it is asked before.
    """

    async def guard(scope: dict[str, Any], receive: Any, send: Any) -> None:
        origin = _only(scope["headers"], b"origin")
        if origin is not None and is_origin(origin) and validator.valid_origin(urlparse(origin)):
            await validator(scope, receive, send)
        else:
            await _refuse(receive, send)

    return guard


def FullOriginValidator(inner: Any) -> Any:  # noqa: N802
    """Let through to `inner` the sockets of this server's own origin and of CSRF_TRUSTED_ORIGINS, to scheme and port.

    As Django's CsrfViewMiddleware does for posts.
    """

    async def validate(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if _only(scope["headers"], b"origin") in (own_origin(scope), *settings.CSRF_TRUSTED_ORIGINS):
            await inner(scope, receive, send)
        else:
            await _refuse(receive, send)

    return validate


def is_origin(text: str) -> bool:
    """Whether this is the origin of a page; "null", which sandboxed pages send, is none."""
    if not ORIGIN.fullmatch(text):
        return False
    try:
        return urlsplit(text).port is None or bool(urlsplit(text).hostname)
    except ValueError:  # a port above 65535, brackets around no address
        return False


def own_origin(scope: dict[str, Any]) -> str | None:
    """Return the origin of the pages that are served under the address that this socket asked for."""
    host = _only(scope["headers"], b"host")
    secure = scope.get("scheme") == "wss"
    if settings.TRUST_PROXY:
        secure = secure or _only(scope["headers"], b"x-forwarded-proto") == "https"
    return as_browsers_write(f"http{'s' if secure else ''}://{host}") if host else None


def _only(headers: Headers, wanted: bytes) -> str | None:
    """Return the value of a header that is there once."""
    values = [value.decode("latin-1") for name, value in headers if name == wanted]
    return values[0] if len(values) == 1 else None


async def _refuse(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.close", "code": CloseCode.NOT_ALLOWED})
