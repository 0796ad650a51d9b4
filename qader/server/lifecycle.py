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
# Equal signals within this time after the first are one: GNU make passes on what the whole process group gets, too.
SAME_STOP_SECONDS = 1.0


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
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        sys.exit(0)

    for number in SIGNALS:
        signal.signal(number, end)


class StopSignals:
    """Sets `stop_requested` at the first signal, and `skip_waits` at a later one, or at once if it is another one."""

    def __init__(self) -> None:
        self.stop_requested, self.skip_waits = asyncio.Event(), asyncio.Event()
        self._first: signal.Signals | None = None
        self._until = 0.0  # equal signals are ignored, on the event loop's clock

    def receive(self, number: signal.Signals) -> None:
        """Note a signal."""
        now = asyncio.get_running_loop().time()
        if self._first is None:
            self._first, self._until = number, now + SAME_STOP_SECONDS
            self.stop_requested.set()
        elif number != self._first or now > self._until:
            self.skip_waits.set()


async def run(server: Server, options: ServerOptions) -> None:
    """Serve until SIGTERM or SIGINT, then shut down. A later signal skips the waiting in notice and drain."""
    limits, loop, signals = options.limits, asyncio.get_running_loop(), StopSignals()
    stop_requested, skip_waits = signals.stop_requested, signals.skip_waits
    for number in SIGNALS:
        loop.add_signal_handler(number, signals.receive, number)
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
