"""Since when notices are on: what was unread before is never a reason for one."""

from datetime import datetime

from django.db.models import Min
from django.db.models.functions import Now

from chat.models import Conversation, notice_delay
from notices.models import Start


def note_start() -> None:
    """Note whether notices are on now; called when a server starts, before it stores a message."""
    if notice_delay() is None:
        note_off()
    elif not Start.objects.exists():
        Start.objects.create(at=Now())


def note_off() -> None:
    """Note that notices are off: nothing of what is unread now will be due."""
    Start.objects.all().delete()
    for column in Conversation.NOTICE_TIMES:
        Conversation.objects.filter(**{f"{column}__isnull": False}).update(**{column: None})


def started_at() -> datetime:
    """Return since when notices are on.

    Where no process has noted it, the columns of the conversations tell: messages set them only while notices are on.
    """
    first = Start.objects.order_by("at").values_list("at", flat=True)
    found = first.first()
    if found is None:
        Start.objects.create(at=_first_sign() or Now())
        found = first.first()
    assert found is not None  # noqa: S101 - for mypy
    return found


def _first_sign() -> datetime | None:
    delay = notice_delay()
    found = [Conversation.objects.aggregate(first=Min(column))["first"] for column in Conversation.NOTICE_TIMES]
    first = min((at for at in found if at is not None), default=None)
    return first - delay if first is not None and delay is not None else None
