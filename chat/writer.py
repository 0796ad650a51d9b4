"""The one path on which messages are written: whatever waits is committed together.

While one transaction is under way the next one gathers, so a lone message never waits, and under load one commit
carries dozens. A message is told to sockets after its commit, never before.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q
from django.utils import timezone

from chat import events
from chat.database import submit
from chat.delivery import posted
from chat.errors import ClientError, UnavailableError
from chat.events import MessagePosted
from chat.loops import per_event_loop
from chat.models import Conversation, Message

logger = logging.getLogger(__name__)

BATCH = 100  # messages in one transaction
ENTRY_SECONDS = 4.5  # a message that is not committed by then is given up; its sender has 5 s
STUCK_SECONDS = 1.0  # a batch that takes longer no longer holds up other conversations
MAX_STUCK = 3  # batches under way beside the present one


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that is stored; `created` is false where a repeated `client_id` found an earlier one."""

    event: MessagePosted
    created: bool


@dataclass(eq=False, slots=True)
class Entry:
    """A message that waits for its commit. `result` is set by the event loop, once."""

    conversation_id: int
    sender_id: int
    content: str
    client_id: str | None
    result: "asyncio.Future[Sent]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def key(self) -> tuple[int, int, str] | None:
        """What makes a repeated send the same send."""
        return None if self.client_id is None else (self.conversation_id, self.sender_id, self.client_id)


Outcome = Sent | ClientError


class Writer:
    """The waiting messages of one event loop."""

    def __init__(self) -> None:
        self._waiting: deque[Entry] = deque()
        self._under_way: set[Future[list[Outcome]]] = set()
        self._busy: set[int] = set()  # conversations in those: a later message must not overtake an earlier one
        self._task: asyncio.Task[None] | None = None

    def write(self, entry: Entry) -> "asyncio.Future[Sent]":
        """Queue a message. The future brings `Sent` after the commit, or raises `ClientError` within 5 s."""
        timer = asyncio.get_running_loop().call_later(ENTRY_SECONDS, _give_up, entry)
        entry.result.add_done_callback(lambda _: timer.cancel())
        self._waiting.append(entry)
        self._wake()
        return entry.result

    def _wake(self) -> None:
        if self._task is None and self._waiting:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="writer")

    async def _run(self) -> None:
        try:
            while len(self._under_way) <= MAX_STUCK and (batch := self._next_batch()):
                await self._start(batch)
        finally:
            self._task = None

    def _next_batch(self) -> list[Entry]:
        batch: list[Entry] = []
        later: deque[Entry] = deque()
        while self._waiting and len(batch) < BATCH:
            entry = self._waiting.popleft()
            if entry.conversation_id in self._busy:
                later.append(entry)
            elif not entry.result.done():
                batch.append(entry)
        self._waiting.extendleft(reversed(later))
        return batch

    async def _start(self, batch: list[Entry]) -> None:
        """Commit a batch in a thread; returns when it is settled, or stuck and left to settle by itself."""
        self._busy |= {entry.conversation_id for entry in batch}
        call = submit(store, batch)
        self._under_way.add(call)
        settled = asyncio.Event()
        future = asyncio.wrap_future(call)
        future.add_done_callback(partial(self._settle, batch, call))
        future.add_done_callback(lambda _: settled.set())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STUCK_SECONDS):
                await settled.wait()

    def _settle(self, batch: list[Entry], call: "Future[list[Outcome]]", done: "asyncio.Future[list[Outcome]]") -> None:
        self._under_way.discard(call)
        self._busy -= {entry.conversation_id for entry in batch}
        self._wake()
        try:
            outcomes = done.result()
        except Exception as error:
            outcomes = [_as_client_error(error)] * len(batch)
        for entry, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Sent):
                # A repeated one too: its first commit may have gone untold when its answer was lost.
                events.message_posted(outcome.event)
            if entry.result.done():
                continue
            if isinstance(outcome, Sent):
                entry.result.set_result(outcome)
            else:
                entry.result.set_exception(outcome)


