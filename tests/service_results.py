"""Helpers to compare what services and batches return and store."""

import time
from collections.abc import Sequence
from typing import Any

from asgiref.sync import async_to_sync

from accounts.models import User, UserProfile
from accounts.serializers import ProfileBody
from chat.bus.events import MessagePosted
from chat.errors import ClientError
from chat.models import Conversation, Message
from chat.store import batch as batches
from chat.store.drafts import Draft, Outcome
from chat.wire.server_frames import MessageBody
from tests.people import profile_object

CLOSED = ("conversation_closed", "This conversation is closed.", 403, None, None)
UNAVAILABLE = ("temporarily_unavailable", "Temporarily unavailable. Try again.", 503, None, None)


def entry(conversation: Conversation, sender: User, content: Any, client_id: str | None = None) -> Draft:
    """A message that waits to be stored; without content the database refuses its row."""
    draft = Draft(conversation.pk, sender.pk, content or "", client_id)
    draft.content = content
    return draft


def stored(conversation: Conversation) -> list[tuple[int, int, str, str | None]]:
    """Return what of each message of the conversation was given, in their order."""
    rows = Message.objects.filter(conversation_id=conversation.pk).order_by("seq")
    return list(rows.values_list("seq", "sender", "content", "client_id"))


def store(batch: Sequence[Draft]) -> list[Outcome | None]:
    """Store the batch, from a thread; on PostgreSQL it sees only what is committed."""
    return async_to_sync(batches.store)(batch)


def store_all(batch: Sequence[Draft]) -> list[Outcome]:
    """Store the batch as the writer does: what somebody else has locked is tried again, for five seconds."""
    done: dict[Draft, Outcome] = {}
    deadline = time.monotonic() + 5
    while len(done) < len(batch):
        rest = [draft for draft in batch if draft not in done]
        done |= {draft: outcome for draft, outcome in zip(rest, store(rest), strict=True) if outcome is not None}
        assert time.monotonic() < deadline, "still locked"
    return [done[draft] for draft in batch]


def refusal(outcome: Outcome | None) -> tuple[Any, ...]:
    """Return everything that the sender of a refused message receives."""
    assert isinstance(outcome, ClientError)
    return told(outcome)


def told(error: ClientError) -> tuple[Any, ...]:
    """Return everything that a client receives about an error."""
    return error.code, error.text, error.status, error.field, error.retry_after


def posted(message: Message, client_id: str | None = None) -> MessagePosted:
    """The event that tells of a stored message, from the database's row."""
    return event_of(Message.objects.select_related("sender__profile").get(pk=message.pk), client_id)


def event_of(message: Message, client_id: str | None = None) -> MessagePosted:
    body = MessageBody(
        id=message.pk,
        sender=message.sender_id,
        sender_profile=ProfileBody(**profile_object(message.sender)),
        content=message.content,
        timestamp=message.timestamp,
        is_read=message.is_read,
        is_own_message=False,
    )
    return MessagePosted(message.conversation_id, message.seq, body, client_id)


def reassign(student: User, mentor: User | None) -> None:
    UserProfile.objects.filter(user=student).update(assigned_mentor=mentor.profile if mentor else None)


def read_flags(conversation: Conversation) -> str:
    """The messages in order, R for read and - for unread."""
    rows = conversation.messages.order_by("seq").values_list("is_read", flat=True)
    return "".join("R" if is_read else "-" for is_read in rows)


def unread(conversation: Conversation) -> list[str]:
    """Return what of the conversation is unread, oldest first."""
    return list(conversation.messages.filter(is_read=False).order_by("seq").values_list("content", flat=True))
