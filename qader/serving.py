"""What both servers are given: what to serve, where, how long and how much, and whom to tell."""

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Limits:
    """Sizes and times; a client that answers no ping is cut after at most `2 * ping_seconds + close_seconds`."""

    frame_bytes: int = 64 * 1024  # one message of a client
    ping_seconds: int = 20  # between a pong and the next ping, and how long a pong may take
    close_seconds: int = 5  # what a client has left once closing began
    notice_seconds: float = 0  # how long a server that was told to stop goes on as if nothing had happened
    closes_per_second: int = 200  # WebSockets that it closes then, but
    spread_seconds: int = 5  # all of them within this time
    grace_seconds: int = 2  # what requests under way have left from the first of these closes on
    last_seconds: float = 0.5  # and what whoever is left has after the last one
    request_seconds: int = 10  # how long a client may take over a request, its body included
    # Between two requests on one connection. Longer than proxies keep an idle one (60 s): else they now and then send a
    # request just when it is closed, and answer 502. A client that does not read its answer is borne with as long.
    keep_alive_seconds: int = 75
    body_bytes: int = 2**20  # of a request; what the application takes is less, see `qader.body`


async def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Serving:
    """An ASGI application on a socket that listens already.

    `started` is called once it is served and `stopping` at SIGTERM or SIGINT; `settle` is awaited when requests and
    sockets are done, before whatever is left is cancelled. `qader.lifecycle` calls them.
    """

    application: Any
    listener: socket.socket
    started: Callable[[], None]
    stopping: Callable[[], None] = lambda: None
    settle: Callable[[], Awaitable[None]] = _nothing
    limits: Limits = field(default_factory=Limits)
