"""Healing: compares what was sent to each socket with the database, and sends what is missing.

A round takes a few queries for all sockets. It compares `last_seq`, the read positions and who is erased of a
conversation, and the states of all entries of an inbox. After that it corrects who waits, and when notices are looked
at, in the conversations that have sockets here.
"""

import logging
from collections.abc import Iterable

from chat.bus.event_bus import event_bus, publish
from chat.bus.events import AccessChanged, ConversationLockChanged, ConversationStarted, WaitingChanged
from chat.errors import UnavailableError
from chat.live.conversation_feed import ConversationFeed
from chat.live.inbox_feed import InboxFeed
from chat.live.presence import presence
from chat.live.registry import registry
from chat.live.subscriber import Subscriber
from chat.runtime.batch_queue import BatchQueue, batches
from chat.runtime.database import in_database
from chat.runtime.event_loop import Tasks, per_event_loop
from chat.store.history import positions
from chat.store.notice_times import recompute_notice_times
from chat.store.overview import entry_states
from chat.store.waiting import correct_waiting

logger = logging.getLogger(__name__)

CONFIRMED_SECONDS = 1.0  # the layer does not confirm a subscription: after that time it is there
SUBSCRIBERS_PER_BATCH = 5000
CONVERSATIONS_PER_QUERY = 500
INBOXES_PER_QUERY = 50  # each has many rows


class Healing:
    """The healing of one event loop."""

    def __init__(self) -> None:
        self._now = BatchQueue[Subscriber]("healing-now", self._heal_batch, SUBSCRIBERS_PER_BATCH)
        self._later = BatchQueue[Subscriber](
            "healing-later", self._heal_batch, SUBSCRIBERS_PER_BATCH, delay=CONFIRMED_SECONDS
        )
        self._tasks = Tasks("healing")
        event_bus().on(AccessChanged, self._access_changed)
        event_bus().on(ConversationLockChanged, self._lock_changed)
        event_bus().on(ConversationStarted, self._conversation_started)
        event_bus().on_gap = self._gap_found
        self._gaps = 0

    def heal_new(self, subscriber: Subscriber) -> None:
        """Heal a socket now, and again when the layer has surely joined its groups."""
        self._now.add([subscriber])
        self._later.add([subscriber])

    async def heal_all(self) -> None:
        """Heal all sockets."""
        await self._heal(registry())
        await self._correct_waiting(list(registry().by_conversation))

    def _gap_found(self) -> None:
        self._gaps += 1
        self._tasks.run("gap", self._heal_gaps)

    async def _heal_gaps(self) -> None:
        """Heal all sockets, and again if events were lost meanwhile."""
        healed = 0
        while healed < self._gaps:
            healed = self._gaps
            await self.heal_all()
        self._gaps = 0

    async def _correct_waiting(self, conversation_ids: list[int]) -> None:
        try:
            for batch in batches(conversation_ids, CONVERSATIONS_PER_QUERY):
                for pk in await in_database(correct_waiting, batch):
                    logger.info("corrected who waits in conversation %s", pk)
                    publish(WaitingChanged(pk))
                await in_database(recompute_notice_times, batch)
        except UnavailableError:
            logger.warning("who waits is corrected later: the database is away")

    async def _heal_batch(self, subscribers: list[Subscriber]) -> bool:
        await self._heal(subscribers)
        return True  # if the database was unreachable, the next round heals

    async def _heal(self, subscribers: Iterable[Subscriber]) -> None:
        present = [subscriber for subscriber in subscribers if subscriber in registry()]
        try:
            await self._heal_conversations([feed for feed in present if isinstance(feed, ConversationFeed)])
            await self._heal_inboxes([feed for feed in present if isinstance(feed, InboxFeed)])
        except UnavailableError:
            logger.warning("healing put off: the database is away")

    async def _heal_conversations(self, feeds: list[ConversationFeed]) -> None:
        for batch in batches(feeds, CONVERSATIONS_PER_QUERY):
            sent = [feed.last_sent for feed in batch]
            rows = await in_database(positions, {feed.conversation_id for feed in batch})
            for feed, last_sent in zip(batch, sent, strict=True):
                if row := rows.get(feed.conversation_id):
                    if row.last_seq < last_sent:
                        feed.context.run(feed.close_ahead)
                        continue
                    missed = feed.catch_up(row.last_seq, row.reads)
                    if feed.catch_up_erased(row.erased) or missed:
                        feed.context.run(logger.info, "healed conversation %s", feed.conversation_id)

    async def _heal_inboxes(self, feeds: list[InboxFeed]) -> None:
        for batch in batches(feeds, INBOXES_PER_QUERY):
            found = await in_database(entry_states, [feed.profile for feed in batch])
            for feed in batch:
                if feed in registry():
                    new = feed.catch_up(found[feed.profile.pk])
                    presence().watch(feed)
                    await registry().update_conversations(feed)
                    if new:
                        self._later.add([feed])

    def _access_changed(self, event: AccessChanged) -> None:
        self._now.add([feed for feed in registry().inbox_feeds if event.user_id in feed.listed_people])

    def _lock_changed(self, event: ConversationLockChanged) -> None:
        feeds = registry().by_conversation[event.conversation_id]
        self._now.add([feed for feed in feeds if isinstance(feed, InboxFeed)])

    def _conversation_started(self, event: ConversationStarted) -> None:
        pair = (event.student_id, event.teacher_id)
        self._now.add([feed for feed in registry().inbox_feeds if feed.profile.pk in pair])


# The healing of the running event loop.
healing = per_event_loop(Healing)
