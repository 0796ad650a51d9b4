"""Loads and stores when users were last online."""

from collections.abc import Collection, Mapping
from datetime import datetime

from accounts.models import User
from chat.models import LastSeen


def load_last_seen(users: Collection[int]) -> dict[int, datetime]:
    """Return when these users were last online, by user id; users who never went offline are left out."""
    return dict(LastSeen.objects.filter(user__in=users).values_list("user_id", "at"))


def save_last_seen(seen: Mapping[int, datetime]) -> None:
    """Store when users were last online; in the order of their ids, so that two processes cannot deadlock."""
    present = User.objects.filter(pk__in=seen).order_by("pk").values_list("pk", flat=True)
    rows = [LastSeen(user_id=pk, at=seen[pk]) for pk in present]
    LastSeen.objects.bulk_create(rows, update_conflicts=True, unique_fields=["user"], update_fields=["at"])
