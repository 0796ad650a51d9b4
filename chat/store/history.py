"""Queries on a conversation's messages by `seq`: the messages in a range, and which of them have been read."""

from collections.abc import Collection
from typing import TypeAlias

from django.db import connection
from django.db.models import Q

from chat.bus.events import MessagePosted
from chat.models import Conversation, Message
from chat.wire.server_frames import message_body

HistoryEvent: TypeAlias = MessagePosted  # every kind of event that has a `seq`


def message_posted(message: Message) -> MessagePosted:
    """Return the event of a stored message; its sender and their profile must be loaded."""
    return MessagePosted(message.conversation_id, message.seq, message_body(message), message.client_id)


def messages_between(conversation_id: int, after: int, up_to: int, limit: int) -> list[HistoryEvent]:
    """Return the messages above seq `after`, up to and including `up_to`, oldest first, at most `limit`."""
    rows = Message.objects.filter(conversation_id=conversation_id, seq__gt=after, seq__lte=up_to)
    return [message_posted(message) for message in rows.with_sender().order_by("seq")[:limit]]


def read_between(conversation_id: int, reader: int, after: int, up_to: int, limit: int) -> list[tuple[int, int]]:
    """Return (id, seq) of the messages that others sent and `reader` has read; limits as in `messages_between`."""
    rows = Message.objects.filter(~Q(sender=reader), conversation_id=conversation_id, seq__gt=after, seq__lte=up_to)
    return list(rows.filter(is_read=True).order_by("seq").values_list("pk", "seq")[:limit])


def positions(conversation_ids: Collection[int]) -> dict[int, tuple[int, int, int]]:
    """Return by conversation id: its last seq, and the seqs up to which its student and its teacher have read."""
    rows = Conversation.objects.filter(pk__in=conversation_ids)
    fields = rows.values_list("pk", "last_seq", "student_read_seq", "teacher_read_seq")
    return {pk: (last, student, teacher) for pk, last, student, teacher in fields}


# Run by Django's cursor, not as a prepared statement, so that PostgreSQL plans it for this conversation. A general plan
# would sort all messages of a long conversation.
RESUME_STATEMENT = """
    SELECT (
        SELECT seq FROM chat_message WHERE id = %(after)s AND conversation_id = %(conversation)s
    ), (
        SELECT id FROM chat_message
        WHERE conversation_id = %(conversation)s AND sender_id = %(user)s AND seq <= %(other_read)s
        ORDER BY seq DESC LIMIT 1
    )
"""


def resume_position(
    conversation_id: int, user_id: int, after: int, other_read_seq: int
) -> tuple[int | None, int | None]:
    """Return the seq of the message `after`, and the id of this user's newest message that the other one has read.

    The other participant has read up to `other_read_seq`. Each result is None if there is no such message.
    """
    asked = {"after": after, "conversation": conversation_id, "user": user_id, "other_read": other_read_seq}
    with connection.cursor() as cursor:
        cursor.execute(RESUME_STATEMENT, asked)
        [(seq, read_up_to)] = cursor.fetchall()
    return seq, read_up_to
