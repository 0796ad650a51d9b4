"""What both servers need to run: application, socket, limits, callbacks."""

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Limits:
    """Sizes and times. A client that answers no ping is cut after at most `2 * ping_seconds + close_seconds`."""

    frame_bytes: int = 64 * 1024  # the largest message of a client
    # Control frames and fragments of one client; more are a flood. A message in 1,000 fragments is still taken.
    frames_per_second: int = 100
    frames_burst: int = 1000
    ping_seconds: int = 20  # from a pong to the next ping, and how long a pong may take
    close_seconds: int = 5  # how long a client may take to complete the closing handshake
    notice_seconds: float = 0  # from SIGTERM to the drain; everything is served as before
    closes_per_second: int = 200  # WebSockets closed per second in the drain, more if spread_seconds requires it
    spread_seconds: int = 5  # the longest time for closing all WebSockets
    grace_seconds: int = 2  # for running requests, from the first close
    last_seconds: float = 0.5  # for running requests and sockets, from the last close, if grace_seconds are over
    request_seconds: int = 10  # how long a client may take to send a request, its body included
    # For an idle connection. Longer than proxies keep theirs (60 s): otherwise a proxy sometimes sends a request just
    # when we close, and answers 502.
    keep_alive_seconds: int = 75
    answer_seconds: int = 30  # how long a client may take nothing of its answer
    unread_bytes: int = 32 * 2**20  # of all HTTP answers that wait for their clients
    unanswered_bytes: int = 32 * 2**20  # of all HTTP requests that are not answered, complete or not
    body_bytes: int = 2**20  # of a request, before the server cuts it; `qader.http.body_limit` allows less
    body_chunks: int = 1000  # of a request's body: each costs, also if it has one byte
    head_bytes: int = 16 * 1024  # of the head of a request under uvicorn, and its lines; daphne has the same
    head_lines: int = 500


async def _nothing() -> None:
    pass


@dataclass(frozen=True)
class ServerOptions:
    """An ASGI application, the listening socket to serve it on, and callbacks of `qader.server.lifecycle`.

    `started` is called when the server accepts connections, `stopping` at SIGTERM or SIGINT. `settle` is awaited when
    requests and sockets have ended, before remaining tasks are cancelled.
    """

    application: Any
    listener: socket.socket
    started: Callable[[], None]
    stopping: Callable[[], None] = lambda: None
    settle: Callable[[], Awaitable[None]] = _nothing
    limits: Limits = field(default_factory=Limits)
