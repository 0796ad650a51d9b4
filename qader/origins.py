"""Keeps what is no origin away from the validator of WebSocket origins, which would raise on it."""

import re
from typing import Any
from urllib.parse import urlsplit

# RFC 6454, 6.2: scheme, host and perhaps a port; no user, no path, no list. A host may be an IPv6 address.
ORIGIN = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[^\x00-\x20\x7f\[\]/?#@:,\\]+)(?::[0-9]{1,5})?", re.IGNORECASE
)


def OriginGuard(inner: Any) -> Any:  # noqa: N802 - stands in a row with AllowedHostsOriginValidator
    """Let through to `inner` the sockets with exactly one, well-formed Origin; refuse others before acceptance."""

    async def guard(scope: dict[str, Any], receive: Any, send: Any) -> None:
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        if len(origins) == 1 and is_origin(origins[0]):
            await inner(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 4403})

    return guard


def is_origin(text: str) -> bool:
    """Whether this is the origin of a page; "null", which sandboxed pages send, is none."""
    if not ORIGIN.fullmatch(text):
        return False
    try:
        return urlsplit(text).port is None or bool(urlsplit(text).hostname)
    except ValueError:  # a port above 65535, brackets around no address
        return False
