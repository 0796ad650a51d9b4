"""The startup and shutdown sequence of a server, the same for daphne and uvicorn: see `run`."""

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from qader.server.options import Limits, ServerOptions

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Socket(Protocol):
    """An open WebSocket."""

    def restart(self) -> None:
        """Close with 1012, service restart, unless it is closing already."""


class Server(Protocol):
    """The part of daphne and uvicorn that the sequence needs."""

    def refuse(self) -> None:
        """Accept no more connections, and answer every handshake with 503, also those that are still running."""

    def sockets(self) -> Sequence[Socket]:
        """Return the open WebSockets, the oldest first."""

    async def idle(self) -> None:
        """Return when every request is answered and every WebSocket has ended."""


def exit_on_signals() -> None:
    """Exit with status 0 on SIGTERM or SIGINT while the server is still starting."""

    def end(*_: Any) -> None:
        sys.exit(0)

    for number in SIGNALS:
        signal.signal(number, end)


async def run(server: Server, options: ServerOptions) -> None:
    """Serve until SIGTERM or SIGINT, then shut down. A second signal skips the waiting in notice and drain."""
    limits, loop = options.limits, asyncio.get_running_loop()
    stop_requested, skip_waits = asyncio.Event(), asyncio.Event()
    for number in SIGNALS:
        loop.add_signal_handler(number, lambda: skip_waits.set() if stop_requested.is_set() else stop_requested.set())
    options.started()
    await stop_requested.wait()

    # Notice: the proxy sees a red `/readyz` and sends no new clients. Until then everything is served as before.
    options.stopping()
    await _wait(limits.notice_seconds, skip_waits)

    # Drain: sockets are closed one after the other, so that the clients do not all reconnect at the same moment.
    server.refuse()
    grace_until = loop.time() + limits.grace_seconds
    await _close_in_turn(server.sockets(), limits, skip_waits)
    with suppress(TimeoutError):
        async with asyncio.timeout(max(grace_until - loop.time(), limits.last_seconds)):
            await server.idle()

    # Settle: all clients are gone, but their last messages may not be committed yet.
    await options.settle()
    for number in SIGNALS:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)


async def _close_in_turn(sockets: Sequence[Socket], limits: Limits, skip_waits: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    gap = min(1 / limits.closes_per_second, limits.spread_seconds / max(len(sockets), 1))
    for turn, socket in enumerate(sockets):
        if (seconds := begin + turn * gap - loop.time()) > 0:  # no wait if a busy loop is late: it must catch up
            await _wait(seconds, skip_waits)
        try:
            socket.restart()
        except Exception:  # the other sockets must still be closed, and their messages committed
            logger.exception("a socket could not be closed")


async def _wait(seconds: float, skip: asyncio.Event) -> None:
    """Sleep, but no longer than until `skip` is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await skip.wait()
