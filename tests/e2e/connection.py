"""What a client records of each connection, and of each message on its way."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.server import Reachable


@dataclass(eq=False)
class ConnectionRecord:
    """One connection, from its opening to its end."""

    after: int | None  # the newest message that the client had; whatever is up to it must not come again
    server: Reachable
    frames: list[dict[str, Any]] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)  # of messages in their order
    late: set[int] = field(default_factory=set)  # older ones, answered for a repeated client_id
    told_read: set[tuple[int, int]] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)  # client_ids
    repeated: set[str] = field(default_factory=set)  # those of them that had been sent before
    recovered: bool | None = None
    established: bool = False
    ready: bool = False  # what was missed has been received or fetched
    ended: bool = False
    close_code: int | None = None


@dataclass(eq=False)
class Sending:
    """A message on its way; `stored` brings its id."""

    client_id: str
    content: str
    stored: "asyncio.Future[int]"
    tries: int = 0
