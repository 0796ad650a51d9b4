"""Two helpers for ASGI wrappers: read one header of a scope, send a JSON answer."""

from typing import Any

Headers = list[tuple[bytes, bytes]]


def single_header(scope: dict[str, Any], name: bytes) -> str | None:
    """Return the value of a header, or None if it is missing or there is more than one."""
    values: list[bytes] = [value for key, value in scope["headers"] if key == name]
    return values[0].decode("latin-1") if len(values) == 1 else None


async def send_json(send: Any, status: int, body: bytes, headers: Headers) -> None:
    """Send a complete answer with this JSON text."""
    headers = [(b"content-type", b"application/json"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
