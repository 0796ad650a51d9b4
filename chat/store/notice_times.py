"""When notices are looked at, where it is missing: what is unread was stored or marked by a process that knows none."""

from collections.abc import Callable, Collection

from django.db import transaction
from django.db.models import OuterRef, Q, Subquery

from chat.models import Conversation, Message, notice_delay

# By the side of the reader, which messages of a conversation (the outer query) a notice may still be due of. The app of
# the notices, which knows what everybody was told of, sets it when it is ready.
still_to_tell: Callable[[str], Q] = lambda side: Q()  # noqa: E731


def recompute_notice_times(conversation_ids: Collection[int], *, skip_locked: bool = True) -> int:
    """Have what is unread in these conversations looked at where it is not going to be; return in how many.

    Not what a notice was sent of, nor what was unread before notices were switched on. A conversation that somebody
    else has locked is left as it is, unless this may wait for it.
    """
    delay = notice_delay()
    if delay is None:
        return 0
    changed: set[int] = set()
    for side, other in (("student", "teacher"), ("teacher", "student")):
        column = f"{side}_notify_at"
        unread = Message.objects.filter(
            still_to_tell(side),
            conversation=OuterRef("pk"),
            sender=OuterRef(f"{other}__user"),
            is_read=False,
            is_erased=False,
        )
        rows = Conversation.objects.filter(pk__in=conversation_ids, **{f"{column}__isnull": True})
        found = rows.annotate(oldest=Subquery(unread.order_by("seq").values("timestamp")[:1])).exclude(oldest=None)
        due = [Conversation(pk=pk, **{column: at + delay}) for pk, at in found.values_list("pk", "oldest")]
        changed.update(_store(due, column, skip_locked=skip_locked))
    return len(changed)


def _store(due: Collection[Conversation], column: str, *, skip_locked: bool) -> list[int]:
    """Store the time of each where it is still missing; return their ids."""
    if not due:
        return []
    with transaction.atomic():
        missing = Conversation.objects.filter(pk__in=[row.pk for row in due], **{f"{column}__isnull": True})
        locked = missing.order_by("pk").select_for_update(no_key=True, skip_locked=skip_locked)
        free = list(locked.values_list("pk", flat=True))
        Conversation.objects.bulk_update([row for row in due if row.pk in free], [column])
    return free
