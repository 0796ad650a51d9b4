"""The one way in which the server starts: `python -m qader.serve`, for development, production and tests alike."""

import argparse
import asyncio
import gc
import importlib
import os
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

from django.db import connections

from qader import lifecycle, logs, sentry
from qader.preflight import NotReadyError, prepare
from qader.serving import Limits, Serving

STOP_SECONDS = 7.25  # after SIGTERM and the notice the process ends, whatever still waits
SETTLE_SECONDS = 1.5


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT and return, or exit with status 1 and one line on stderr that says why not."""
    options = _options(arguments)
    lifecycle.end_at_signals()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qader.settings")
    try:
        prepare()
        listener = _listen(options.host, options.port)
    except NotReadyError as error:
        sys.exit(f"qader: {' '.join(str(error).split())}")
    logs.log_all()
    _serve(options.server, listener)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="qader.serve", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--server", choices=["daphne", "uvicorn"], default="daphne")
    return parser.parse_args(arguments)


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens, so that both servers tell alike that a port is taken."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = str(error.strerror).partition(" (")[0] if isinstance(error, OSError) else "there is no such port"
        raise NotReadyError(f"cannot listen on {host} port {port}: {reason}.") from None


def _serve(server: str, listener: socket.socket) -> None:
    from django.conf import settings

    from qader import health
    from qader.asgi import application

    sentry.start()  # only now: the application sets the log up anew
    module = importlib.import_module(f"qader.{server}_server")  # each alone: daphne's changes the event loop
    host, port = listener.getsockname()[:2]
    address = f"[{host}]" if ":" in host else host

    def started() -> None:
        sys.stdout.write(f"Qader listens on http://{address}:{port}/ ({server})\n")
        sys.stdout.flush()

    def stopping() -> None:
        health.stopping.set()
        _end_within(settings.STOP_NOTICE_SECONDS + STOP_SECONDS)

    gc.collect()
    gc.freeze()  # what is loaded by now stays: not to be looked at by each collection, a twentieth of all time
    limits = Limits(frame_bytes=settings.CHAT_MAX_FRAME_BYTES, notice_seconds=settings.STOP_NOTICE_SECONDS)
    try:
        module.serve(Serving(application, listener, started, stopping, _settle, limits))
    finally:
        connections.close_all()
        for connection in connections.all(initialized_only=True):
            if hasattr(connection, "close_pool"):
                connection.close_pool()


async def _settle() -> None:
    """Let what is being committed be committed, and told; these tasks live only while they have something to do."""
    with suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_SECONDS):
            for name in ("writer", "mailbox-publish"):
                tasks = [task for task in asyncio.all_tasks() if task.get_name() == name]
                if tasks:
                    await asyncio.wait(tasks)


def _end_within(seconds: float) -> None:
    """End the process in time even where a thread waits for a database that does not answer."""
    timer = threading.Timer(seconds, os._exit, [0])
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    main()
