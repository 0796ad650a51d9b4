"""Access checks: check sockets whose user, session or conversation may have changed, and close revoked ones."""

import asyncio
import logging
from collections.abc import Collection, Iterator
from typing import Literal

from chat.bus.event_bus import event_bus
from chat.bus.events import AccessChanged, ConversationLockChanged
from chat.errors import UnavailableError
from chat.live.presence import presence
from chat.live.registry import registry
from chat.live.revocation import Revocation, find_revoked
from chat.live.subscriber import Subscriber
from chat.runtime.batch_queue import BatchQueue
from chat.runtime.database import in_database
from chat.runtime.event_loop import per_event_loop

logger = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 10.0  # a handshake takes at most 5
SAVING_SECONDS = 1.0  # at most, from saving a new password to saving the session of the same request
SUBSCRIBERS_PER_QUERY = 500

Change = tuple[Literal["user", "conversation"], int]  # what changed, and its id


class AccessChecks:
    """The access checks of one event loop."""

    def __init__(self) -> None:
        self._queue = BatchQueue[Subscriber]("access-checks", self._check_batch, SUBSCRIBERS_PER_QUERY)
        # What changed recently, and when, in the loop's time: users and conversations.
        self._changed: dict[Change, float] = {}
        self._uncertain: dict[Subscriber, float] = {}  # and since when, in the loop's time
        event_bus().on(AccessChanged, self._access_changed)
        event_bus().on(ConversationLockChanged, self._lock_changed)

    def check(self, subscribers: Collection[Subscriber]) -> None:
        """Queue these for a check."""
        self._queue.add([subscriber for subscriber in subscribers if subscriber in registry()])

    def check_new(self, subscriber: Subscriber) -> None:
        """Check a new socket if something changed during its handshake, which may have read older data."""
        if self._changed and not self._changed.keys().isdisjoint(_changes_of(subscriber)):
            self.check([subscriber])

    def forget(self, subscriber: Subscriber) -> None:
        """Stop checking this one."""
        self._queue.discard(subscriber)
        self._uncertain.pop(subscriber, None)

    def _access_changed(self, event: AccessChanged) -> None:
        self._note_change(("user", event.user_id))
        self.check([subscriber for subscriber in registry() if event.user_id in subscriber.people])

    def _lock_changed(self, event: ConversationLockChanged) -> None:
        self._note_change(("conversation", event.conversation_id))
        self.check(registry().by_conversation[event.conversation_id])

    def _note_change(self, change: Change) -> None:
        loop = asyncio.get_running_loop()
        self._changed[change] = loop.time()
        loop.call_later(HANDSHAKE_SECONDS, self._forget_change, change)

    def _forget_change(self, change: Change) -> None:
        if asyncio.get_running_loop().time() - self._changed.get(change, 0) >= HANDSHAKE_SECONDS:
            self._changed.pop(change, None)

    async def _check_batch(self, subscribers: list[Subscriber]) -> bool:
        try:
            revoked = await in_database(find_revoked, subscribers)
        except UnavailableError:
            return False
        for subscriber in subscribers:
            if subscriber in registry():
                self._act(revoked.get(subscriber), subscriber)
        return True

    def _act(self, revocation: Revocation | None, subscriber: Subscriber) -> None:
        """Close a socket whose access is revoked; an uncertain revocation must still hold `SAVING_SECONDS` later."""
        if revocation is None:
            self._uncertain.pop(subscriber, None)
            subscriber.access_checked()
            presence().watch(subscriber)  # a former mentor may have been assigned again
            return
        loop = asyncio.get_running_loop()
        since = self._uncertain.setdefault(subscriber, loop.time())
        if revocation.certain or loop.time() - since >= SAVING_SECONDS:
            subscriber.context.run(logger.info, "access revoked: %s", revocation.code)
            subscriber.close(revocation.code)
        else:
            loop.call_later(SAVING_SECONDS, self.check, [subscriber])


def _changes_of(subscriber: Subscriber) -> Iterator[Change]:
    """Return the changes that concern this one."""
    for user_id in subscriber.people:
        yield "user", user_id
    for conversation_id in subscriber.conversation_ids:
        yield "conversation", conversation_id


# The access checks of the running event loop.
access_checks = per_event_loop(AccessChecks)
