"""Stores a batch of messages: with one statement on PostgreSQL; what that leaves out, and on SQLite, with the ORM."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import Error

from accounts.models import MENTOR_ROLES, RoleChoices
from accounts.serializers import ProfileBody
from chat.bus.events import MessagePosted
from chat.errors import UnavailableError
from chat.models import notice_delay
from chat.runtime import loop_database
from chat.runtime.database import note_refusal, submit_write
from chat.runtime.database_errors import Trouble, count_trouble, temporary_trouble, trouble_of
from chat.store.drafts import Draft, Outcome, Sent
from chat.store.portable_batch import AbandonedError, store_portably
from chat.wire.server_frames import MessageBody

logger = logging.getLogger(__name__)

EPOCH = datetime.fromtimestamp(0, UTC)

# Locks the conversations, then numbers and inserts the messages that may be written. `portable_batch` handles what
# this leaves out. It never waits for a row: a conversation or a sender that somebody else has locked is left out. So
# the others of the batch do not wait with it, no deadlock is possible, and what it reads of people is what was
# committed when it had the lock. Each row is tried once, so that no message overtakes an earlier one that was left
# out. The sender is locked as the message's foreign key would lock them at the COMMIT. A row without an id is a message
# whose conversation is locked. So is one that changed after the statement began and before it had the lock (`xmin`):
# the statement sees people as they were when it began, and the change may be another mentor (chat/moderation/).
# All new messages of a conversation have one time, which makes it simple who waits since when;
# `Conversation.note_message` says the same for one message.
# OFFSET 0 keeps PostgreSQL from joining whole tables: for each message it reads a few rows, by their indexes.
STATEMENT = """
WITH given AS MATERIALIZED (
    SELECT *
    FROM unnest(%(n)s::int[], %(conversation)s::bigint[], %(sender)s::bigint[], %(content)s::text[],
        %(client_id)s::text[], %(search_text)s::text[])
        AS given (n, conversation_id, sender_id, content, client_id, search_text)
), conversation AS MATERIALIZED (
    SELECT *, version = (SELECT xmin FROM chat_conversation WHERE id = conversation_id) AS is_current FROM (
        SELECT id AS conversation_id, last_seq, updated_at, student_id, teacher_id, is_locked, waiting_since,
            xmin AS version
        FROM chat_conversation
        WHERE id = ANY(%(conversation)s::bigint[])
        FOR NO KEY UPDATE SKIP LOCKED
    ) held
), "user" AS MATERIALIZED (
    SELECT id, username, email, is_active FROM accounts_user
    WHERE id = ANY(%(sender)s::bigint[])
    FOR KEY SHARE SKIP LOCKED
), allowed AS (
    SELECT entry.*, sender.*, nextval('chat_message_id_seq') AS id,
        last_seq + row_number() OVER (PARTITION BY conversation_id ORDER BY n) AS seq,
        greatest(statement_timestamp(), updated_at) AS sent_at
    FROM (given JOIN conversation USING (conversation_id)) entry
    CROSS JOIN LATERAL (
        SELECT profile.id AS profile_id, profile.full_name, profile.role, "user".username, "user".email
        FROM accounts_userprofile student
        JOIN accounts_userprofile teacher ON teacher.id = student.assigned_mentor_id
        JOIN accounts_userprofile profile ON profile.id IN (entry.student_id, entry.teacher_id)
        JOIN "user" ON "user".id = profile.user_id
        WHERE student.id = entry.student_id AND teacher.id = entry.teacher_id AND profile.user_id = entry.sender_id
            AND student.role = %(student)s AND teacher.role = ANY(%(mentors)s::text[]) AND "user".is_active
            AND NOT profile.is_locked
        OFFSET 0
    ) sender
    WHERE entry.is_current AND NOT entry.is_locked AND (entry.client_id IS NULL OR NOT EXISTS (
        SELECT FROM chat_message stored WHERE stored.sender_id = entry.sender_id
            AND stored.conversation_id = entry.conversation_id AND stored.client_id = entry.client_id
        OFFSET 0
    ))
), inserted AS (
    INSERT INTO chat_message
        (id, conversation_id, sender_id, content, timestamp, is_read, seq, client_id, search_text)
    SELECT id, conversation_id, sender_id, content, sent_at, false, seq, client_id, search_text FROM allowed
), counted AS (
    UPDATE chat_conversation SET last_seq = newest.seq, updated_at = newest.sent_at,
        answered_seq = coalesce(newest.answered, answered_seq),
        waiting_since = CASE
            WHEN newest.answered IS NULL THEN coalesce(waiting_since, newest.sent_at)
            WHEN newest.answered < newest.seq THEN newest.sent_at
        END,
        student_notify_at = least(student_notify_at, newest.to_student_at + %(notice_delay)s::interval),
        teacher_notify_at = least(teacher_notify_at, newest.to_teacher_at + %(notice_delay)s::interval)
    FROM (
        SELECT conversation_id, max(seq) AS seq, max(sent_at) AS sent_at,
            max(seq) FILTER (WHERE profile_id = teacher_id) AS answered,
            min(sent_at) FILTER (WHERE profile_id = teacher_id) AS to_student_at,
            min(sent_at) FILTER (WHERE profile_id = student_id) AS to_teacher_at
        FROM allowed GROUP BY conversation_id
    ) newest
    WHERE id = newest.conversation_id
), answered AS (
    INSERT INTO chat_answer (conversation_id, waited_from, mentor_id, answered_at)
    SELECT conversation_id, waiting_since, teacher_id, sent_at FROM allowed
    WHERE profile_id = teacher_id AND waiting_since < sent_at
    ON CONFLICT DO NOTHING
)
SELECT n, id, seq, (extract(epoch FROM sent_at) * 1000000)::bigint, profile_id, full_name, username, email, role
FROM allowed
UNION ALL
SELECT n, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM given
WHERE conversation_id NOT IN (SELECT conversation_id FROM conversation WHERE is_current)
    AND EXISTS (SELECT FROM chat_conversation WHERE id = conversation_id)
