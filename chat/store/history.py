"""Queries on a conversation's messages by `seq`: the messages in a range, and which of them have been read."""

from collections.abc import Collection, Mapping
from typing import NamedTuple, TypeAlias

from django.db import connection
from django.db.models import Q

from accounts.models import is_erased
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


class Positions(NamedTuple):
    """What the feeds of a conversation compare with: `reads` and `erased` have the user ids of its participants."""

    last_seq: int
    reads: Mapping[int, int]  # up to which seq each has read
    erased: Collection[int]  # who is erased


def positions(conversation_ids: Collection[int]) -> dict[int, Positions]:
    """Return the positions of these conversations by their id; one query."""
    rows = Conversation.objects.filter(pk__in=conversation_ids)
    people = [(side, f"{side}__user_id", f"{side}__user__username") for side in ("student", "teacher")]
    found = {}
    for row in rows.values("pk", "last_seq", *(name for side, *of in people for name in (f"{side}_read_seq", *of))):
        reads = {row[pk]: row[f"{side}_read_seq"] for side, pk, _ in people}
        erased = [row[pk] for _, pk, name in people if is_erased(row[pk], row[name])]
        found[row["pk"]] = Positions(row["last_seq"], reads, erased)
    return found


def erased_between(conversation_id: int, sender: int, after: int, limit: int) -> list[tuple[int, int]]:
    """Return (id, seq) of the erased messages of this sender above seq `after`, oldest first, at most `limit`."""
    rows = Message.objects.filter(conversation_id=conversation_id, sender=sender, is_erased=True, seq__gt=after)
    return list(rows.order_by("seq").values_list("pk", "seq")[:limit])


class Place(NamedTuple):
    """Where a message stands: behind the stored one with seq `after`, 0 for none, and before that with seq `before`.

    Both are its own seq while it is stored.
    """

    after: int
    before: int


def place_of(conversation: Conversation, message_id: int) -> Place | None:
    """Return where a message stands, although it may be erased: then it stands where its id would.

    None if it cannot have been in this conversation: no such id was ever given, or another conversation has it.
    """
    seq = conversation.messages.filter(pk=message_id).values_list("seq", flat=True).first()
    return _place_of_erased(conversation, message_id) if seq is None else Place(seq, seq)


def _place_of_erased(conversation: Conversation, message_id: int) -> Place | None:
    """Search by bisection, a row of the index at each step: in a conversation, ids grow as seqs do."""
    if message_id < 1 or not _was_given(message_id) or Message.objects.filter(pk=message_id).exists():
        return None
    rows = conversation.messages.order_by("seq").values_list("seq", "pk")
    after, last = 0, conversation.last_seq
    while after < last:
        middle = (after + last + 1) // 2
        found = rows.filter(seq__gte=middle, seq__lte=last).first()
        if found is not None and found[1] < message_id:
            after = found[0]
        else:
            last = middle - 1
    return Place(after, after + 1)


# Ids that the restore of a backup has skipped, below the sequence's MINVALUE, were never given here: what a client had
# seen of them is lost.
WAS_GIVEN = {
    "postgresql": """
        SELECT %(id)s <= coalesce(last_value, min_value - 1)
            AND (%(id)s >= min_value OR %(id)s <= (SELECT max(id) FROM chat_message WHERE id < min_value))
        FROM pg_sequences WHERE sequencename = 'chat_message_id_seq' AND schemaname = ANY (current_schemas(false))
    """,
    "sqlite": "SELECT %(id)s <= seq FROM sqlite_sequence WHERE name = 'chat_message'",
}


def _was_given(message_id: int) -> bool:
    """Whether a message was ever given this id; it may be erased, even if no newer one is stored."""
    with connection.cursor() as cursor:
        cursor.execute(WAS_GIVEN[connection.vendor], {"id": message_id})
        row = cursor.fetchone()
    return bool(row and row[0])


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
    conversation: Conversation, user_id: int, after: int, other_read_seq: int
) -> tuple[int | None, int | None]:
    """Return the seq up to which a client has all messages, and the id of this user's newest message that was read.

    The client has the messages up to the id `after`, 0 for none. The other participant has read up to `other_read_seq`.
    Each result is None if there is no such message.
    """
    asked = {"after": after, "conversation": conversation.pk, "user": user_id, "other_read": other_read_seq}
    with connection.cursor() as cursor:
        cursor.execute(RESUME_STATEMENT, asked)
        [(seq, read_up_to)] = cursor.fetchall()
    if seq is None:
        place = Place(0, 1) if after == 0 else _place_of_erased(conversation, after)
        seq = place.after if place else None
    return seq, read_up_to
