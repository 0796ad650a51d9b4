"""Which reports the leads are still to be told of, and which lead has been told of which.

Each report is told at least once: whoever takes it to tell the leads keeps it for `TAKEN_FOR` only. After that it is
due again, for those whom no e-mail has reached.
"""

from collections.abc import Collection
from datetime import timedelta

from django.db import transaction
from django.db.models import DateTimeField, Exists, ExpressionWrapper, OuterRef, Value
from django.db.models.functions import Now

from chat.models import Report, ReportState, ToldLead

TOLD_AT_ONCE = 1000  # reports that one e-mail to the leads counts
TAKEN_FOR = timedelta(minutes=2)  # longer than it takes to send one e-mail


def take_reports() -> list[int]:
    """Take the open reports that the leads are to be told of now; return their ids. Two callers take different ones."""
    with transaction.atomic():
        due = Report.objects.filter(state=ReportState.OPEN, tell_at__lte=Now()).order_by("tell_at")
        ids = list(due.select_for_update(skip_locked=True).values_list("pk", flat=True)[:TOLD_AT_ONCE])
        keep_reports(ids)
    return ids


def keep_reports(ids: Collection[int]) -> None:
    """Keep these reports for another `TAKEN_FOR`."""
    again = ExpressionWrapper(Now() + Value(TAKEN_FOR), output_field=DateTimeField())
    Report.objects.filter(pk__in=ids).update(tell_at=again)


def untold(ids: Collection[int], user_id: int) -> list[int]:
    """Return those of these reports that this lead was not told of."""
    told = ToldLead.objects.filter(report=OuterRef("pk"), user_id=user_id)
    return list(Report.objects.filter(~Exists(told), pk__in=ids).values_list("pk", flat=True))


def note_told(ids: Collection[int], user_id: int) -> None:
    """Note that this lead was told of these reports."""
    rows = [ToldLead(report_id=pk, user_id=user_id) for pk in ids]
    ToldLead.objects.bulk_create(rows, ignore_conflicts=True)


def finish_telling(ids: Collection[int]) -> None:
    """Tell nobody else of those of these reports that any lead was told of."""
    Report.objects.filter(Exists(ToldLead.objects.filter(report=OuterRef("pk"))), pk__in=ids).update(tell_at=None)