"""


async def store(batch: Sequence[Draft]) -> list[Outcome | None]:
    """Commit the batch and return the outcome of each draft, in their order. One bad row does not fail the others.

    The outcome is None if somebody else has locked the conversation or the sender: nothing waits for the lock, and the
    caller tries again. If the database fails, or the draft was given up, it is `UnavailableError` for each message
    that is not known to be stored. The statement runs in the event loop; what it leaves out, and everything on SQLite,
    takes a thread.
    """
    done: dict[Draft, Outcome | None] = {}
    if loop_database.is_available():
        try:
            done = await _store_by_statement(batch)
        except Error as error:
            if _concerns_all(error):
                return _refused(batch, {}, error)
    if len(done) < len(batch):
        return await asyncio.wrap_future(submit_write(_store_rest, batch, done))
    return [done[draft] for draft in batch]


async def _store_by_statement(batch: Sequence[Draft]) -> dict[Draft, Outcome | None]:
    """Store the messages that need no special case, in one round trip; return what has become of them."""
    first: list[Draft] = []

    def parameters() -> dict[str, Any] | None:
        """Leave out what was given up while the connection was awaited.

        Between the statement and its COMMIT, nothing can be checked. If the database hangs there, messages that were
        given up are still stored, and delivered once it recovers.
        """
        first.extend(_first_of_each([draft for draft in batch if not draft.given_up]))
        return _parameters(first) if first else None

    return _stored(batch, first, await loop_database.fetch_in_loop(STATEMENT, parameters))


def _concerns_all(error: Error) -> bool:
    """Whether the database fails; else there is a bad row, or another process has just stored the same client_id."""
    trouble = trouble_of(error)
    return trouble is not None and trouble.concerns_all


def _refused(batch: Sequence[Draft], done: dict[Draft, Outcome | None], error: Error) -> list[Outcome | None]:
    trouble = temporary_trouble(error, "writer")
    logger.warning("%s of %s messages not stored: %s", len(batch) - len(done), len(batch), trouble)
    return [done[draft] if draft in done else UnavailableError() for draft in batch]


def _first_of_each(batch: Sequence[Draft]) -> list[Draft]:
    """Return the batch, but of several drafts with the same key only the first."""
    first: dict[Any, Draft] = {}
    for draft in batch:
        first.setdefault(draft if draft.client_id is None else draft.key, draft)
    return list(first.values())


def _parameters(batch: Sequence[Draft]) -> dict[str, Any]:
    """Return the parameters of `STATEMENT`."""
    delay = notice_delay()
    return {
        "n": list(range(len(batch))),
        "conversation": [draft.conversation_id for draft in batch],
        "sender": [draft.sender_id for draft in batch],
        "content": [draft.content for draft in batch],
        "client_id": [draft.client_id for draft in batch],
        "search_text": [draft.search_text for draft in batch],
        "student": RoleChoices.STUDENT.value,
        "mentors": [role.value for role in MENTOR_ROLES],
        "notice_delay": None if delay is None else f"{delay.total_seconds()} s",
    }


def _stored(
    batch: Sequence[Draft], first: Sequence[Draft], rows: Sequence[tuple[Any, ...]]
) -> dict[Draft, Outcome | None]:
    """Return what the statement, which was given `first`, has done of the batch."""
    done: dict[Draft, Outcome | None] = {}
    times: dict[int, datetime] = {}  # nearly always one
    locked: set[int] = set()
    for n, pk, *row in rows:
        draft, microseconds = first[n], row[1]
        if pk is None:
            locked.add(draft.conversation_id)
            continue
        if microseconds not in times:
            times[microseconds] = EPOCH + timedelta(microseconds=microseconds)
        done[draft] = Sent(_posted(draft, times[microseconds], pk, row), created=True)
    if locked:
        done |= dict.fromkeys((draft for draft in batch if draft.conversation_id in locked), None)
    return done


def _posted(draft: Draft, timestamp: datetime, pk: int, row: Sequence[Any]) -> MessagePosted:
    seq, _, profile_id, full_name, username, email, role = row
    profile = ProfileBody(user_id=profile_id, full_name=full_name, username=username, email=email, role=role)
    message = MessageBody(
        id=pk,
        sender=draft.sender_id,
        sender_profile=profile,
        content=draft.content,
        timestamp=timestamp,
        is_read=False,
        is_own_message=False,
    )
    return MessagePosted(draft.conversation_id, seq, message, draft.client_id)


def _store_rest(batch: Sequence[Draft], done: dict[Draft, Outcome | None]) -> list[Outcome | None]:
    """Store what is not done yet with the ORM; return all outcomes."""
    rest = [draft for draft in batch if draft not in done and not draft.given_up]
    try:
        if not rest:
            raise AbandonedError
        store_portably(rest, done)
    except AbandonedError:
        count_trouble(Trouble.GONE, "writer")
    except Error as error:
        note_refusal(trouble_of(error))
        return _refused(batch, done, error)
    return [done[draft] if draft in done else UnavailableError() for draft in batch]
