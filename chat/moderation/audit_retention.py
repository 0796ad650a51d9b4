"""Removes entries of the audit trail that are older than they are kept."""

from datetime import datetime

from django.db import connection, transaction

from chat.models import AuditAction, AuditEntry
from chat.moderation.audit import record

AT_ONCE = 5000  # entries in one transaction, which nobody can add an entry beside
LOCK_SECONDS = 2  # for which those who add entries may have to wait behind this

_TRIGGER = "ALTER TABLE chat_auditentry {verb} TRIGGER chat_auditentry_append_only"


def purge_audit(*, before: datetime) -> int:
    """Delete the entries from before this time, in steps, and return their number; each step leaves an entry.

    Only the owner of the table can do it. Each step lifts the trigger for its own transaction.
    """
    count = 0
    while found := _purge_oldest(before):
        count += found
    return count


def _purge_oldest(before: datetime) -> int:
    oldest = AuditEntry.objects.filter(created_at__lt=before).order_by("created_at").values_list("pk", flat=True)
    keys = list(oldest[:AT_ONCE])
    if keys:
        with transaction.atomic():
            _execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'", _TRIGGER.format(verb="DISABLE"))
            AuditEntry.objects.filter(pk__in=keys).delete()
            _execute(_TRIGGER.format(verb="ENABLE"))
            detail = f"audit trail before {before:%Y-%m-%d}: {len(keys)}"
            record(AuditAction.PURGED, actor_id=None, detail=detail)
    return len(keys)


def _execute(*statements: str) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
