"""Starts the server: checks what it needs, opens the listening socket, and hands both to daphne or uvicorn."""

import argparse
import asyncio
import ctypes
import gc
import importlib
import os
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

from django.db import connections

from chat.runtime.loop_database import give_back_idle
from qader.observability import log_format, sentry
from qader.server import lifecycle
from qader.server.options import Limits, ServerOptions
from qader.server.startup_checks import NotReadyError, run_startup_checks

STOP_SECONDS = 7.25  # from the end of the notice to the end of the process, whatever still hangs
SETTLE_SECONDS = 1.5  # of these, for commits and their events
# Of each connection, in the kernel, which would take up to 4 MB for a client that does not read.
SEND_BUFFER_BYTES = 128 * 1024
M_MMAP_THRESHOLD = -3  # malloc.h


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT and return; if the server cannot start, exit with status 1 and one line why."""
    options = _parse_arguments(arguments)
    lifecycle.exit_on_signals()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qader.settings")
    try:
        run_startup_checks()
        listener = _listen(options.host, options.port)
    except NotReadyError as error:
        sys.exit(f"qader: {' '.join(str(error).split())}")
    log_format.log_uncaught()
    _serve(options.server, listener)


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="qader.serve", description="Start the server. All other settings are environment variables."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0: any free port")
    parser.add_argument("--server", choices=["daphne", "uvicorn"], default="daphne")
    return parser.parse_args(arguments)


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Opened here, so that both servers report a used port in the same way."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = str(error.strerror).partition(" (")[0] if isinstance(error, OSError) else "there is no such port"
        raise NotReadyError(f"cannot listen on {host} port {port}: {reason}.") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # connections inherit it
    return listener


def _serve(server: str, listener: socket.socket) -> None:
    from django.conf import settings

    from qader.asgi import application
    from qader.http import health

    sentry.start()  # after the import of the application, which configures logging anew
    module = importlib.import_module(f"qader.server.{server}_server")  # only this one: daphne's sets the event loop
    host, port = listener.getsockname()[:2]
    address = f"[{host}]" if ":" in host else host

    def started() -> None:
        sys.stdout.write(f"Qader listens on http://{address}:{port}/ ({server})\n")
        sys.stdout.flush()

    def stopping() -> None:
        health.stopping.set()
        _exit_after(settings.STOP_NOTICE_SECONDS + STOP_SECONDS)

    _return_large_buffers()
    gc.collect()
    gc.freeze()  # collections skip all objects loaded so far; looking at them cost 5 % of the processor time
    limits = Limits(frame_bytes=settings.CHAT_MAX_FRAME_BYTES, notice_seconds=settings.STOP_NOTICE_SECONDS)
    try:
        module.serve(ServerOptions(application, listener, started, stopping, _settle, limits))
    finally:
        give_back_idle()
        connections.close_all()
        for connection in connections.all(initialized_only=True):
            if hasattr(connection, "close_pool"):
                connection.close_pool()


def _return_large_buffers() -> None:
    """Have glibc return freed buffers above 128 kB to the system.

    By default it learns from answers of several MB to keep such buffers, for each thread that made one.
    """
    if set_option := getattr(ctypes.CDLL(None), "mallopt", None):
        set_option(M_MMAP_THRESHOLD, 128 * 1024)


async def _settle() -> None:
    """Wait for the running commits, and then for the events about them."""
    from chat.bus.event_bus import event_bus
    from chat.store.writer import writer

    with suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_SECONDS):
            await writer().settle()
            await event_bus().settle()


def _exit_after(seconds: float) -> None:
    """End the process at that time, even if a thread still waits for a database that does not answer."""
    timer = threading.Timer(seconds, os._exit, [0])
    timer.daemon = True
    timer.start()
