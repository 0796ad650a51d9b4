"""What one socket is sent: every message of its conversation once, in order, with gaps filled from the database.

Live events, healing, replay and acknowledgements all end here. Holes are read by a task beside the one that writes,
so that an error is told even while the database is away.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

from django.db.models import Q
from msgspec import UNSET
from msgspec.structs import replace

from chat import metrics
from chat.database import in_database
from chat.errors import ClientError, CloseCode
from chat.events import AnyEvent, MessagePosted, MessagesRead, TypingChanged
from chat.models import Message
from chat.outbox import Outbox
from chat.serializers import (
    STATUS_IDS_PER_FRAME,
    Frame,
    NewMessage,
    Typing,
    UpdateMessageStatus,
    encode,
    message_body,
)

logger = logging.getLogger(__name__)

MAX_AHEAD = 200  # messages kept while one before them is missing, and read from the database at once
MAX_READS = 10_000  # messages that are told to be read, where that was missed, and read from the database, at once
RETRY_SECONDS = 1.0  # between two attempts to read a hole


class Delivery(Outbox):
    """The outgoing half of a conversation's socket.

    `send` writes one text frame, `close` closes with a code. `reads` maps each participant's user id to the seq up to
    which they have read, as the client knows it.
    """

    def __init__(
        self,
        conversation_id: int,
        user_id: int,
        send: Callable[[str], Awaitable[None]],
        close: Callable[[int], None],
    ) -> None:
        super().__init__(send, close)
        self.conversation_id, self.user_id = conversation_id, user_id
        self._first = self._last = 0  # seqs: sent are those above `first`, up to `last`
        self._known = 0  # the highest seq that exists
        self._committed = 0.0  # when the message was that is being written
        # Predecessor's seq -> what comes next: (its seq, the message), or (seq, None) for rows that vanished.
        self._ahead: dict[int, tuple[int, MessagePosted | None]] = {}
        self._repeated: set[int] = set()  # seqs up to `first` that a repeated client_id was answered with
        self._reads: dict[int, int] = {}
        self._reads_known: dict[int, int] = {}
        self._filling: asyncio.Task[None] | None = None

    def start(self, *, first: int, last: int, reads: Mapping[int, int], frames: Iterable[Frame]) -> None:
        """Begin with these frames, which show what lies above seq `first`, up to `last`; live messages follow."""
        self._first, self._last, self._known = first, last, max(last, self._known)
        self._reads = dict(reads)
        self.begin(frames)

    def stop(self) -> None:
        """Send nothing more."""
        super().stop()
        if self._filling is not None:
            self._filling.cancel()

    def frame(self, event: MessagePosted) -> NewMessage:
        """Return a message as this socket's user sees it."""
        message = event.message
        if not message.is_read and self._is_told_read(event):  # it was looked up, or set out, before it was read
            message = replace(message, is_read=True)
        if message.sender != self.user_id:
            return NewMessage(message=message)
        return NewMessage(message=replace(message, is_own_message=True), client_id=event.client_id or UNSET)

    def _is_told_read(self, event: MessagePosted) -> bool:
        return any(event.seq <= seq for reader, seq in self._reads.items() if reader != event.message.sender)

    def hear(self, event: AnyEvent) -> None:
        """Take what the conversation's group says."""
        if isinstance(event, MessagePosted):
            self._offer(event)
        elif isinstance(event, MessagesRead):
            self._offer_read(event)
        elif isinstance(event, TypingChanged) and event.user_id != self.user_id:
            self.show("typing", encode(Typing(user=event.user_id, is_typing=event.is_typing)))

    def repeat(self, event: MessagePosted) -> None:
        """Answer a repeated `client_id`: send its message unless this socket has had it or is about to."""
        if event.seq > self._last:
            self._offer(event)
        elif event.seq <= self._first and event.seq not in self._repeated:
            self._repeated.add(event.seq)
            self.say(encode(self.frame(event)))

    def catch_up(self, last_seq: int, reads: Mapping[int, int]) -> bool:
        """Learn what the database holds; what is missing is fetched and sent. Returns whether something was."""
        self._known = max(self._known, last_seq)
        behind = [reader for reader, seq in reads.items() if seq > self._reads.get(reader, seq)]
        self._reads_known |= {reader: max(reads[reader], self._reads_known.get(reader, 0)) for reader in behind}
        missed = bool(behind) or self._last < self._known
        if missed:
            self._wake()
        return missed

    def _offer(self, event: MessagePosted) -> None:
        if event.seq <= self._last:
            return
        self._known = max(self._known, event.seq)
        if len(self._ahead) < MAX_AHEAD or event.seq == self._last + 1:
            self._ahead[event.seq - 1] = (event.seq, event)
        self._wake()

    def _offer_read(self, event: MessagesRead) -> None:
        if not self._started:
            return  # what it says is found by the look into the database that follows the start
        mark = self._reads.get(event.reader_id, 0)
        if event.after > mark:
            self.catch_up(0, {event.reader_id: event.up_to})
        elif event.up_to > mark:
            self._tell_read(event.reader_id, event.up_to, [pk for pk, seq in event.messages if seq > mark])

    def _tell_read(self, reader: int, up_to: int, ids: list[int]) -> None:
        self._reads[reader] = up_to
        for start in range(0, len(ids), STATUS_IDS_PER_FRAME):
            chunk = ids[start : start + STATUS_IDS_PER_FRAME]
            self.say(encode(UpdateMessageStatus(message_ids=chunk, is_read=True, reader=reader)))

    def _next(self) -> str | None:
        if self._committed:  # it is written now
            metrics.DELIVERY_SECONDS.observe(time.time() - self._committed)
            self._committed = 0.0
        if (text := super()._next()) is not None:
            return text
        while self._last < self._known and (found := self._ahead.pop(self._last, None)):
            self._last, event = found
            if event is not None:
                self._committed = event.committed
                return encode(self.frame(event))
        if (self._last < self._known or self._reads_known) and self._filling is None:
            self._filling = asyncio.get_running_loop().create_task(self._fill(), context=self.context)
        return None

    async def _fill(self) -> None:
        """Read from the database what is missing; again after a pause where that fails."""
        try:
            if self._last < self._known:
                await self._fill_messages(self._last, self._known)
            for reader in list(self._reads_known):
                await self._fill_reads(reader, self._reads_known[reader])
        except ClientError:
            await asyncio.sleep(RETRY_SECONDS)
        except Exception:
            logger.exception("a hole could not be filled")
            self._close(CloseCode.INTERNAL_ERROR)  # rather than silently left behind
        finally:
            self._filling = None
        self._wake()

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

    async def _fill_reads(self, reader: int, up_to: int) -> None:
        mark = self._reads.get(reader, 0)
        found = await in_database(read_between, self.conversation_id, reader, mark, up_to, MAX_READS)
        if len(found) == MAX_READS:
            up_to = found[-1][1]  # the rest when the client has taken these
        mark = self._reads.get(reader, 0)  # an event may have told some of them meanwhile
        if up_to > mark:
            metrics.GAPS_HEALED.labels("reads").inc()
            self._tell_read(reader, up_to, [pk for pk, seq in found if seq > mark])
        if self._reads_known.get(reader, 0) <= up_to:
            self._reads_known.pop(reader, None)


def posted(message: Message) -> MessagePosted:
    """Return a stored message, its sender and their profile loaded, as the event that tells of it."""
    return MessagePosted(message.conversation_id, message.seq, message_body(message), message.client_id)


def messages_between(conversation_id: int, after: int, up_to: int, limit: int) -> list[MessagePosted]:
    """Return the messages above seq `after`, up to and including `up_to`, oldest first, at most `limit`."""
    rows = Message.objects.filter(conversation_id=conversation_id, seq__gt=after, seq__lte=up_to)
    return [posted(message) for message in rows.with_sender().order_by("seq")[:limit]]


def read_between(conversation_id: int, reader: int, after: int, up_to: int, limit: int) -> list[tuple[int, int]]:
    """Return (id, seq) of what others sent and `reader` has read, as `messages_between`."""
    rows = Message.objects.filter(~Q(sender=reader), conversation_id=conversation_id, seq__gt=after, seq__lte=up_to)
    return list(rows.filter(is_read=True).order_by("seq").values_list("pk", "seq")[:limit])
