"""When a notice of unread messages is looked at: the two columns of a conversation that say so.

A new message sets the column of its reader, unless that is sooner already. Reading clears it, or brings it forward.
`manage.py notify_unread` moves it when it has looked, and decides then what is sent.
"""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Case, DateTimeField, F, Value, When
from django.db.models.functions import Least, Now


def notice_delay() -> timedelta | None:
    """Return how long after a message its notice is looked at first; None if no notices are sent at all."""
    delays = []
    if settings.VAPID_PRIVATE_KEY:
        delays.append(settings.NOTIFY_PUSH_AFTER)
    if settings.EMAIL_URL:
        delays.append(settings.NOTIFY_EMAIL_AFTER)
    return timedelta(seconds=min(delays)) if delays else None


def after_reading(read_field: str, read_seq: int) -> dict[str, Any]:
    """Return how the row of a conversation changes whose participant has read up to `read_seq`.

    `read_field` is theirs. Who has read everything needs no notice; for the rest, it is decided anew.
    """
    column = read_field.replace("read_seq", "notify_at")
    nothing_left = When(last_seq__lte=read_seq, then=Value(None))
    # With null, PostgreSQL's `least` would be the other time.
    sooner = When(**{f"{column}__isnull": False}, then=Least(F(column), Now()))
    return {column: Case(nothing_left, sooner, default=Value(None), output_field=DateTimeField())}
