"""The registry of the open sockets of this process: by user, by conversation, by watched user.

It is the only list of them: counting, delivery, healing, access checks and presence read it.
"""

import logging
from collections.abc import Collection, Iterator

from chat.bus.event_bus import event_bus
from chat.bus.events import ConversationEvent, conversation_group
from chat.live.inbox_feed import InboxFeed
from chat.live.subscriber import Subscriber
from chat.runtime.event_loop import per_event_loop

logger = logging.getLogger(__name__)


class Index:
    """Subscribers by their keys, for example by the ids of their conversations."""

    def __init__(self) -> None:
        self._subscribers: dict[int, set[Subscriber]] = {}
        self._keys: dict[Subscriber, frozenset[int]] = {}

    def __getitem__(self, key: int) -> Collection[Subscriber]:
        return self._subscribers.get(key, ())

    def __contains__(self, key: int) -> bool:
        return key in self._subscribers

    def __iter__(self) -> Iterator[int]:
        return iter(self._subscribers)

    def set(self, subscriber: Subscriber, keys: Collection[int]) -> tuple[set[int], set[int]]:
        """Replace the keys of a subscriber. Returns the keys that were added, and those that were removed."""
        before, now = self._keys.pop(subscriber, frozenset[int]()), frozenset(keys)
        if now:
            self._keys[subscriber] = now
        for key in now - before:
            self._subscribers.setdefault(key, set()).add(subscriber)
        for key in before - now:
            self._subscribers[key].discard(subscriber)
            if not self._subscribers[key]:
                del self._subscribers[key]
        return set(now - before), set(before - now)


class Registry:
    """The open sockets of one event loop."""

    def __init__(self) -> None:
        self._subscribers: set[Subscriber] = set()
        self.by_user = Index()
        self.by_conversation = Index()
        self.by_watched_user = Index()
        event_bus().on(ConversationEvent, self._deliver)

    def __contains__(self, subscriber: Subscriber) -> bool:
        return subscriber in self._subscribers

    def __iter__(self) -> Iterator[Subscriber]:
        return iter(self._subscribers)

    def __len__(self) -> int:
        return len(self._subscribers)

    @property
    def inbox_feeds(self) -> list[InboxFeed]:
        """The inboxes."""
        return [subscriber for subscriber in self if isinstance(subscriber, InboxFeed)]

    def count(self, user_id: int) -> int:
        """Return how many sockets of this user are open here."""
        return len(self.by_user[user_id])

    def add(self, subscriber: Subscriber) -> None:
        """Add a subscriber."""
        self._subscribers.add(subscriber)
        self.by_user.set(subscriber, [subscriber.user_id])

    async def update_conversations(self, subscriber: Subscriber) -> None:
        """Have a subscriber receive the events of exactly its present conversations."""
        new, old = self.by_conversation.set(subscriber, subscriber.conversation_ids)
        self._leave(old)
        if new:
            await event_bus().join([conversation_group(pk) for pk in new])

    def remove(self, subscriber: Subscriber) -> None:
        """Remove a subscriber; harmless for one that was not added."""
        self._subscribers.discard(subscriber)
        self.by_user.set(subscriber, ())
        self.by_watched_user.set(subscriber, ())
        self._leave(self.by_conversation.set(subscriber, ())[1])

    def _leave(self, conversation_ids: set[int]) -> None:
        event_bus().leave([conversation_group(pk) for pk in conversation_ids if pk not in self.by_conversation])

    def _deliver(self, event: ConversationEvent) -> None:
        for subscriber in tuple(self.by_conversation[event.conversation_id]):
            try:
                subscriber.on_event(event)
            except Exception:
                logger.exception("an event could not be delivered")


# The registry of the running event loop.
registry = per_event_loop(Registry)
