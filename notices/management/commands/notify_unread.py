"""Sends the notices that are due."""

import logging
import signal
import threading
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import Error, close_old_connections, connection
from prometheus_client import start_http_server

from chat.models import notice_delay
from notices.looks import Channel
from notices.push import Outcome
from notices.rounds import Rounds, Sums
from notices.start import note_off

logger = logging.getLogger(__name__)

ROUND_SECONDS = 2.0  # between two rounds
OFF = "Notices are off: set VAPID_PRIVATE_KEY for pushes, or EMAIL_URL for e-mails."


class Command(BaseCommand):
    """Sends the notices that are due, for ever or once."""

    help = "Send what is due to people who have unread messages, by push and by e-mail, for ever or once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--once", action="store_true", help="send what is due now, and end")
        parser.add_argument("--metrics-port", type=int, help="serve Prometheus metrics on this port")

    def handle(self, *, once: bool, metrics_port: int | None, **_: Any) -> None:
        """Send until SIGTERM or SIGINT, or once."""
        stopping = threading.Event()
        with stopped_by_signals(stopping):
            self._handle(stopping, once=once, metrics_port=metrics_port)

    def _handle(self, stopping: threading.Event, *, once: bool, metrics_port: int | None) -> None:
        if metrics_port is not None:
            start_http_server(metrics_port)
        if notice_delay() is None:
            note_off()
            self.stdout.write(OFF)
            self.stdout.flush()
            if not once:
                stopping.wait()
            return
        if not once and connection.vendor == "postgresql":  # nobody's lock may hold up all notices
            connection.settings_dict["OPTIONS"]["options"] += f" {settings.DATABASE_SERVER_OPTIONS}"
        rounds = Rounds(stopping)
        try:
            sums = rounds.run() if once else self._run(rounds, stopping)
        finally:
            rounds.close()
        self.stdout.write(told(sums))

    def _run(self, rounds: Rounds, stopping: threading.Event) -> Sums:
        sums = Sums()
        is_away = False
        while not stopping.wait(ROUND_SECONDS):
            close_old_connections()
            try:
                sums += rounds.run()
                is_away = False
            except Error as error:
                if not is_away:
                    logger.warning("the database does not answer: %s", type(error).__name__)
                is_away = True
        return sums


@contextmanager
def stopped_by_signals(stopping: threading.Event) -> Iterator[None]:
    """Set the event at SIGTERM or SIGINT, in a process of its own: a notice is sent to its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def told(sums: Sums) -> str:
    """Return one line that says what was sent."""
    sent = {channel: sums[channel, Outcome.SENT] for channel in Channel}
    rest = sum(number for (_, outcome), number in sums.items() if outcome is not Outcome.SENT)
    return f"Sent {sent[Channel.PUSH]} pushes and {sent[Channel.EMAIL]} e-mails; {rest} could not be sent."
