"""Stores a batch with the ORM: everything on SQLite, and what the statement for PostgreSQL leaves out."""

import logging
from collections.abc import Sequence
from datetime import datetime

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from chat.errors import ClientError, UnavailableError, refusal
from chat.models import Answer, Conversation, Message
from chat.runtime.database_errors import trouble_of
from chat.store.drafts import Draft, Outcome, Sent
from chat.store.history import message_posted

logger = logging.getLogger(__name__)


class AbandonedError(Exception):
    """All messages of this batch were given up: it is rolled back."""


def store_portably(batch: Sequence[Draft], done: dict[Draft, Outcome | None]) -> None:
    """Store the batch, or if that fails its drafts one by one. `done` has the outcomes, even if this raises."""
    try:
        done.update(zip(batch, _store(batch), strict=True))
        return
    except AbandonedError:
        raise
    except Exception as error:
        trouble = trouble_of(error)
        if trouble and trouble.concerns_all:
            raise
        if trouble is None or not trouble.is_temporary:
            logger.exception("a batch failed")
        if len(batch) == 1:
            done[batch[0]] = None if trouble and trouble.is_temporary else UnavailableError()
            return
    locked: set[int] = set()
    for draft in batch:
        # A later message must not overtake. Where two conversations are locked it may be the table: no more is tried.
        if draft.conversation_id in locked or len(locked) > 1:
            done[draft] = None
        elif not draft.given_up:
            store_portably([draft], done)
            if done[draft] is None:
                locked.add(draft.conversation_id)


def _store(batch: Sequence[Draft]) -> list[Outcome | None]:
    with transaction.atomic():
        now, locked = _lock(batch)
        free = [draft for draft in batch if draft not in locked]
        # Read when the locks are held: what was committed before counts, such as that the sender was deactivated.
        conversations = Conversation.objects.with_people().in_bulk({draft.conversation_id for draft in free})
        stored = _stored_before(free)
        new: dict[Draft, Message] = {}
        answers: list[Answer | None] = []
        outcomes: dict[Draft, ClientError | None] = dict.fromkeys(locked)
        for draft in free:
            if draft.key is not None and draft.key in stored:
                continue
            message = _message(draft, conversations.get(draft.conversation_id), now)
            if isinstance(message, ClientError):
                outcomes[draft] = message
                continue
            new[draft] = message
            answers.append(message.conversation.note_message(draft.sender_id, message.seq, message.timestamp))
            if draft.key is not None:
                stored[draft.key] = message
        _insert(list(new.values()), list(filter(None, answers)))
        if all(draft.given_up for draft in batch):
            raise AbandonedError
    return [outcomes[draft] if draft in outcomes else _sent(draft, new, stored) for draft in batch]


# Returns the time, and which conversations and senders somebody else has locked; locks the others as STATEMENT does.
LOCK_STATEMENT = """
WITH held AS MATERIALIZED (
    SELECT id FROM chat_conversation WHERE id = ANY(%(conversations)s) FOR NO KEY UPDATE SKIP LOCKED
), senders AS MATERIALIZED (
    SELECT id FROM accounts_user WHERE id = ANY(%(senders)s) FOR KEY SHARE SKIP LOCKED
)
SELECT statement_timestamp(),
    ARRAY(SELECT id FROM chat_conversation WHERE id = ANY(%(conversations)s) AND id NOT IN (SELECT id FROM held)),
    ARRAY(SELECT id FROM accounts_user WHERE id = ANY(%(senders)s) AND id NOT IN (SELECT id FROM senders))
"""


def _lock(batch: Sequence[Draft]) -> tuple[datetime, set[Draft]]:
    """Lock the conversations of the batch; return the time, and the drafts that somebody else's lock keeps waiting."""
    if connection.vendor != "postgresql":
        return timezone.now(), set()  # the transaction has locked the whole database
    ids = {"conversations": [d.conversation_id for d in batch], "senders": [d.sender_id for d in batch]}
    with connection.cursor() as cursor:
        cursor.execute(LOCK_STATEMENT, ids)
        [(now, conversations, senders)] = cursor.fetchall()
    return now, {d for d in batch if d.conversation_id in conversations or d.sender_id in senders}


def _stored_before(batch: Sequence[Draft]) -> dict[tuple[int, int, str], Message]:
    wanted = Q()
    for draft in batch:
        if draft.client_id is not None:
            wanted |= Q(conversation=draft.conversation_id, sender=draft.sender_id, client_id=draft.client_id)
    if not wanted:
        return {}
    rows = Message.objects.with_sender().filter(wanted)
    return {(row.conversation_id, row.sender_id, str(row.client_id)): row for row in rows}


def _message(draft: Draft, conversation: Conversation | None, now: datetime) -> Message | ClientError:
    """Return the draft's row with its seq, or the error if its sender may not write.

    The times of a conversation never go back, whatever a clock does.
    """
    person = conversation.person(draft.sender_id) if conversation else None
    if person is not None and person.is_locked:
        return refusal("account_locked")
    member = conversation.member(draft.sender_id) if conversation else None
    if conversation is None or member is None or not member.user.is_active or not conversation.is_active:
        return refusal("conversation_closed")
    if conversation.is_locked:
        return refusal("conversation_locked")
    conversation.last_seq, conversation.updated_at = conversation.last_seq + 1, max(now, conversation.updated_at)
    conversation.note_unread(draft.sender_id, conversation.updated_at)
    return Message(
        conversation=conversation,
        sender=member.user,
        content=draft.content,
        client_id=draft.client_id,
        search_text=draft.search_text,
        seq=conversation.last_seq,
        timestamp=conversation.updated_at,
    )


def _insert(messages: list[Message], answers: list[Answer]) -> None:
    """Store the messages, the first answers among them, and what both have changed in their conversations."""
    if messages:
        Message.objects.bulk_create(messages)
        changed = ["last_seq", *Conversation.SET_BY_MESSAGES]
        Conversation.objects.bulk_update({message.conversation for message in messages}, changed)
    if answers:
        Answer.objects.bulk_create(answers, ignore_conflicts=True)


def _sent(draft: Draft, new: dict[Draft, Message], stored: dict[tuple[int, int, str], Message]) -> Sent:
    message = new.get(draft) or stored[draft.key or (0, 0, "")]
    return Sent(message_posted(message), created=draft in new)
