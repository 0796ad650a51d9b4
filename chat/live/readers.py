"""Who has which conversation open in any process: people who read it need no notice of what is written there.

Sockets of `mark_read=false` do not count, nor do inboxes. Each process sends heartbeats for the readers it has, and the
command that sends notices asks Redis. Without Redis nobody counts as reading.
"""

import asyncio
import logging
from collections.abc import Collection
from typing import TypeGuard

import redis
from django.conf import settings

from chat.live.conversation_feed import ConversationFeed
from chat.live.heartbeats import KEPT_SECONDS, LOOK_UP, SCRIPT, STALE_SECONDS, Heartbeats, key_of
from chat.live.registry import registry
from chat.live.subscriber import Subscriber
from chat.runtime.batch_queue import batches
from chat.runtime.event_loop import Tasks, per_event_loop
from chat.runtime.redis import REDIS_SECONDS
from chat.runtime.redis_address import RedisPool

logger = logging.getLogger(__name__)

NAME = "readers"
READERS_PER_CALL = 500
# A reader: a conversation's id and a user's.
Reader = tuple[int, int]


class Readers:
    """The readers of one event loop."""

    def __init__(self) -> None:
        self._heartbeats = Heartbeats[str](NAME)
        self._changed: set[Reader] = set()  # those who came or went, and whom Redis was not told of
        self._lock = asyncio.Lock()  # else a heartbeat could reach Redis after its reader has left
        self._tasks = Tasks("readers")

    def changed(self, subscriber: Subscriber) -> None:
        """Note that this socket has joined the registry, or left it."""
        if self._heartbeats.is_shared and _reads(subscriber):
            self._changed.add((subscriber.conversation_id, subscriber.user_id))
            self._tasks.run("report", self._report)

    async def run_round(self) -> None:
        """Send a heartbeat for each reader."""
        if self._heartbeats.is_shared:
            async with self._lock:
                present = {_name((feed.conversation_id, feed.user_id)) for feed in filter(_reads, registry())}
                for batch in batches(present, READERS_PER_CALL):
                    await self._heartbeats.beat(batch)

    async def _report(self) -> None:
        while self._changed:
            async with self._lock:
                changed, self._changed = self._changed, set()
                present = set(filter(_is_present, changed))
                for batch in batches(map(_name, present), READERS_PER_CALL):
                    await self._heartbeats.beat(batch)
                for batch in batches(map(_name, changed - present), READERS_PER_CALL):
                    await self._heartbeats.leave(batch)


def _is_present(reader: Reader) -> bool:
    """Whether this process has such a socket; looks at those of the user only, not at all of a reconnect storm."""
    conversation_id, user_id = reader
    return any(feed.conversation_id == conversation_id for feed in filter(_reads, registry().by_user[user_id]))


def _reads(subscriber: Subscriber) -> TypeGuard[ConversationFeed]:
    return isinstance(subscriber, ConversationFeed) and subscriber.is_read


def _name(reader: Reader) -> str:
    return f"{reader[0]}:{reader[1]}"


class ReaderLookUp:
    """Looks up readers, in a process without sockets. Says once that Redis does not answer."""

    def __init__(self) -> None:
        self._client: redis.Redis | None = None
        self._is_away = False
        if settings.REDIS_URL:
            timeouts = {"socket_timeout": REDIS_SECONDS, "socket_connect_timeout": REDIS_SECONDS}
            self._client = redis.Redis(connection_pool=RedisPool.from_url(settings.REDIS_URL, **timeouts))

    def reading(self, readers: Collection[Reader]) -> set[Reader]:
        """Return those of these readers who have their conversation open; nobody if Redis does not answer."""
        readers = list(dict.fromkeys(readers))
        if self._client is None or not readers:
            return set()
        keys = [f"qader:{NAME}", *(key_of(NAME, _name(reader)) for reader in readers)]
        script = SCRIPT.replace("...", LOOK_UP)
        try:
            _, found = self._client.eval(script, len(keys), *keys, "", str(STALE_SECONDS), str(KEPT_SECONDS))
        except redis.RedisError as error:
            if not self._is_away:
                logger.warning("Redis does not answer, everybody counts as away: %s", type(error).__name__)
            self._is_away = True
            return set()
        self._is_away = False
        return {readers[n] for n, _, age in found if float(age) < STALE_SECONDS}

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.connection_pool.disconnect()


# The readers of the running event loop.
readers = per_event_loop(Readers)
