"""Locks conversations, which can then only be read, and people, who have no sockets then and cannot write."""

import logging
from functools import partial

from django.db import transaction

from accounts.models import User, UserProfile
from chat.bus.event_bus import publish
from chat.bus.events import AccessChanged, ConversationLockChanged
from chat.models import AuditAction, Conversation
from chat.moderation.audit import record

logger = logging.getLogger(__name__)


def lock_conversation(conversation: Conversation, *, by: User) -> bool:
    """Refuse every message in this conversation from now on; False if it was locked already."""
    return _set_conversation(conversation, True, by)


def unlock_conversation(conversation: Conversation, *, by: User) -> bool:
    """Accept messages in this conversation again; False if it was not locked."""
    return _set_conversation(conversation, False, by)


def lock_person(person: UserProfile, *, by: User) -> bool:
    """Close this person's sockets, and refuse their messages from now on; False if they were locked already."""
    return _set_person(person, True, by)


def unlock_person(person: UserProfile, *, by: User) -> bool:
    """Let this person connect and write again; False if they were not locked."""
    return _set_person(person, False, by)


def _set_conversation(conversation: Conversation, is_locked: bool, by: User) -> bool:
    rows = Conversation.objects.filter(pk=conversation.pk, is_locked=not is_locked)
    with transaction.atomic():
        changed = rows.update(is_locked=is_locked)
        if changed:
            logger.info("user %s %s conversation %s", by.pk, _action(is_locked), conversation.pk)
            record(_action(is_locked), actor_id=by.pk, conversation_id=conversation.pk)
            event = ConversationLockChanged(conversation.pk)
            transaction.on_commit(partial(publish, event), robust=True)
    conversation.is_locked = is_locked
    return bool(changed)


def _set_person(person: UserProfile, is_locked: bool, by: User) -> bool:
    rows = UserProfile.objects.filter(pk=person.pk, is_locked=not is_locked)
    with transaction.atomic():
        changed = rows.update(is_locked=is_locked)
        if changed:
            logger.info("user %s %s user %s", by.pk, _action(is_locked), person.user_id)
            record(_action(is_locked), actor_id=by.pk, person_id=person.user_id)
            transaction.on_commit(partial(publish, AccessChanged(person.user_id)), robust=True)
    person.is_locked = is_locked
    return bool(changed)


def _action(is_locked: bool) -> AuditAction:
    return AuditAction.LOCKED if is_locked else AuditAction.UNLOCKED
