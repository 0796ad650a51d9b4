"""Loads and stores when users were last online."""

from collections.abc import Collection, Mapping
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from accounts.models import User, is_erased
from chat.models import LastSeen


def load_last_seen(users: Collection[int]) -> dict[int, datetime]:
    """Return when these users were last online, by user id; who never went offline, or is erased, is left out."""
    rows = LastSeen.objects.filter(user__in=users).values_list("user_id", "user__username", "at")
    return {pk: at for pk, name, at in rows if not is_erased(pk, name)}


def save_last_seen(seen: Mapping[int, datetime]) -> set[int]:
    """Store when users were last online; return the users of whom this was not stored.

    These are locked by somebody else: the others must not wait with them. Users who are deleted or erased are left out.
    """
    users = User.objects.filter(pk__in=seen).order_by("pk")  # so that two processes cannot deadlock
    present = _not_erased(users)
    with transaction.atomic():
        free = _not_erased(users.select_for_update(skip_locked=True, no_key=True))
        rows = [LastSeen(user_id=pk, at=seen[pk]) for pk in free]
        LastSeen.objects.bulk_create(rows, update_conflicts=True, unique_fields=["user"], update_fields=["at"])
    return present.difference(free)


def _not_erased(users: QuerySet[User]) -> set[int]:
    return {pk for pk, name in users.values_list("pk", "username") if not is_erased(pk, name)}
