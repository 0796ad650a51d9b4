"""A conversation feed without a server: its events go in, its frames come out; and a database that fails."""

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from django.db import OperationalError
from django.db.backends.utils import CursorWrapper

from accounts.models import User
from chat.bus.events import MessagePosted, MessagesRead, TextsErased
from chat.live.conversation_feed import ConversationFeed
from chat.live.handshake import Handshake
from chat.models import Conversation, Message
from chat.store.history import messages_between
from chat.wire.server_frames import Pong
from tests.contract import check_frame
from tests.people import People
from tests.sockets import in_thread

AWAY = OperationalError("server closed the connection unexpectedly")


class DeliveryHarness:
    """A delivery to the student, and what it wrote; `gate` closed stands for a client that takes nothing."""

    def __init__(self, conversation: Conversation, people: People) -> None:
        self.conversation, self.people = conversation, people
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.closed: asyncio.Queue[int] = asyncio.Queue()
        self.gate = asyncio.Event()
        self.gate.set()
        self.feed = feed_of(conversation, people.student.pk, self.send, self.closed.put_nowait)

    async def send(self, text: str) -> None:
        await self.gate.wait()
        check_frame("/ws/chat/my-conversation/", text)
        frame = json.loads(text)
        if frame["type"] != "connection_established":
            self.sent.put_nowait(frame)

    def start(self, last: int = 0, *, missed: Sequence[MessagePosted] = ()) -> None:
        """Start where the client has everything up to the seq `last`, the last of which are the `missed` ones."""
        reads = {self.people.student.pk: 0, self.people.teacher.pk: 0}
        self.feed.start(handshake_of(self.conversation, self.people.student, last, missed, reads))

    def receive(self, *events: MessagePosted | MessagesRead | TextsErased) -> None:
        for event in events:
            self.feed.on_event(event)

    async def next(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.sent.get(), 5)

    async def numbers(self, count: int) -> list[int]:
        """Return the contents of the next messages, which are numbers."""
        return [int((await self.next())["message"]["content"]) for _ in range(count)]

    async def nothing_more(self) -> None:
        """Check that nothing is left to be sent: a pong queued now comes next."""
        self.feed.send(Pong())
        assert await self.next() == {"type": "pong"}


def feed_of(conversation: Conversation, user_id: int, write: Any, close: Any) -> ConversationFeed:
    """Return the feed of a participant's socket that `write` stands for."""
    return ConversationFeed(
        conversation, user_id=user_id, session_key=None, wants_presence=False, write=write, close=close
    )


def handshake_of(
    conversation: Conversation, user: User, last: int, missed: Sequence[MessagePosted], reads: dict[int, int]
) -> Handshake:
    """Return a handshake by which the client has everything up to the seq `last`, but for the `missed` ones."""
    return Handshake(
        user=user,
        conversation=conversation,
        first=last - len(missed),
        last=last,
        reads=reads,
        missed=list(missed),
        recovered=None,
        read_up_to=None,
    )


async def write(harness: DeliveryHarness, count: int) -> list[MessagePosted]:
    """Store more messages of the teacher, whose contents are their seqs; return the events that tell of them."""
    pk = harness.conversation.pk

    def rows() -> list[MessagePosted]:
        conversation = Conversation.objects.get(pk=pk)
        last = conversation.last_seq
        numbers = range(last + 1, last + count + 1)
        fields = {"conversation": conversation, "sender": harness.people.teacher}
        Message.objects.bulk_create(Message(**fields, content=str(seq), seq=seq) for seq in numbers)
        Conversation.objects.filter(pk=pk).update(last_seq=last + count)
        return messages_between(pk, last, last + count, count)

    return await in_thread(rows)


@contextmanager
def database_away(
    error: Exception = AWAY,
) -> Iterator[threading.Event]:
    """Every statement fails, in whatever thread; yields what is set when one has."""
    tried = threading.Event()

    def fail(*_: Any) -> None:
        tried.set()
        raise error

    with patch.object(CursorWrapper, "execute", fail):
        yield tried
