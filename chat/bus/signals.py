"""Receivers of Django's signals: when a session, user, profile or conversation changes, they publish an event.

Signals are used only here. `accounts` must not know `chat`, and the admin, the shell and Django's own views end
sessions without calling `chat`. A `QuerySet.update` sends no signal; the periodic rounds find its changes.
"""

from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.utils import timezone

from accounts.models import User, UserProfile
from chat.bus.event_bus import publish
from chat.bus.events import AccessChanged, AnyEvent, ConversationStarted
from chat.models import Conversation


def connect() -> None:
    """Connect the receivers; called once, when the app is ready."""
    post_delete.connect(_session_ended, sender=Session)
    post_save.connect(_user_changed, sender=User)
    post_delete.connect(_user_changed, sender=User)
    post_save.connect(_profile_changed, sender=UserProfile)
    post_delete.connect(_profile_changed, sender=UserProfile)
    post_save.connect(_conversation_saved, sender=Conversation)


def _session_ended(instance: Session, **_: Any) -> None:
    """A session was deleted: by a log-out, a new log-in over it, or an administrator."""
    user_id = instance.get_decoded().get(SESSION_KEY)
    # `clearsessions` deletes expired sessions, whose sockets the rounds close.
    if user_id is not None and instance.expire_date > timezone.now():
        _publish_on_commit(AccessChanged(int(user_id)))


def _user_changed(instance: User, update_fields: Any = None, created: bool = False, **_: Any) -> None:
    """A user was saved or deleted. Signing in saves only `last_login`, which changes no access."""
    if not created and set(update_fields or ()) != {"last_login"}:
        _publish_on_commit(AccessChanged(instance.pk))


def _profile_changed(instance: UserProfile, created: bool = False, **_: Any) -> None:
    """A profile was saved or deleted: its role or mentor may have changed."""
    if not created:
        _publish_on_commit(AccessChanged(instance.user_id))


def _conversation_saved(instance: Conversation, created: bool = False, **_: Any) -> None:
    """A new conversation of a student and a mentor was stored."""
    if created:
        _publish_on_commit(ConversationStarted(instance.student_id, instance.teacher_id))


def _publish_on_commit(event: AnyEvent) -> None:
    transaction.on_commit(lambda: publish(event), robust=True)
