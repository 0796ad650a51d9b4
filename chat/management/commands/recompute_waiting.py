"""Corrects who waits in all conversations, and when notices are looked at.

To be run once after an upgrade, when the last old process has stopped.
"""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from chat.bus.event_bus import publish
from chat.bus.events import WaitingChanged
from chat.models import Conversation
from chat.store.notice_times import recompute_notice_times
from chat.store.waiting import correct_waiting

BATCH = 500  # conversations compared in one query


class Command(BaseCommand):
    """Compares each conversation with its messages, and corrects those that are wrong, one transaction for each."""

    help = (
        "Correct since when students wait, and when notices of unread messages are due, in all conversations. It can be"
        " stopped and run again: what is right is only compared. Run it after an upgrade, when the last old process has"
        " stopped."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take `--from`."""
        parser.add_argument("--from", type=int, default=0, dest="begin", help="the conversation to begin with")

    def handle(self, *, begin: int, verbosity: int, **_: Any) -> None:
        """Go through the conversations by id, telling of each batch where it stands; at the end, tell how many."""
        total, seen = Conversation.objects.filter(pk__gte=begin).count(), 0
        corrected = due = 0
        after = begin - 1
        while ids := list(
            Conversation.objects.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:BATCH]
        ):
            wrong = correct_waiting(ids, skip_locked=False)
            due += recompute_notice_times(ids, skip_locked=False)
            if wrong:
                publish(*(WaitingChanged(pk) for pk in wrong))
            after, seen, corrected = ids[-1], seen + len(ids), corrected + len(wrong)
            if verbosity > 1 or self.stderr.isatty():
                self.stderr.write(f"{seen} of {total} conversations, up to {after}")
        self.stdout.write(f"{seen} conversations compared, {corrected} corrected, notices to look at in {due}.")
