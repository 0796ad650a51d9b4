"""Deletes old messages whole. `seq`, `count`, cursors and what was read go on as if they were there."""

import time
from collections.abc import Iterator
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef

from chat.models import Message, MessageQuerySet, Report
from chat.runtime.database import until_unlocked

PURGED_AT_ONCE = 500  # messages in one transaction: about 10 ms
IDS_AT_ONCE = 20_000  # that one statement looks at


def old_messages(before: datetime) -> MessageQuerySet:
    """Return the messages that may go: those sent before this time, except those that an unfinished report is about.

    What else is kept although it is old belongs here.
    """
    reports = Report.objects.unfinished().filter(message_id=OuterRef("pk"))
    return Message.objects.filter(~Exists(reports), timestamp__lt=before)


def purge_messages(messages: MessageQuerySet) -> Iterator[int]:
    """Delete these messages for ever; yields the number of each batch. It can be killed and called again.

    What somebody else has locked is left to the next call. It pauses as long as it works: the chat comes first.
    """
    ids = Message.objects.order_by("pk").values_list("pk", flat=True)
    first = ids.first()
    while first is not None:
        beyond = first + IDS_AT_ONCE
        while True:
            begin = time.monotonic()
            count = until_unlocked(_purge_batch, messages.filter(pk__gte=first, pk__lt=beyond))
            if count:
                yield count
                time.sleep(time.monotonic() - begin)
            if count < PURGED_AT_ONCE:
                break
        first = ids.filter(pk__gte=beyond).first()


@transaction.atomic
def _purge_batch(messages: MessageQuerySet) -> int:
    rows = messages.select_for_update(skip_locked=True).order_by("pk").values_list("pk", flat=True)
    locked = list(rows[:PURGED_AT_ONCE])
    # Asked again: what was reported before it was locked stays, and nobody can report it now.
    found = list(messages.filter(pk__in=locked).values_list("pk", flat=True))
    Message.objects.filter(pk__in=found).delete()
    return len(found)
