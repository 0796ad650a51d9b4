"""The services: everything that REST, sockets, admin and commands can do to conversations."""

import asyncio
import time
from collections.abc import Callable, Collection

from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Greatest

from accounts.models import User, UserProfile
from chat.bus.event_bus import publish
from chat.bus.events import ConversationStarted, MessagesRead, WaitingChanged
from chat.errors import ClientError, refusal
from chat.models import Conversation, ConversationQuerySet, MessageQuerySet, after_reading
from chat.moderation.locks import lock_conversation, lock_person, unlock_conversation, unlock_person
from chat.moderation.reassignment import handoff_note, reassign_mentor
from chat.runtime.rate_limit import send_limit
from chat.store.drafts import Draft, Outcome, Sent
from chat.store.overview import create_missing
from chat.store.waiting import end_waiting
from chat.store.writer import writer

__all__ = [
    "create_missing_conversations",
    "former_conversation",
    "former_conversations",
    "handoff_note",
    "lock_conversation",
    "lock_person",
    "mark_read",
    "mark_read_up_to",
    "mark_read_up_to_newest",
    "mentor_conversation",
    "mentor_profile",
    "no_such_message",
    "participant",
    "queue_message",
    "reassign_mentor",
    "refuse_locked",
    "send_message",
    "signed_in",
    "student_conversation",
    "unlock_conversation",
    "unlock_person",
]

# Messages are marked in steps. Otherwise the reader would wait for all of them, and so would the conversation's
# senders, who need the same lock.
MARKED_AT_ONCE = 2000  # messages in one transaction, and in one event: about 50 ms, and 30 kB on the channel layer
MARK_SECONDS = 1.0  # no step begins after this (tens of thousands of messages); a handshake has 4.2 s in all


def signed_in(user: User | AnonymousUser) -> User:
    """Return the user; raises 401 if they are not signed in or are deactivated."""
    if not isinstance(user, User) or not user.is_active:
        raise ClientError("not_authenticated", "Authentication credentials were not provided.", 401)
    return user


def refuse_locked(*, user: User) -> None:
    """Raise `account_locked` for a person who is locked; they may only read over REST."""
    profile = _profile(user)
    if profile is not None and profile.is_locked:
        raise refusal("account_locked")


def student_conversation(*, user: User, create: bool = True) -> Conversation:
    """Return a student's conversation with their mentor; 403 for others, 404 without mentor.

    A missing one is created; without `create` that is a 404, too.
    """
    profile = _profile(user)
    if profile is None or not profile.is_student:
        raise ClientError("not_a_student", "Only students have a mentor.", 403)
    # Uses the present mentor from the database; the loaded profile may be stale.
    pair = Conversation.objects.with_profiles().filter(student=profile, teacher=F("student__assigned_mentor"))
    conversation = pair.first()
    if conversation is None and not create:
        raise ClientError("conversation_not_found", "The conversation does not exist yet.", 404)
    if conversation is None:
        present = UserProfile.objects.select_related("user", "assigned_mentor__user").filter(pk=profile.pk).first()
        if present is not None and present.mentor is not None:
            conversation, _ = Conversation.get_or_create_conversation(
                student_profile=present, teacher_profile=present.mentor
            )
    if conversation is None or not conversation.is_active:
        raise ClientError("no_mentor", "No mentor is assigned.", 404)
    return conversation


def mentor_profile(*, user: User) -> UserProfile:
    """Return the profile of a teacher or trainer; 403 for anyone else."""
    profile = _profile(user)
    if profile is None or not profile.is_mentor:
        raise ClientError("not_a_mentor", "Only teachers and trainers have students.", 403)
    return profile


def mentor_conversation(*, user: User, conversation_id: int) -> Conversation:
    """Return a conversation of this teacher or trainer; 403 for other users, 404 for other conversations."""
    profile = mentor_profile(user=user)
    conversation = Conversation.objects.with_profiles().filter(pk=conversation_id, teacher=profile).first()
    if conversation is None:
        raise ClientError("conversation_not_found", "No such conversation.", 404)
    return conversation


def former_conversations(*, user: User) -> ConversationQuerySet:
    """Return a student's conversations with mentors whom they do not have now; 403 for anyone else."""
    profile = _profile(user)
    if profile is None or not profile.is_student:
        raise ClientError("not_a_student", "Only students have a mentor.", 403)
    conversations = Conversation.objects.filter(student=profile)
    return conversations if profile.mentor is None else conversations.exclude(teacher=profile.mentor)


def former_conversation(*, user: User, conversation_id: int) -> Conversation:
    """Return one of `former_conversations`; 404 for any other id."""
    conversation = former_conversations(user=user).with_profiles().filter(pk=conversation_id).first()
    if conversation is None:
        raise ClientError("conversation_not_found", "No such conversation.", 404)
    return conversation


def create_missing_conversations(*, mentor: UserProfile) -> None:
    """Create the conversations with this mentor's present students that do not exist yet, and publish them."""
    if students := create_missing(mentor):
        publish(*(ConversationStarted(student_id, mentor.pk) for student_id in students))


