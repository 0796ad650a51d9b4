"""What clients have sent of HTTP requests that are not answered yet: bounded for the whole process.

It is kept in memory. The time for sending a request is limited, but many clients may each send most of a large one.
"""

import logging
from typing import Protocol

logger = logging.getLogger(__name__)


class Connection(Protocol):
    """The part of a server's HTTP connection that is needed here."""

    def abort(self) -> None:
        """Cut the connection."""


class UnansweredRequests:
    """Cuts the connections that sent most when there are more than `limit` bytes of all of them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._bytes: dict[Connection, int] = {}
        self._total = 0

    def received(self, connection: Connection, size: int) -> None:
        """Count what a client sent; this may cut its connection or others."""
        self._bytes[connection] = self._bytes.get(connection, 0) + size
        self._total += size
        if self._total > self.limit:
            self._cut()

    def forget(self, connection: Connection) -> None:
        """Count nothing of this connection any more: its request is answered, or it has ended."""
        self._total -= self._bytes.pop(connection, 0)

    def _cut(self) -> None:
        """Cut until a quarter is free, so that not every further byte of an attacker makes us look through them all."""
        logger.warning("requests were cut: clients do not finish theirs")
        for connection in sorted(self._bytes, key=self._bytes.__getitem__, reverse=True):
            if self._total <= self.limit * 3 / 4:
                break
            self.forget(connection)
            connection.abort()
