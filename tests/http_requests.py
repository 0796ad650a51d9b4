"""HTTP requests to the whole ASGI application, as a server passes them on."""

import json
from typing import Any

from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator

from accounts.models import User
from tests.contract import answers
from tests.people import session_cookie

TOKEN = "t" * 32
Scope = dict[str, Any]


async def request_of(user: User | None, path: str, content_type: str, length: int, *, chunked: bool) -> Scope:
    """Return a POST of this user, with a Content-Length or in chunks."""
    cookie = f"csrftoken={TOKEN}"
    if user is not None:
        cookie += f"; sessionid={await sync_to_async(session_cookie)(user)}"
    size = (b"transfer-encoding", b"chunked") if chunked else (b"content-length", str(length).encode())
    kind = (b"content-type", content_type.encode("latin-1"))
    return scope("POST", path, [(b"cookie", cookie.encode()), (b"x-csrftoken", TOKEN.encode()), kind, size])


def scope(method: str, path: str, headers: list[tuple[bytes, bytes]], query: bytes = b"") -> Scope:
    """Return a request, to localhost unless the headers have another Host."""
    named = any(name == b"host" for name, _ in headers)
    return {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "headers": headers if named else [(b"host", b"localhost"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


async def send_in_parts(request: Scope, parts: list[bytes]) -> tuple[int, Any]:
    """Send a request whose body comes in these parts; return the status and the JSON of the documented answer."""
    status, headers, content = await exchange(request, parts)
    answers().check(request["method"], request["path"], status, headers, content)
    return status, json.loads(content)


async def exchange(request: Scope, parts: list[bytes]) -> tuple[int, dict[str, str], bytes]:
    """Send a request whose body comes in these parts; return status, headers and content of the answer."""
    from qader.asgi import application

    asked = ApplicationCommunicator(application, request)
    for number, part in enumerate(parts, 1):
        await asked.send_input({"type": "http.request", "body": part, "more_body": number < len(parts)})
    start = await asked.receive_output(5)
    content, more = b"", True
    while more:
        message = await asked.receive_output(5)
        content, more = content + message.get("body", b""), message.get("more_body", False)
    await asked.wait()
    headers = {name.decode().title(): value.decode("latin-1") for name, value in start["headers"]}
    return start["status"], headers, content