def participant(*, user: User) -> UserProfile:
    """Return the profile of a student, teacher or trainer; 403 for anyone else."""
    profile = _profile(user)
    if profile is None or not (profile.is_student or profile.is_mentor):
        raise ClientError("not_a_participant", "Only students and mentors have conversations.", 403)
    return profile


def _profile(user: User) -> UserProfile | None:
    return getattr(user, "profile", None)


def no_such_message() -> ClientError:
    """Return the error for an id that is no message of a conversation."""
    return ClientError("message_not_found", "No such message in this conversation.", 404)


def mark_read_up_to(*, conversation: Conversation, reader: User, message_id: int) -> int:
    """Mark the other participant's messages up to and including this one as read, as `mark_read` does.

    Raises `message_not_found` if the message is not in the conversation.
    """
    up_to = conversation.messages.filter(pk=message_id).values_list("seq", flat=True).first()
    if up_to is None:
        raise no_such_message()
    return mark_read(conversation=conversation, reader=reader, up_to=up_to)


def mark_read_up_to_newest(
    *, conversation: Conversation, reader: User, message_ids: Collection[int | None]
) -> set[int]:
    """Mark up to the newest of these messages as read, as `mark_read` does, or all if None is one of them.

    Returns the ids that are not in the conversation.
    """
    ids = {message_id for message_id in message_ids if message_id is not None}
    seqs = dict(conversation.messages.filter(pk__in=ids).values_list("pk", "seq")) if ids else {}
    if None in message_ids:
        mark_read(conversation=conversation, reader=reader)
    elif seqs:
        mark_read(conversation=conversation, reader=reader, up_to=max(seqs.values()))
    return ids - seqs.keys()


def mark_read(*, conversation: Conversation, reader: User, up_to: int | None = None) -> int:
    """Mark the other participant's messages up to and including seq `up_to`, or all, as read; return their number.

    Marking starts with the oldest message and stops after `MARK_SECONDS`; the next call marks the rest. The read
    position of `conversation` is set to the last marked message. The conversation's sockets receive an event.
    """
    unread = conversation.unread_by(reader.pk)
    if up_to is not None:
        unread = unread.filter(seq__lte=up_to)
    count, deadline = 0, time.monotonic() + MARK_SECONDS
    while True:
        found, marked = _mark_oldest(conversation, reader, unread)
        count += marked
        if found < MARKED_AT_ONCE or time.monotonic() > deadline:
            return count


def _mark_oldest(conversation: Conversation, reader: User, unread: MessageQuerySet) -> tuple[int, int]:
    """Mark the first `MARKED_AT_ONCE` of `unread`; return how many were found, and how many of them this marked."""
    # The read position is from the same query: with it, receivers of the event detect that they missed an earlier one.
    counter = conversation.read_field(reader.pk)
    rows = unread.order_by("seq").values_list("pk", "seq", f"conversation__{counter}")
    found = list(rows[:MARKED_AT_ONCE])
    if not found:
        return 0, 0
    newest, before = found[-1][1], found[0][2]
    with transaction.atomic():
        # Update the conversation's row first, as everywhere: this takes its lock.
        row = Conversation.objects.filter(pk=conversation.pk)
        row.update(**{counter: Greatest(F(counter), newest)}, **after_reading(counter, newest))
        marked = unread.filter(seq__lte=newest).update(is_read=True)
    setattr(conversation, counter, max(before, newest))
    if marked:
        messages = [(pk, seq) for pk, seq, _ in found]
        publish(MessagesRead(conversation.pk, reader.pk, before, newest, messages))
    return len(found), marked


def mark_done(*, conversation: Conversation) -> None:
    """Store that nothing so far needs a reply: nobody waits until the student writes again. Both inboxes are told."""
    if end_waiting(conversation.pk):
        publish(WaitingChanged(conversation.pk))


async def send_message(*, conversation_id: int, sender_id: int, content: str, client_id: str | None) -> Sent:
    """Store a message and publish it to the conversation's sockets; returns after the commit, within 5 s.

    Raises `rate_limited`, `conversation_closed`, or `temporarily_unavailable` if it may not have been stored.
    """
    sent: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def tell(outcome: Outcome) -> None:
        if not sent.done():  # else the request was cancelled; its message is still stored
            sent.set_result(outcome)

    queue_message(conversation_id, sender_id, content, client_id, tell)
    outcome = await sent
    if isinstance(outcome, ClientError):
        raise outcome
    return outcome


def queue_message(
    conversation_id: int, sender_id: int, content: str, client_id: str | None, tell: Callable[[Outcome], None]
) -> None:
    """Take a token of the sender's rate limit and queue the message; messages are stored in the order of the calls.

    `tell` is called with the outcome within 5 s. Raises `rate_limited`.
    """
    if wait := send_limit().take(sender_id):
        raise ClientError("rate_limited", "You are writing too fast.", 429, retry_after=wait)
    writer().write(Draft(conversation_id, sender_id, content, client_id), tell)