def _give_up(entry: Entry) -> None:
    if not entry.result.done():
        entry.result.set_exception(UnavailableError())


def _as_client_error(error: Exception) -> ClientError:
    if not isinstance(error, (OperationalError, InterfaceError, AbandonedError)):
        logger.error("a batch failed", exc_info=error)
    return UnavailableError()


class AbandonedError(Exception):
    """Nobody waits for this batch any more: it is rolled back."""


def store(batch: Sequence[Entry]) -> list[Outcome]:
    """Commit the batch in one transaction and return what became of each entry; one bad row fails alone."""
    try:
        return _store(batch)
    except (OperationalError, InterfaceError, AbandonedError):
        raise
    except Exception:
        if len(batch) == 1:
            raise
        return [_store_alone(entry) for entry in batch]


def _store_alone(entry: Entry) -> Outcome:
    try:
        return _store([entry])[0]
    except Exception as error:
        return _as_client_error(error)


def _store(batch: Sequence[Entry]) -> list[Outcome]:
    with transaction.atomic():
        conversations = _lock({entry.conversation_id for entry in batch})
        stored = _stored_before(batch)
        new: dict[Entry, Message] = {}
        outcomes: dict[Entry, ClientError] = {}
        now = timezone.now()
        for entry in batch:
            if entry.key is not None and entry.key in stored:
                continue
            message = _message(entry, conversations.get(entry.conversation_id), now)
            if isinstance(message, ClientError):
                outcomes[entry] = message
                continue
            new[entry] = message
            if entry.key is not None:
                stored[entry.key] = message
        _insert(list(new.values()))
        if all(entry.result.done() for entry in batch):
            raise AbandonedError
    return [outcomes.get(entry) or _sent(entry, new, stored) for entry in batch]


def _lock(ids: set[int]) -> dict[int, Conversation]:
    """Lock the conversations, in the order of their ids, so that two processes never wait for each other in a ring."""
    rows = Conversation.objects.with_people().filter(pk__in=ids).order_by("pk")
    return {row.pk: row for row in rows.select_for_update(of=("self",), no_key=True)}


def _stored_before(batch: Sequence[Entry]) -> dict[tuple[int, int, str], Message]:
    wanted = Q()
    for entry in batch:
        if entry.client_id is not None:
            wanted |= Q(conversation=entry.conversation_id, sender=entry.sender_id, client_id=entry.client_id)
    if not wanted:
        return {}
    rows = Message.objects.with_sender().filter(wanted)
    return {(row.conversation_id, row.sender_id, str(row.client_id)): row for row in rows}


def _message(entry: Entry, conversation: Conversation | None, now: datetime) -> Message | ClientError:
    """Return the entry's row with its seq, or why its sender may not write."""
    member = conversation.member(entry.sender_id) if conversation else None
    if conversation is None or member is None or not member.user.is_active or not conversation.is_active:
        return ClientError("conversation_closed", "This conversation is closed.", 403)
    conversation.last_seq, conversation.updated_at = conversation.last_seq + 1, now
    return Message(
        conversation=conversation,
        sender=member.user,
        content=entry.content,
        client_id=entry.client_id,
        seq=conversation.last_seq,
        timestamp=now,
    )


def _insert(messages: list[Message]) -> None:
    """Store the messages, and their conversations' counters as `_message` left them."""
    if messages:
        Message.objects.bulk_create(messages)
        Conversation.objects.bulk_update({message.conversation for message in messages}, ["last_seq", "updated_at"])


def _sent(entry: Entry, new: dict[Entry, Message], stored: dict[tuple[int, int, str], Message]) -> Sent:
    message = new.get(entry) or stored[entry.key or (0, 0, "")]
    return Sent(posted(message), created=entry in new)


# The running event loop's writer.
writer = per_event_loop(Writer)
