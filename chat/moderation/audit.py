"""Writes the audit trail. Who shows or changes something records it first, in the same transaction if there is one."""

from collections.abc import Iterable
from datetime import timedelta

from django.utils import timezone

from chat.models import AuditAction, AuditEntry

# Opening the same again within this time, in another tab or by going back, is one look.
ONE_LOOK = timedelta(minutes=1)


def record(
    action: AuditAction,
    *,
    actor_id: int | None,
    conversation_id: int | None = None,
    person_id: int | None = None,
    detail: str = "",
) -> None:
    """Add an entry. The ids are those of users and of a conversation; `actor_id` is None for a command.

    `detail` never has texts of people. What was opened is not recorded twice within `ONE_LOOK`. Each
    search is: the trail does not have what was looked for, so two of them may look the same.
    """
    entry = AuditEntry(
        action=action, actor_id=actor_id, conversation_id=conversation_id, person_id=person_id, detail=detail
    )
    record_all([entry])


def record_all(entries: Iterable[AuditEntry]) -> None:
    """Add these entries of one person, as `record` does; two statements."""
    given = list(entries)
    looks = [entry for entry in given if entry.action == AuditAction.OPENED]
    known = _recent_looks(looks[0].actor_id) if looks else set()
    AuditEntry.objects.bulk_create(entry for entry in given if entry not in looks or _key(entry) not in known)


Key = tuple[int | None, int | None, str]


def _key(entry: AuditEntry) -> Key:
    return (entry.conversation_id, entry.person_id, entry.detail)


def _recent_looks(actor_id: int | None) -> set[Key]:
    rows = AuditEntry.objects.filter(actor_id=actor_id, action=AuditAction.OPENED)
    recent = rows.filter(created_at__gt=timezone.now() - ONE_LOOK)
    return set(recent.values_list("conversation_id", "person_id", "detail"))
