"""Locks conversations that are deleted, and deletes those of people who are, before Django deletes the people.

Django reads what belongs to a row, and then deletes it table by table. A message that is stored in between would refer
to a conversation that is gone, and the whole deletion would fail.
"""

from typing import Any

from django.db.models import Model, Q, QuerySet
from django.db.models.signals import pre_delete

from accounts.models import User, UserProfile
from chat.models import Conversation


def connect() -> None:
    """Connect the receivers; called once, when the app is ready."""
    for model in (User, UserProfile, Conversation):
        pre_delete.connect(_before_deletion, sender=model)


def _before_deletion(sender: type[Model], instance: Model, origin: Any, **_: Any) -> None:
    """A row will be deleted, in the present transaction; `origin` is the row or the queryset that was to be deleted.

    The first of the rows does it for all, because everything must be locked in one order.
    """
    rows = list(origin) if isinstance(origin, QuerySet) else [origin]
    keys = [row.pk for row in rows if isinstance(row, sender)]
    if not keys or instance.pk != min(keys):
        return
    if sender is Conversation:
        _locked(Conversation.objects.filter(pk__in=keys), "pk")
    else:
        _delete_conversations(Q(user__in=keys) if sender is User else Q(pk__in=keys))


def _delete_conversations(whose: Q) -> None:
    """Delete the conversations of these profiles. Until the transaction ends, they can neither write nor begin one."""
    profiles = UserProfile.objects.filter(whose)
    _lock_and_delete(profiles)
    # Whoever stores a row that refers to one of these waits for the lock, and is then told that the person is gone.
    users = [user for _, user in _locked(profiles, "pk", "user")]
    _locked(User.objects.filter(pk__in=users), "pk")
    _lock_and_delete(profiles)  # those that began meanwhile


def _lock_and_delete(profiles: QuerySet[UserProfile]) -> None:
    """Lock the conversations first, and in the order of their ids, as the writer does: two orders would deadlock."""
    conversations = Conversation.objects.filter(Q(student__in=profiles) | Q(teacher__in=profiles))
    found = [pk for (pk,) in _locked(conversations, "pk")]
    Conversation.objects.filter(pk__in=found).delete()


def _locked(rows: QuerySet[Any], *fields: str) -> list[Any]:
    return list(rows.order_by("pk").select_for_update(of=("self",)).values_list(*fields))
