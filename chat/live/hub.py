"""The hub connects the parts of `live`: it joins, starts and removes sockets, and runs the periodic rounds."""

import asyncio
import random

from django.conf import settings

from chat.bus.event_bus import event_bus
from chat.bus.events import ACCESS_GROUP
from chat.errors import ClientError
from chat.live.access_checks import access_checks
from chat.live.healing import healing
from chat.live.presence import presence
from chat.live.readers import readers
from chat.live.registry import Registry, registry
from chat.live.subscriber import Subscriber
from chat.runtime.event_loop import Tasks, per_event_loop
from chat.runtime.rate_limit import RateLimit


def check_socket_limit(here: Registry, user_id: int) -> None:
    """Raise `too_many_sockets` if this user has reached the limit of sockets in this process. From any thread."""
    if here.count(user_id) >= settings.CHAT_MAX_SOCKETS_PER_USER:
        raise ClientError("too_many_sockets", "Too many open connections.", 429)


def check_handshake(here: Registry, limit: RateLimit, user_id: int) -> None:
    """Count a handshake; raise `rate_limited` if the user makes too many, or `too_many_sockets`. From any thread."""
    if wait := limit.take(user_id):
        raise ClientError("rate_limited", "Too many handshakes.", 429, retry_after=wait)
    check_socket_limit(here, user_id)


class Hub:
    """The hub of one event loop."""

    def __init__(self) -> None:
        self._tasks = Tasks("rounds")
        # Each of them registers its event handlers when it is created.
        registry(), healing(), access_checks(), presence()

    async def listen(self) -> None:
        """Receive access events; must be awaited before the user of a new socket is looked up."""
        await event_bus().join([ACCESS_GROUP])

    async def join(self, subscriber: Subscriber) -> None:
        """Add a new socket; it receives events when this returns. Raises `too_many_sockets`."""
        check_socket_limit(registry(), subscriber.user_id)
        registry().add(subscriber)
        presence().arrive(subscriber.user_id)
        readers().changed(subscriber)
        self._tasks.run("healing", self._healing_rounds)
        self._tasks.run("presence", self._presence_rounds)
        await registry().update_conversations(subscriber)

    def started(self, subscriber: Subscriber) -> None:
        """Check and heal a new socket, for changes since its handshake read the database."""
        access_checks().check_new(subscriber)
        presence().watch(subscriber)
        healing().heal_new(subscriber)

    def leave(self, subscriber: Subscriber) -> None:
        """Remove a socket; harmless for one that has not joined."""
        if subscriber in registry():
            presence().unwatch(subscriber)
            registry().remove(subscriber)
            presence().leave(subscriber.user_id)
            readers().changed(subscriber)
            access_checks().forget(subscriber)
        if not registry():
            self._tasks.cancel("healing")

    async def _healing_rounds(self) -> None:
        while True:
            # Jittered, so that processes that started together do not all query at the same time.
            await asyncio.sleep(settings.CHAT_HEAL_SECONDS * random.uniform(0.7, 1.0))  # noqa: S311 - not a secret
            access_checks().check(list(registry()))  # first: whatever happens to the healing, access ends in time
            await healing().heal_all()

    async def _presence_rounds(self) -> None:
        while presence().is_needed:
            await asyncio.sleep(presence().round_seconds * random.uniform(0.8, 1.0))  # noqa: S311 - not a secret
            await presence().run_round()
            await readers().run_round()


# The hub of the running event loop.
hub = per_event_loop(Hub)
