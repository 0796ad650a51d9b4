"""Stores which browsers take pushes, and for whom."""

from typing import Any
from urllib.parse import urlsplit

from django.db import transaction
from django.db.models.functions import Now

from accounts.models import User
from notices.models import PushSubscription

MAX_PER_PERSON = 16


def save_subscription(*, user: User, session_key: str, endpoint: str, p256dh: str, auth: str) -> bool:
    """Have this browser take pushes for this user until the session ends; return whether it was not known before.

    Whoever it took pushes for before, it no longer does. Of more than `MAX_PER_PERSON` the oldest is forgotten.
    """
    values = {"user": user, "session_id": session_key, "p256dh": p256dh, "auth": auth, "saved_at": Now()}
    mine = PushSubscription.objects.filter(user=user).order_by("-saved_at", "-pk")
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=user.pk)  # two at once would each leave one too many
        _, created = PushSubscription.objects.update_or_create(endpoint=endpoint, defaults=values)
        oldest = list(mine.values_list("pk", flat=True)[MAX_PER_PERSON:])
        PushSubscription.objects.filter(pk__in=oldest).delete()
    return created


def end_subscription(*, user: User, endpoint: str) -> None:
    """Send nothing more to this browser of the user."""
    if not endpoint.isascii() or "\0" in endpoint:
        return  # none that is stored
    PushSubscription.objects.filter(user=user, endpoint=endpoint).delete()


def devices_of(user: User) -> list[dict[str, Any]]:
    """Return the browsers that take this user's pushes, as their export shows them: the service, and since when.

    Not the whole address, with which somebody else could send pushes to the browser.
    """
    rows = PushSubscription.objects.filter(user=user).order_by("pk")
    return [{"push_service": urlsplit(row.endpoint).hostname, "saved_at": row.saved_at} for row in rows]
