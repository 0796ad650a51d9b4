"""Who waits for an answer: compared with the messages and corrected, and ended where no reply is needed.

The writer keeps it right. It is wrong where a process of an older release has stored messages, and where somebody has
changed or deleted rows by hand.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from chat.models import Conversation, Message


def correct_waiting(conversation_ids: Collection[int], *, skip_locked: bool = True) -> list[int]:
    """Correct who waits in these conversations, from their messages; return the ids of those where it was wrong.

    One query if all are right. For those in which nobody can be waiting it reads no messages. A conversation that
    somebody else has locked is left as it is, unless this may wait for it.
    """
    may_be_wrong = Conversation.objects.filter(
        Q(waiting_since__isnull=False) | Q(answered_seq__lt=F("last_seq")), pk__in=conversation_ids
    )
    wrong = [pk for pk, *is_and_should in _compared(may_be_wrong) if _differs(*is_and_should)]
    return [pk for pk in sorted(wrong) if _correct(pk, skip_locked=skip_locked)]


def _correct(conversation_id: int, *, skip_locked: bool) -> bool:
    """Compare again under the row's lock, and store what is right; return whether that changed anything."""
    rows = Conversation.objects.filter(pk=conversation_id)
    with transaction.atomic():
        if not rows.select_for_update(no_key=True, skip_locked=skip_locked).values_list("pk").first():
            return False
        [(_, *is_and_should)] = _compared(rows)
        if not _differs(*is_and_should):
            return False
        *_, since, answered = is_and_should
        rows.update(waiting_since=since, answered_seq=answered)
        return True


def _differs(since: datetime | None, answered: int, true_since: datetime | None, true_answered: int) -> bool:
    return (since, answered) != (true_since, true_answered)


def _compared(rows: QuerySet[Conversation]) -> list[tuple[Any, ...]]:
    """Return (id, `waiting_since`, `answered_seq`, and what both should be) of each conversation.

    Reads the messages above `answered_seq` only: those that a mentor has not answered. Nobody waits for an answer to a
    message that is erased.
    """
    open_messages = Message.objects.filter(conversation=OuterRef("pk"), seq__gt=OuterRef("answered_seq"))
    by_mentor = open_messages.filter(sender=OuterRef("teacher__user")).order_by("-seq").values("seq")[:1]
    by_student = Message.objects.filter(
        conversation=OuterRef("pk"),
        seq__gt=OuterRef("true_answered"),
        sender=OuterRef("student__user"),
        is_erased=False,
    )
    compared = rows.annotate(true_answered=Coalesce(Subquery(by_mentor), "answered_seq")).annotate(
        true_since=Subquery(by_student.order_by("seq").values("timestamp")[:1])
    )
    return list(compared.values_list("pk", "waiting_since", "answered_seq", "true_since", "true_answered"))


def end_waiting(conversation_id: int) -> bool:
    """Store that no message so far needs a reply; return whether anybody was waiting."""
    with transaction.atomic():
        row = Conversation.objects.select_for_update(no_key=True).filter(pk=conversation_id).first()
        if row is None or (row.waiting_since is None and row.answered_seq == row.last_seq):
            return False
        Conversation.objects.filter(pk=conversation_id).update(waiting_since=None, answered_seq=row.last_seq)
        return row.waiting_since is not None
