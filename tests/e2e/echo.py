"""A small ASGI application on its own server: `python -m tests.e2e.echo plain|daphne|uvicorn LIMITS [OVERRIDE...]`.

LIMITS is JSON. "plain" is daphne with the same limits, as far as its own arguments go, and nothing else of ours; with
an OVERRIDE, only that one of ours is removed. So tests show that it is needed. A client sends what it wants to see.
"""

import asyncio
import importlib
import json
import socket
import sys
import time
from typing import Any

LARGE = 2**24  # bytes; far more than the system takes for a client that does not read
WAITS = {"/wait": 30, "/late": 1}  # seconds until the handshake is answered
# Bytes that the server took from "pour", applications that run, messages received after a close, (with "plain") calls
# of the functions that format text for autobahn's debug log, and requests for "/smuggled".
counts = {"poured": 0, "running": 0, "late": 0, "formatted": 0, "smuggled": 0}


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        return await over_http(scope, receive, send)
    counts["running"] += 1
    try:
        await over_websocket(scope, receive, send)
    finally:
        counts["running"] -= 1


async def over_websocket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    path = scope["path"]
    await receive()
    if path == "/refuse":
        return await send({"type": "websocket.close", "code": 4403})
    if path in WAITS:
        await asyncio.sleep(WAITS[path])
    await send({"type": "websocket.accept"})
    closed = False
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text") or ""
        command, *arguments = text.split() or [""]
        counts["late"] += closed
        if command == "close":
            await send({"type": "websocket.close", "code": int(arguments[0])})
            closed = True
        elif command == "return":
            return
        elif command == "pour":
            await pour(send, *map(int, arguments))
        elif command == "sleep":
            await asyncio.sleep(float(arguments[0]))
        elif command == "root":
            await send({"type": "websocket.send", "text": f"root {scope.get('root_path')}"})
        elif command == "jump":
            jump(float(arguments[0]))
        else:
            size = len(message.get("bytes") or text.encode())
            await send({"type": "websocket.send", "text": f"got {size}"})


async def pour(send: Any, megabytes: int, patience: int = 3) -> None:
    """Send that much; if the client takes nothing for `patience` seconds, close with 1013."""
    for _ in range(megabytes * 16):
        try:
            async with asyncio.timeout(patience):
                await send({"type": "websocket.send", "text": "x" * 65536})
        except TimeoutError:
            return await send({"type": "websocket.close", "code": 1013})
        counts["poured"] += 65536
        await asyncio.sleep(0)


def jump(seconds: float) -> None:
    """Let the clock on the wall show a later time."""
    now = time.time
    time.time = lambda: now() + seconds


async def over_http(scope: dict[str, Any], receive: Any, send: Any) -> None:
    counts["smuggled"] += scope["path"] == "/smuggled"
    while scope["path"] != "/early" and (await receive()).get("more_body"):
        pass
    if scope["path"] == "/slow":
        await asyncio.sleep(1)
    _, _, size = scope["path"].partition("/large")
    said = headers_of(scope) if scope["path"].startswith("/headers") else counts
    body = b"x" * int(size.strip("/") or LARGE) if scope["path"].startswith("/large") else json.dumps(said).encode()
    headers = [(b"content-type", b"application/json")]
    if scope["path"].startswith("/large"):
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/parts":
        for _ in range(LARGE // 65536):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        return await send({"type": "http.response.body", "body": b""})
    for start in range(0, len(body), 65536):  # as Django does
        more = start + 65536 < len(body)
        await send({"type": "http.response.body", "body": body[start : start + 65536], "more_body": more})


def headers_of(scope: dict[str, Any]) -> dict[str, str]:
    return {"path": scope["path"]} | {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}


def serve_plain(listener: socket.socket, limits: Any) -> None:
    from daphne.server import Server  # first: it installs the reactor  # noqa: I001
    import autobahn.twisted.websocket
    import autobahn.websocket.protocol

    for module in (autobahn.websocket.protocol, autobahn.twisted.websocket):
        module.hltype, module.hlval = counted(module.hltype), counted(module.hlval)
    port = listener.getsockname()[1]
    listener.close()
    Server(
        application,
        endpoints=[f"tcp:port={port}:interface=127.0.0.1"],
        websocket_max_message_size=limits.frame_bytes,
        websocket_max_frame_size=limits.frame_bytes,
        ping_interval=limits.ping_seconds,
        ping_timeout=limits.ping_seconds,
        ready_callable=lambda: say(port),
    ).run()


def counted(function: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        counts["formatted"] += 1
        return function(*args, **kwargs)

    return call


def say(port: int) -> None:
    sys.stdout.write(f"listens on http://127.0.0.1:{port}/\n")
    sys.stdout.flush()


def remove_override(name: str) -> None:
    """Give a class of ours the library's own method or option again: "daphne_server.Socket.onMessage"."""
    module, owner, attribute = name.split(".")
    delattr(getattr(importlib.import_module(f"qader.server.{module}"), owner), attribute)


def main() -> None:
    from qader.server.options import Limits, ServerOptions

    server, limits, overrides = sys.argv[1], Limits(**json.loads(sys.argv[2])), sys.argv[3:]
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    if server == "plain":
        return serve_plain(listener, limits)
    if server == "daphne":
        from qader.server.daphne_server import serve
    else:
        from qader.server.uvicorn_server import serve
    for name in overrides:
        remove_override(name)
    serve(ServerOptions(application, listener, lambda: say(port), limits=limits))


if __name__ == "__main__":
    main()
