"""The feed of a conversation's socket: every message once, in order, with gaps filled from the database.

Live events, healing, replay and acknowledgements are all merged here. One task reads gaps and another one writes, so
that errors are sent even while the database is unreachable.
"""

import logging
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from chat.bus.events import (
    ConversationEvent,
    MessagePosted,
    MessagesRead,
    TextsErased,
    TypingChanged,
    conversation_group,
)
from chat.errors import CloseCode
from chat.live.handshake import Handshake
from chat.live.subscriber import Subscriber, encode
from chat.models import Conversation
from chat.runtime import metrics
from chat.runtime.database import in_database
from chat.store.history import erased_between, messages_between, read_between
from chat.wire.server_frames import (
    ERASED_IDS_PER_FRAME,
    STATUS_IDS_PER_FRAME,
    ConnectionEstablished,
    ConversationState,
    Frame,
    MessagesErased,
    NewMessage,
    ResumeComplete,
    Typing,
    UpdateMessageStatus,
    tombstone,
)

logger = logging.getLogger(__name__)

MAX_AHEAD = 200  # messages kept while an earlier one is missing; also the most that one query reads
MAX_READS = 10_000  # the most messages that one query reads whose becoming read, or erased, was missed


class ConversationFeed(Subscriber):
    """A participant's socket in one conversation."""

    def __init__(self, conversation: Conversation, *, is_read: bool = True, **subscriber: Any) -> None:
        super().__init__(**subscriber)
        self.is_read = is_read  # whether its user reads what it is sent; not with `mark_read=false`
        self.conversation_id = conversation.pk
        self.student_user_id, self.teacher_user_id = conversation.student.user_id, conversation.teacher.user_id
        # As of the last check of its access; and as last sent to the client.
        self.is_active, self.is_locked = conversation.is_active, conversation.is_locked
        self._told: ConversationState | None = None
        self._first = self._last = 0  # seqs: messages above `first`, up to `last`, have been sent
        self._last_id = 0  # the id of the message at `last`; 0 if it is not known
        self._known = 0  # the highest seq that exists
        self._committed = 0.0  # Unix time at which the message that is being written was committed
        # Previous seq -> the next (seq, message). The message is None where rows up to that seq were deleted.
        self._ahead: dict[int, tuple[int, MessagePosted | None]] = {}
        self._repeated: set[int] = set()  # seqs up to `first` that were sent as the answer to a repeated client_id
        # By participant, the seq up to which they have read: as sent to the client, and as known where that is higher.
        self._reads: dict[int, int] = {}
        self._reads_known: dict[int, int] = {}
        self._erased: set[int] = set()  # participants whose messages are being erased: none of theirs is sent as it was
        self._erased_ids: set[int] = set()  # their messages, as far as the client was told that they are erased
        # Participants who are erased, since the first comparison with the database; and the seq up to which it was
        # compared for each what the client was told, as long as that is not done.
        self._erased_known: set[int] | None = None
        self._erasures: dict[int, int] = {}

    @property
    def conversation_ids(self) -> tuple[int]:
        """Its one conversation."""
        return (self.conversation_id,)

    @property
    def people(self) -> tuple[int, int]:
        """Both participants."""
        return (self.student_user_id, self.teacher_user_id)

    def _other_users(self) -> list[int]:
        return [pk for pk in self.people if pk != self.user_id and self.is_active]

    def start(self, handshake: Handshake) -> None:
        """Send the first frames and the missed messages; live messages follow."""
        self._first, self._last = handshake.first, handshake.last
        self._known = max(handshake.last, self._known)
        self._last_id = handshake.missed[-1].message.id if handshake.missed else 0
        self._drop_sent()
        self._reads = dict(handshake.reads)
        self._start(self._first_frames(handshake))

    def _first_frames(self, handshake: Handshake) -> Iterator[Frame]:
        group = conversation_group(self.conversation_id)
        yield ConnectionEstablished(conversation_id=str(self.conversation_id), room_group_name=group)
        if self._wants_events:
            yield self._new_state()
        for event in handshake.missed:
            yield self._new_message(event)
        if handshake.recovered is not None:
            count = len(handshake.missed)
            yield ResumeComplete(recovered=handshake.recovered, count=count, read_up_to=handshake.read_up_to)

    def _new_state(self) -> ConversationState:
        self._told = ConversationState(is_active=self.is_active, is_locked=self.is_locked)
        return self._told

    def access_checked(self) -> None:
        """Tell the client if the state of the conversation has changed."""
        before = self._told
        if before is not None and (before.is_active, before.is_locked) != (self.is_active, self.is_locked):
            self.send(self._new_state())

    def on_event(self, event: ConversationEvent) -> None:
        """Handle an event of the conversation."""
        if isinstance(event, MessagePosted):
            self._take_message(event)
        elif isinstance(event, MessagesRead):
            self._take_read(event)
        elif isinstance(event, TextsErased):
            self._take_erased(event)
        elif isinstance(event, TypingChanged) and event.user_id != self.user_id and not self.is_locked:
            self.send_latest("typing", Typing(user=event.user_id, is_typing=event.is_typing))

    def answer_repeat(self, event: MessagePosted) -> None:
        """Answer a repeated `client_id`: send its message, unless it was sent to this socket or is about to be."""
        if event.seq > self._first:
            self._take_message(event)
        elif event.seq not in self._repeated:
            self._repeated.add(event.seq)
            self.send(self._new_message(event))

    @property
    def last_sent(self) -> int:
        """The seq up to which the client has been sent everything."""
        return self._last

    def close_ahead(self) -> None:
        """Close the socket: its client was sent messages that the database, after a fail-over, does not have.

        The next ones have the same seqs: they would pass for those that it has.
        """
        logger.warning("conversation %s has lost messages that were delivered: socket closed", self.conversation_id)
        self.close(CloseCode.RESTARTING)

    def catch_up(self, last_seq: int, reads: Mapping[int, int]) -> bool:
        """Compare with the state of the database, and send what is missing. Returns whether anything was missing."""
        self._known = max(self._known, last_seq)
        behind = [reader for reader, seq in reads.items() if seq > self._reads.get(reader, seq)]
        self._reads_known |= {reader: max(reads[reader], self._reads_known.get(reader, 0)) for reader in behind}
        missed = bool(behind) or self._last < self._known
        if missed:
            self._wake()
        return missed

    def catch_up_erased(self, erased: Collection[int]) -> bool:
        """Compare with who is erased in the database, and send what is missing. Returns whether anything may be.

        Whoever is erased already at the first comparison was so when the client began to read.
        """
        known = set(erased) if self._erased_known is None else self._erased_known
        new = set(erased) - known
        self._erased_known = known | new
        self._erased |= new
        if new and self._wants_events:
            self._erasures |= dict.fromkeys(new, 0)
            self._wake()
        return bool(new)

    def _take_message(self, event: MessagePosted) -> None:
        if event.seq <= self._last:
            if 0 < self._last_id < event.message.id:
                self.close_ahead()
            return
        self._known = max(self._known, event.seq)
        if len(self._ahead) < MAX_AHEAD or event.seq == self._last + 1:
            self._ahead[event.seq - 1] = (event.seq, event)
        self._wake()

    def _take_read(self, event: MessagesRead) -> None:
        if not self._started:
            return  # the healing after the start finds it
        mark = self._reads.get(event.reader_id, 0)
        if event.after > mark:
            self.catch_up(0, {event.reader_id: event.up_to})
        elif event.up_to > mark:
            self._send_read(event.reader_id, event.up_to, [pk for pk, seq in event.messages if seq > mark])

    def _take_erased(self, event: TextsErased) -> None:
        self._erased.add(event.sender_id)  # what is on its way was read before
        if self._wants_events and self._started:
            self._send_erased(event.message_ids)

    def _send_erased(self, ids: list[int]) -> None:
        self._erased_ids.update(ids)
        for start in range(0, len(ids), ERASED_IDS_PER_FRAME):
            self.send(MessagesErased(ids[start : start + ERASED_IDS_PER_FRAME]))

    def _send_read(self, reader: int, up_to: int, ids: list[int]) -> None:
        self._reads[reader] = up_to
        for start in range(0, len(ids), STATUS_IDS_PER_FRAME):
            chunk = ids[start : start + STATUS_IDS_PER_FRAME]
            self.send(UpdateMessageStatus(message_ids=chunk, is_read=True, reader=reader))

    def _new_message(self, event: MessagePosted) -> NewMessage:
        """Return a message as this socket's user sees it."""
        message = tombstone(event.message) if event.message.sender in self._erased else event.message
        if not message.is_read and self._is_known_read(event):  # the event was made before the message was read
            message = replace(message, is_read=True)
        if message.sender != self.user_id:
            return NewMessage(message=message)
        return NewMessage(message=replace(message, is_own_message=True), client_id=event.client_id or UNSET)

    def _is_known_read(self, event: MessagePosted) -> bool:
        is_students = event.message.sender == self.student_user_id
        return event.seq <= self._reads.get(self.teacher_user_id if is_students else self.student_user_id, 0)

    def _next(self) -> str | None:
        if self._committed:  # the message has been written
            metrics.DELIVERY_SECONDS.observe(max(0.0, time.time() - self._committed))  # clocks of two processes
            self._committed = 0.0
        if (text := super()._next()) is not None:
            return text
        while self._last < self._known and (found := self._ahead.pop(self._last, None)):
            self._last, event = found
            self._last_id = event.message.id if event else 0
            if event is not None:
                self._committed = event.committed
                return encode(self._new_message(event))
        if self._last < self._known or self._reads_known or self._erasures:
            self._start_reading()
        return None

    async def _read_missing(self) -> None:
        """Fill the gaps: missed messages, and which of them became read or erased."""
        if self._last < self._known:
            await self._fill_messages(self._last, self._known)
        for reader in list(self._reads_known):
            await self._fill_reads(reader, self._reads_known[reader])
        for sender in list(self._erasures):
            await self._fill_erased(sender, self._erasures[sender])

    async def _fill_messages(self, after: int, up_to: int) -> None:
        found = await in_database(messages_between, self.conversation_id, after, up_to, MAX_AHEAD)
        self._ahead = {seq: entry for seq, entry in self._ahead.items() if seq >= up_to}
        previous = after
        for event in found:
            self._ahead[previous] = (event.seq, event)
            previous = event.seq
        if found:
            metrics.GAPS_HEALED.labels("messages").inc()
        if len(found) < MAX_AHEAD and previous < up_to:
            self._ahead[previous] = (up_to, None)
        self._drop_sent()

    def _drop_sent(self) -> None:
        """Forget kept messages that have been sent: by the handshake, or by live events while a gap was read."""
        self._ahead = {seq: entry for seq, entry in self._ahead.items() if seq >= self._last}

    async def _fill_reads(self, reader: int, up_to: int) -> None:
        mark = self._reads.get(reader, 0)
        found = await in_database(read_between, self.conversation_id, reader, mark, up_to, MAX_READS)
        if len(found) == MAX_READS:
            up_to = found[-1][1]  # the rest follows when the client has received these
        mark = self._reads.get(reader, 0)  # an event may have brought some of them meanwhile
        if up_to > mark:
            metrics.GAPS_HEALED.labels("reads").inc()
            self._send_read(reader, up_to, [pk for pk, seq in found if seq > mark])
        if self._reads_known.get(reader, 0) <= up_to:
            self._reads_known.pop(reader, None)

    async def _fill_erased(self, sender: int, after: int) -> None:
        found = await in_database(erased_between, self.conversation_id, sender, after, MAX_READS)
        missed = [pk for pk, _ in found if pk not in self._erased_ids]
        if missed:
            metrics.GAPS_HEALED.labels("erasures").inc()
            self._send_erased(missed)
        if len(found) == MAX_READS:
            self._erasures[sender] = found[-1][1]  # the rest follows when the client has received these
        else:
            del self._erasures[sender]
