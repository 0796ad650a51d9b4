"""Erases a person: their texts, their name, and how they sign in. Their messages stay where they are, empty.

It can be killed at any moment and started again. The name goes last, with everything else that is left, in one
transaction: until then the person is found by it, and what is still to be done is read from the rows themselves.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from functools import partial

from django.contrib.admin.models import LogEntry
from django.contrib.auth import SESSION_KEY
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import F, Q

from accounts.models import User, UserProfile
from chat.bus.event_bus import publish
from chat.bus.events import TextsErased, WaitingChanged
from chat.models import (
    AuditAction,
    Conversation,
    HandoffNote,
    LastSeen,
    Message,
    MessageQuerySet,
    Report,
    ReportedMessage,
)
from chat.moderation.audit import record
from chat.runtime.database import LOCKED_SECONDS, until_unlocked

logger = logging.getLogger(__name__)

ERASED_AT_ONCE = 500  # messages in one transaction, and in one event: about 20 ms
SESSIONS_AT_ONCE = 1000
# What is left of a message. Whatever else is ever made from a text belongs here.
EMPTY = {"content": "", "client_id": None, "search_text": "", "is_erased": True}


def erase_person(
    *,
    person: User,
    by: User | None,
    keep_reports: bool = False,
    until: float = math.inf,
    on_batch: Callable[[int], object] = lambda count: None,
) -> bool:
    """Erase this person; return whether nothing is left to be done. Otherwise call it again.

    `by` is who does it, None for a command. With `keep_reports`, what reports have of their texts stays.
    No batch begins after `until`, a time of `time.monotonic()`. `on_batch` is called with the number of messages of
    each batch. A message that the person sends meanwhile is refused or erased, too. The sockets of their conversations
    receive an event after each batch, and the person's own are closed. Healing sends what was lost of that when the
    person is erased, as where this was killed before an event. Erasing somebody again changes nothing.
    """
    if person.is_erased:
        return True
    record(AuditAction.ERASED, actor_id=by.pk if by else None, person_id=person.pk, detail="begun")
    messages = messages_of(person).filter(is_erased=False)
    while True:
        until_unlocked(_shut_out, person.pk)
        for count in _erase_texts(messages):
            on_batch(count)
            if time.monotonic() > until:
                return False
        if not messages.exists():  # else somebody had locked them
            _end_sessions(person.pk)  # reads all sessions, so not at each step
            until_unlocked(_end_waiting, person.pk)
            if until_unlocked(_erase_name, person.pk, by, keep_reports):
                return True
        if time.monotonic() > until:
            return False
        time.sleep(LOCKED_SECONDS)


def messages_of(person: User) -> MessageQuerySet:
    """Return all messages that this person has sent."""
    return Message.objects.filter(sender=person.pk)


@transaction.atomic
def _shut_out(person_id: int) -> None:
    """Take the password, and deactivate them: a message that is stored after this transaction is not theirs.

    The lock waits for the batches that are storing messages of theirs, and batches that begin now leave theirs out.
    """
    user = User.objects.select_for_update().get(pk=person_id)
    if user.is_active or user.has_usable_password():
        user.is_active = False
        user.set_unusable_password()
        user.save(update_fields=["is_active", "password"])  # the sockets are closed on its signal


def _end_sessions(person_id: int) -> None:
    """Delete the rows of their sessions, which let nobody in since the password is gone."""
    last = ""
    while found := list(Session.objects.filter(session_key__gt=last).order_by("session_key")[:SESSIONS_AT_ONCE]):
        last = found[-1].session_key
        theirs = [row.session_key for row in found if row.get_decoded().get(SESSION_KEY) == str(person_id)]
        if theirs:
            Session.objects.filter(session_key__in=theirs).delete()


def _erase_texts(messages: MessageQuerySet) -> Iterator[int]:
    """Erase these messages batch after batch, conversation by conversation; yields the number of each batch.

    It leaves out rows that somebody else has locked, and pauses as long as it works: the chat comes first.
    """
    conversations = messages.order_by("conversation_id").values_list("conversation_id", flat=True)
    conversation_id, seq = conversations.first(), 0
    while conversation_id is not None:
        begin = time.monotonic()
        found = until_unlocked(_erase_batch, messages.filter(conversation_id=conversation_id, seq__gt=seq))
        if found:
            sender_id, seq = found[-1].sender_id, found[-1].seq
            publish(TextsErased(conversation_id, sender_id, [message.pk for message in found]))
            yield len(found)
            time.sleep(time.monotonic() - begin)
        if len(found) < ERASED_AT_ONCE:
            conversation_id, seq = conversations.filter(conversation_id__gt=conversation_id).first(), 0


@transaction.atomic
def _erase_batch(messages: MessageQuerySet) -> list[Message]:
    """Erase the first `ERASED_AT_ONCE` of these messages of a conversation, and return them without their texts."""
    rows = messages.select_for_update(skip_locked=True).only("sender_id", "seq", "is_erased").order_by("seq")
    found = list(rows[:ERASED_AT_ONCE])
    left = [message.pk for message in found if not message.is_erased]
    Message.objects.filter(pk__in=left).update(**EMPTY)
    return found


@transaction.atomic
def _end_waiting(person_id: int) -> None:
    """Have nobody wait for an answer to this person, and nobody be told of their messages."""
    theirs = Conversation.objects.filter(Q(student__user=person_id) | Q(teacher__user=person_id))
    ids = list(theirs.order_by("pk").select_for_update(of=("self",), no_key=True).values_list("pk", flat=True))
    rows = Conversation.objects.filter(pk__in=ids)
    rows.update(**dict.fromkeys(Conversation.NOTICE_TIMES))
    waiting = rows.filter(student__user=person_id).exclude(answered_seq=F("last_seq"), waiting_since=None)
    changed = list(waiting.values_list("pk", flat=True))
    rows.filter(pk__in=changed).update(waiting_since=None, answered_seq=F("last_seq"))
    events = [WaitingChanged(pk) for pk in changed]
    transaction.on_commit(partial(publish, *events), robust=True)


@transaction.atomic
def _erase_name(person_id: int, by: User | None, keep_reports: bool) -> bool:
    """Erase the rest, if no text is left and nobody has let the person in again; return whether it did."""
    profile = UserProfile.objects.select_for_update(no_key=True).filter(user=person_id).first()
    user = User.objects.select_for_update().get(pk=person_id)
    if user.is_active or user.has_usable_password() or _is_left(user):
        return False
    if profile is not None:
        profile.full_name = ""
        profile.save(update_fields=["full_name"])
    _erase_account(user)
    _erase_log(user, profile)
    LastSeen.objects.filter(user=user).delete()
    HandoffNote.objects.filter(assignment__student__user=person_id).delete()
    if not keep_reports:
        _erase_reports(person_id)
    detail = "done, reports kept" if keep_reports else "done"
    record(AuditAction.ERASED, actor_id=by.pk if by else None, person_id=person_id, detail=detail)
    return True


def _is_left(user: User) -> bool:
    return messages_of(user).filter(is_erased=False).exists()


def _erase_reports(person_id: int) -> None:
    """Take their texts out of reports; no new copy is made of them, because their messages are empty by now."""
    ReportedMessage.objects.filter(sender_id=person_id).update(content="")
    Report.objects.filter(reporter_id=person_id).update(reason="")


def _erase_account(user: User) -> None:
    for other in User.objects.filter(username=user.erased_name).exclude(pk=user.pk):
        logger.warning("user %s had a name that is kept for people who are erased", other.pk)
        other.username += f"-{other.pk}"
        other.save(update_fields=["username"])
    user.groups.clear()
    user.user_permissions.clear()
    user.username, user.email, user.first_name, user.last_name = user.erased_name, "", "", ""
    user.is_staff = user.is_superuser = False
    user.last_login = None
    user.save()


def _erase_log(user: User, profile: UserProfile | None) -> None:
    """Take their name out of what the admin has recorded about them; that somebody changed them stays."""
    types = ContentType.objects.get_for_models(User, UserProfile)
    about = Q(content_type=types[User], object_id=str(user.pk))
    if profile is not None:
        about |= Q(content_type=types[UserProfile], object_id=str(profile.pk))
    LogEntry.objects.filter(about).update(object_repr=user.erased_name, change_message="")
