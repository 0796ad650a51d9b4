"""Deletes messages that are older than the school keeps them."""

import re
from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from chat.models import AuditAction
from chat.moderation.audit import record
from chat.moderation.old_messages import old_messages, purge_messages
from chat.moderation.progress import progress_bar

LEAST_DAYS = 30


def days(text: str) -> int:
    """Return the number of days in "365d"; raises ArgumentTypeError for another form, and for less than 30."""
    if not re.fullmatch(r"[0-9]{1,5}d", text):
        raise ArgumentTypeError("a number of days is expected, such as 365d")
    found = int(text[:-1])
    if found < LEAST_DAYS:
        raise ArgumentTypeError(f"at least {LEAST_DAYS}d: what is newer may still be reported")
    return found


class Command(BaseCommand):
    """`manage.py purge_messages --older-than 365d [--dry-run]`: can be stopped at any moment and run again."""

    help = "Deletes old messages for ever. Positions and counts of conversations stay as they are."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the age."""
        parser.add_argument("--older-than", type=days, required=True, metavar="365d", help="at least 30d")
        parser.add_argument("--dry-run", action="store_true", help="only say how many there are")

    def handle(self, *args: Any, older_than: int, dry_run: bool, **options: Any) -> None:
        """Delete, or count."""
        before = timezone.now() - timedelta(days=older_than)
        messages = old_messages(before)
        found = messages.count()
        if dry_run:
            conversations = messages.order_by().values("conversation").distinct().count()
            old = f"{found} messages of {conversations} conversations are older than {older_than} days"
            self.stdout.write(f"{old}. Nothing was purged.")
            return
        if found:
            record(AuditAction.PURGED, actor_id=None, detail=f"messages before {before:%Y-%m-%d}: {found}")
        purged = 0
        with progress_bar(found, "messages") as bar:
            for count in purge_messages(messages):
                purged += count
                bar.update(count)
        self.stdout.write(f"Purged {purged} messages older than {older_than} days.")
