"""Sets again when unread messages are looked at, where a process of the version before has stored them."""

from collections.abc import Collection

from django.db.models import OuterRef, Subquery

from chat.models import Conversation, Message, notice_delay


def recompute_notice_times(conversation_ids: Collection[int]) -> int:
    """Have what is unread in these conversations looked at where it is not going to be; return in how many.

    `manage.py notify_unread` decides then what is due: not what a notice was sent of, nor what was unread before
    notices were switched on.
    """
    delay = notice_delay()
    if delay is None:
        return 0
    changed = set()
    for side, other in (("student", "teacher"), ("teacher", "student")):
        column = f"{side}_notify_at"
        unread = Message.objects.filter(
            conversation=OuterRef("pk"), sender=OuterRef(f"{other}__user"), is_read=False
        ).order_by("seq")
        rows = Conversation.objects.filter(pk__in=conversation_ids, **{f"{column}__isnull": True})
        found = rows.annotate(oldest=Subquery(unread.values("timestamp")[:1])).exclude(oldest=None)
        due = [Conversation(pk=pk, **{column: at + delay}) for pk, at in found.values_list("pk", "oldest")]
        Conversation.objects.bulk_update(due, [column])
        changed |= {row.pk for row in due}
    return len(changed)
