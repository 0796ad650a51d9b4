"""Loads and stores when users were last online."""

from collections.abc import Collection, Mapping
from datetime import datetime

from django.db import transaction

from accounts.models import User
from chat.models import LastSeen


def load_last_seen(users: Collection[int]) -> dict[int, datetime]:
    """Return when these users were last online, by user id; users who never went offline are left out."""
    return dict(LastSeen.objects.filter(user__in=users).values_list("user_id", "at"))


def save_last_seen(seen: Mapping[int, datetime]) -> set[int]:
    """Store when users were last online; return the users of whom this was not stored.

    These are locked by somebody else: the others must not wait with them. Users who are deleted are left out.
    """
    users = User.objects.filter(pk__in=seen).order_by("pk")  # so that two processes cannot deadlock
    present = set(users.values_list("pk", flat=True))
    with transaction.atomic():
        free = list(users.select_for_update(skip_locked=True, no_key=True).values_list("pk", flat=True))
        rows = [LastSeen(user_id=pk, at=seen[pk]) for pk in free]
        LastSeen.objects.bulk_create(rows, update_conflicts=True, unique_fields=["user"], update_fields=["at"])
    return present.difference(free)
