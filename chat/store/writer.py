"""The writer: the only code that stores messages. All waiting messages are committed together.

While one batch is being committed, new messages gather for the next one. So a single message never waits, and under
load one commit stores dozens of messages. A message is published after its commit, never before.

A batch never waits for a row that somebody else has locked. Messages for such a row are set aside, and tried again
together beside the other batches: one that waits for a lock takes no thread and delays nobody. Usually another process
is committing, so the first tries come soon.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextvars import Context
from functools import partial
from itertools import filterfalse
from typing import NamedTuple, TypeAlias

from msgspec.structs import replace

from chat.bus.event_bus import publish
from chat.errors import UnavailableError
from chat.runtime import metrics
from chat.runtime.database_errors import Trouble, count_trouble
from chat.runtime.event_loop import per_event_loop
from chat.store.batch import store
from chat.store.drafts import Draft, Outcome, Sent

logger = logging.getLogger(__name__)

BATCH = 100  # messages in one transaction
DRAFT_SECONDS = 4.2  # a message that is not committed by then is given up; its sender has 5 s
STUCK_SECONDS = 1.0  # after this time, a batch no longer delays other conversations
MAX_BATCHES = 4  # under way at once: one, and those that are stuck
# Between two tries of what somebody else has locked: at first, and at most; twice as long after each.
FIRST_LOCKED_SECONDS, LOCKED_SECONDS = 0.0005, 0.01


class Entry(NamedTuple):
    """A message that waits, the callback for its outcome, and the timer that gives it up."""

    draft: Draft
    tell: Callable[[Outcome], None]
    timer: asyncio.TimerHandle


Stored: TypeAlias = "asyncio.Future[list[Outcome | None]]"


class Writer:
    """The messages of one event loop that wait to be stored."""

    def __init__(self) -> None:
        self._context = Context()  # log lines about a batch must not name the socket that happened to start it
        self._waiting: dict[int, deque[Entry]] = {}  # by conversation, in the order of their turn; no deque is empty
        self._busy: set[int] = set()  # conversations in a batch under way; their next messages wait, to keep the order
        self._under_way: set[Stored] = set()  # batches
        self._current: Stored | None = None  # the batch that the next one waits for
        self._starting: asyncio.Handle | None = None
        self._stuck: asyncio.TimerHandle | None = None  # ends the wait for the current batch
        self._locked: dict[int, None] = {}  # conversations that are set aside; they are busy, too
        self._retrying: asyncio.Handle | None = None
        self._retry_at = 0.0  # in the loop's time; uvloop's handles of timers of less than a millisecond do not tell it

    def write(self, draft: Draft, tell: Callable[[Outcome], None]) -> None:
        """Queue a message. `tell` is called once, within 5 s: with `Sent` after the commit, or with the error."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(DRAFT_SECONDS, self._give_up, draft, tell)
        self._waiting.setdefault(draft.conversation_id, deque()).append(Entry(draft, tell, timer))
        if self._current is None and self._starting is None:
            # Not now: messages that arrive in the same turn of the event loop join this batch.
            self._starting = loop.call_soon(self._start_batches, context=self._context)

    async def settle(self) -> None:
        """Wait until every queued message has been stored and published, or has failed."""
        while self._under_way or self._starting or self._retrying:
            await (asyncio.wait(self._under_way) if self._under_way else asyncio.sleep(LOCKED_SECONDS))

    def _give_up(self, draft: Draft, tell: Callable[[Outcome], None]) -> None:
        """Answer a sender who has waited long enough, and drop the message unless it is under way: it would pile up."""
        draft.given_up = True
        count_trouble(Trouble.LOCKED if draft.refusals else Trouble.GONE, "writer")
        tell(UnavailableError())
        waiting = self._waiting.get(draft.conversation_id)
        while waiting and waiting[0].draft.given_up:
            waiting.popleft()
        if waiting is not None and not waiting:
            del self._waiting[draft.conversation_id]

    def _start_batches(self) -> None:
        """Start the next batch, unless it has to wait for the current one or too many are under way."""
        self._starting = None
        while self._current is None and len(self._under_way) < MAX_BATCHES:
            batch = self._take(filterfalse(self._busy.__contains__, self._waiting))
            if not batch:
                return
            self._current = self._submit(batch)
            self._stuck = asyncio.get_running_loop().call_later(STUCK_SECONDS, self._pass_stuck, context=self._context)

    def _pass_stuck(self) -> None:
        """Start a batch of other conversations beside the current one, which takes long."""
        self._current = None
        self._start_batches()

    def _retry_locked(self) -> None:
        """Try again what is set aside, in a batch of its own."""
        locked, self._locked, self._retrying = self._locked, {}, None
        self._busy.difference_update(locked)
        if len(self._under_way) < MAX_BATCHES and (batch := self._take(filter(self._waiting.__contains__, locked))):
            self._submit(batch)
        self._set_aside([pk for pk in locked if pk in self._waiting and pk not in self._busy], LOCKED_SECONDS)

    def _set_aside(self, conversation_ids: Collection[int], seconds: float) -> None:
        """Try these conversations again after so many seconds, or sooner if others are tried sooner."""
        self._busy.update(conversation_ids)
        self._locked.update(dict.fromkeys(conversation_ids))
        if not conversation_ids:
            return
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        if self._retrying is not None:
            if self._retry_at <= at:
                return
            self._retrying.cancel()
        self._retrying, self._retry_at = loop.call_later(seconds, self._retry_locked, context=self._context), at

    def _take(self, conversation_ids: Iterable[int]) -> list[Entry]:
        """Take up to `BATCH` messages of these conversations off the queue."""
        batch: list[Entry] = []
        visited: list[int] = []
        for conversation_id in conversation_ids:
            waiting = self._waiting[conversation_id]
            visited.append(conversation_id)
            while waiting and len(batch) < BATCH:
                entry = waiting.popleft()
                if not entry.draft.given_up:
                    batch.append(entry)
            if len(batch) == BATCH:
                break
        for conversation_id in visited:
            if waiting := self._waiting.pop(conversation_id):
                self._waiting[conversation_id] = waiting  # now last in turn
        return batch

    def _submit(self, batch: Sequence[Entry]) -> Stored:
        drafts = [entry.draft for entry in batch]
        self._busy.update([draft.conversation_id for draft in drafts])
        future = asyncio.get_running_loop().create_task(store(drafts))
        self._under_way.add(future)
        future.add_done_callback(partial(self._finish, batch), context=self._context)
        return future

    def _finish(self, batch: Sequence[Entry], done: Stored) -> None:
        """Start the next batch; publish the stored messages of this one, and answer its senders."""
        outcomes: Sequence[Outcome | None]
        if done.cancelled():  # the server stops, and the database hangs
            logger.warning("a batch was cancelled")
            outcomes = [UnavailableError()] * len(batch)
        elif (error := done.exception()) is not None:
            logger.error("a batch failed", exc_info=error)
            outcomes = [UnavailableError()] * len(batch)
        else:
            outcomes = done.result()
        self._under_way.discard(done)
        self._busy.difference_update([entry.draft.conversation_id for entry in batch])
        if None in outcomes:
            self._put_back([entry for entry, outcome in zip(batch, outcomes, strict=True) if outcome is None])
        if self._current is done and self._stuck is not None:
            self._stuck.cancel()
            self._current = None
        self._start_batches()
        _measure(batch, outcomes)
        now = time.time()
        for entry, outcome in zip(batch, outcomes, strict=True):
            if outcome is None:
                continue
            entry.timer.cancel()
            if isinstance(outcome, Sent):
                # A repeat is published, too: the event of the first commit may have been lost together with the answer.
                publish(replace(outcome.event, committed=now) if outcome.created else outcome.event)
            if not entry.draft.given_up:
                try:
                    entry.tell(outcome)
                except Exception:  # the other senders of the batch must still be answered
                    logger.exception("a sender could not be answered")

    def _put_back(self, locked: Sequence[Entry]) -> None:
        """Set these messages aside, before those of their conversations that came later."""
        waiting = [entry for entry in locked if not entry.draft.given_up]
        fewest = min((entry.draft.refusals for entry in waiting), default=0)
        for entry in reversed(waiting):
            entry.draft.refusals += 1
            self._waiting.setdefault(entry.draft.conversation_id, deque()).appendleft(entry)
        seconds = min(LOCKED_SECONDS, FIRST_LOCKED_SECONDS * 2 ** min(fewest, 10))
        self._set_aside([entry.draft.conversation_id for entry in waiting], seconds)


def _measure(batch: Sequence[Entry], outcomes: Sequence[Outcome | None]) -> None:
    now = time.monotonic()
    created = 0
    for entry, outcome in zip(batch, outcomes, strict=True):
        if isinstance(outcome, Sent) and outcome.created:
            created += 1
            metrics.COMMIT_SECONDS.observe(now - entry.draft.since)
        elif isinstance(outcome, Sent):
            metrics.REPEATED.inc()
    metrics.MESSAGES.inc(created)
    metrics.BATCH_MESSAGES.observe(len(batch))


# The writer of the running event loop.
writer = per_event_loop(Writer)
