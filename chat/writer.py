"""The one path on which messages are written: whatever waits is committed together.

While one transaction is under way the next one gathers, so a lone message never waits, and under load one commit
carries dozens. A message is told to sockets after its commit, never before.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

from msgspec.structs import replace

from chat import events, metrics
from chat.batch import Draft, Outcome, Sent, store
from chat.database import submit_write
from chat.errors import UnavailableError
from chat.loops import per_event_loop, start_for_all

logger = logging.getLogger(__name__)

BATCH = 100  # messages in one transaction
DRAFT_SECONDS = 4.2  # a message that is not committed by then is given up; its sender has 5 s
STUCK_SECONDS = 1.0  # a batch that takes longer no longer holds up other conversations
MAX_STUCK = 3  # batches under way beside the present one

Entry = tuple[Draft, "asyncio.Future[Sent]"]


class Writer:
    """The waiting messages of one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[Entry]] = {}  # by conversation, none empty; in turn
        self._under_way: set[Future[list[Outcome]]] = set()
        self._busy: set[int] = set()  # conversations in those: a later message must not overtake an earlier one
        self._task: asyncio.Task[None] | None = None

    def write(self, draft: Draft) -> "asyncio.Future[Sent]":
        """Queue a message. The future brings `Sent` after the commit, or raises `ClientError` within 5 s."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Sent] = loop.create_future()
        timer = loop.call_later(DRAFT_SECONDS, _give_up, draft, result)
        result.add_done_callback(partial(self._forget, draft.conversation_id, timer))
        self._waiting.setdefault(draft.conversation_id, deque()).append((draft, result))
        self._wake()
        return result

    def _forget(self, conversation_id: int, timer: asyncio.TimerHandle, _: "asyncio.Future[Sent]") -> None:
        """Let go of what was given up: while the database is away it would pile up."""
        timer.cancel()
        waiting = self._waiting.get(conversation_id)
        while waiting and waiting[0][1].done():
            waiting.popleft()
        if waiting is not None and not waiting:
            del self._waiting[conversation_id]

    def _wake(self) -> None:
        if self._task is None and self._waiting:
            self._task = start_for_all(self._run(), "writer")

    async def _run(self) -> None:
        try:
            while len(self._under_way) <= MAX_STUCK and (batch := self._next_batch()):
                await self._start(batch)
        finally:
            self._task = None

    def _next_batch(self) -> list[Entry]:
        batch: list[Entry] = []
        looked_at: list[int] = []
        for conversation_id, waiting in self._waiting.items():
            if len(batch) == BATCH:
                break
            if conversation_id in self._busy:
                continue
            looked_at.append(conversation_id)
            while waiting and len(batch) < BATCH:
                entry = waiting.popleft()
                if not entry[1].done():
                    batch.append(entry)
        for conversation_id in looked_at:
            if waiting := self._waiting.pop(conversation_id):
                self._waiting[conversation_id] = waiting  # behind the others
        return batch

    async def _start(self, batch: list[Entry]) -> None:
        """Commit a batch in a thread; returns when it is settled, or stuck and left to settle by itself."""
        drafts = [draft for draft, _ in batch]
        self._busy |= {draft.conversation_id for draft in drafts}
        call = submit_write(store, drafts)
        self._under_way.add(call)
        settled = asyncio.Event()
        future = asyncio.wrap_future(call)
        future.add_done_callback(partial(self._settle, batch, call))
        future.add_done_callback(lambda _: settled.set())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STUCK_SECONDS):
                await settled.wait()

    def _settle(
        self, batch: Sequence[Entry], call: "Future[list[Outcome]]", done: "asyncio.Future[list[Outcome]]"
    ) -> None:
        self._under_way.discard(call)
        self._busy -= {draft.conversation_id for draft, _ in batch}
        self._wake()
        error = done.exception()
        if error is not None:
            logger.error("a batch failed", exc_info=error)
        outcomes = [UnavailableError()] * len(batch) if error is not None else done.result()
        if error is None:
            _measure(batch, outcomes)
        now = time.time()
        for (_, result), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Sent):
                # A repeated one too: its first commit may have gone untold when its answer was lost.
                events.message_posted(replace(outcome.event, committed=now) if outcome.created else outcome.event)
            if result.done():
                continue
            if isinstance(outcome, Sent):
                result.set_result(outcome)
            else:
                result.set_exception(outcome)


def _measure(batch: Sequence[Entry], outcomes: Sequence[Outcome]) -> None:
    now = time.monotonic()
    created = 0
    for (draft, _), outcome in zip(batch, outcomes, strict=True):
        if isinstance(outcome, Sent) and outcome.created:
            created += 1
            metrics.COMMIT_SECONDS.observe(now - draft.since)
        elif isinstance(outcome, Sent):
            metrics.REPEATED.inc()
    metrics.MESSAGES.inc(created)
    metrics.BATCH_MESSAGES.observe(len(batch))


def _give_up(draft: Draft, result: "asyncio.Future[Sent]") -> None:
    draft.given_up = True
    if not result.done():
        metrics.DATABASE_ERRORS_OF_WRITER.inc()
        result.set_exception(UnavailableError())


# The running event loop's writer.
writer = per_event_loop(Writer)
