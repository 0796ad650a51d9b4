"""From the start of a server to its end: `live` says what comes after what, for daphne and uvicorn alike."""

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from qader.serving import Limits, Serving

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Socket(Protocol):
    """An open WebSocket."""

    def restart(self) -> None:
        """Close with 1012, service restart, unless it is closing already."""


class Server(Protocol):
    """What daphne and uvicorn do alike."""

    def refuse(self) -> None:
        """Take no connection any more, and answer every handshake with 503, those under way at once."""

    def sockets(self) -> Sequence[Socket]:
        """Return the open WebSockets, the oldest first."""

    async def idle(self) -> None:
        """Return once every request is answered and every WebSocket has ended."""


def end_at_signals() -> None:
    """Exit at once where the process is told to stop before it serves; that is no failure."""

    def end(*_: Any) -> None:
        sys.exit(0)

    for number in SIGNALS:
        signal.signal(number, end)


async def live(server: Server, serving: Serving) -> None:
    """Serve until SIGTERM or SIGINT, then stop; a second signal cuts the notice and the turns short."""
    limits, loop = serving.limits, asyncio.get_running_loop()
    told, hurried = asyncio.Event(), asyncio.Event()
    for number in SIGNALS:
        loop.add_signal_handler(number, lambda: hurried.set() if told.is_set() else told.set())
    serving.started()
    await told.wait()

    # Notice: the proxy learns by `/readyz` that it shall send nobody new, and until then everything is served.
    serving.stopping()
    await _pause(limits.notice_seconds, hurried)

    # Drain: the clients go one after the other, so that they do not come back elsewhere all at once.
    server.refuse()
    graced_until = loop.time() + limits.grace_seconds
    await _close_in_turn(server.sockets(), limits, hurried)
    with suppress(TimeoutError):
        async with asyncio.timeout(max(graced_until - loop.time(), limits.last_seconds)):
            await server.idle()

    # Settle: nobody is there any more, but what they sent may still be on its way to the database.
    await serving.settle()
    for number in SIGNALS:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)


async def _close_in_turn(sockets: Sequence[Socket], limits: Limits, hurried: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    gap = min(1 / limits.closes_per_second, limits.spread_seconds / max(len(sockets), 1))
    for turn, socket in enumerate(sockets):
        if (seconds := begin + turn * gap - loop.time()) > 0:  # not where a busy loop is behind: it must catch up
            await _pause(seconds, hurried)
        try:
            socket.restart()
        except Exception:  # the others still have their turn, and what they sent its commit
            logger.exception("a socket could not be closed")


async def _pause(seconds: float, hurried: asyncio.Event) -> None:
    """Let the others work for so long, or until it has to be done in a hurry."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await hurried.wait()
