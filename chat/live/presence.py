"""Presence: which users have a socket in any process, sent to the sockets that watch them.

An event only says that a user came online or went offline. The receiver then looks up the present state in Redis, and
in the database when the user was last seen. A periodic round looks up all watched users, for changes without an event,
such as the death of a process. No socket waits for presence. While Redis is unreachable, every user keeps their last
known state.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from django.utils import timezone

from chat.bus.event_bus import event_bus, publish
from chat.bus.events import PresenceChanged, presence_group
from chat.errors import UnavailableError
from chat.live.heartbeats import BEAT_SECONDS, Heartbeat, Heartbeats
from chat.live.registry import registry
from chat.live.subscriber import Subscriber
from chat.runtime.batch_queue import BatchQueue, batches
from chat.runtime.database import in_database
from chat.runtime.event_loop import RETRY_SECONDS, Tasks, per_event_loop
from chat.store.last_seen import load_last_seen, save_last_seen
from chat.wire.server_frames import Presence as PresenceFrame

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5.0  # a user who reloads a page does not go offline
GATHER_SECONDS = 0.05  # users who come or go within this time are published together
CONFIRMED_SECONDS = 1.0  # the layer does not confirm a subscription: after that time it is there
USERS_PER_LOOK_UP = 500


class State(NamedTuple):
    """Whether a user is online, and when they last went offline; None for never."""

    is_online: bool
    last_seen: datetime | None


OFFLINE = State(False, None)
NEVER = datetime.min.replace(tzinfo=UTC)


class Presence:
    """The presence of one event loop. The registry holds who is online here, and who watches whom."""

    def __init__(self) -> None:
        self._heartbeats = Heartbeats[int]()
        self._leaving: dict[int, asyncio.TimerHandle] = {}  # users whose last socket was closed a moment ago
        self._came: set[int] = set()  # Redis does not know of them yet
        self._went: dict[int, datetime] = {}
        self._unsaved: dict[int, datetime] = {}
        self._known: dict[int, State] = {}  # of watched users
        self._look_ups = BatchQueue[int]("presence-look-ups", self._look_up_changed, USERS_PER_LOOK_UP)
        self._beat_lock = asyncio.Lock()  # else a heartbeat could reach Redis after its user has left
        self._look_up_lock = asyncio.Lock()  # else an older state could be sent after a newer one
        self._tasks = Tasks("presence")
        self._is_redis_away = False
        event_bus().on(PresenceChanged, lambda event: self._look_up_soon([event.user_id]))

    def arrive(self, user_id: int) -> None:
        """Note that a socket of this user was opened."""
        if timer := self._leaving.pop(user_id, None):
            timer.cancel()
        elif registry().count(user_id) == 1:
            self._came.add(user_id)
            self._tasks.run("report", self._report)

    def leave(self, user_id: int) -> None:
        """Note that a socket of this user was closed."""
        if not registry().count(user_id):
            loop = asyncio.get_running_loop()
            self._leaving[user_id] = loop.call_later(GRACE_SECONDS, self._went_offline, user_id, timezone.now())

    def watch(self, subscriber: Subscriber) -> None:
        """Send this socket the presence of exactly the users that it now watches."""
        watched = registry().by_watched_user
        new, old = watched.set(subscriber, subscriber.watched_users)
        self._forget_unwatched(old)
        for user_id in new:
            if state := self._known.get(user_id):
                _send(state, user_id, [subscriber])
        self._look_up_soon([user_id for user_id in new if user_id not in self._known])

    def unwatch(self, subscriber: Subscriber) -> None:
        """Stop sending presence to this socket."""
        self._forget_unwatched(registry().by_watched_user.set(subscriber, ())[1])

    def _forget_unwatched(self, users: Iterable[int]) -> None:
        unwatched = [user_id for user_id in users if user_id not in registry().by_watched_user]
        for user_id in unwatched:
            self._known.pop(user_id, None)
        event_bus().leave([presence_group(user_id) for user_id in unwatched])

    def _look_up_soon(self, users: Iterable[int]) -> None:
        self._look_ups.add([user_id for user_id in users if user_id in registry().by_watched_user])

    # Reports to the other processes.

    def _went_offline(self, user_id: int, at: datetime) -> None:
        del self._leaving[user_id]
        self._went[user_id] = at
        self._tasks.run("report", self._report)

    async def _report(self) -> None:
        """Report users who came and went. One task does both, so that reports about a user stay in order."""
        while self._came or self._went:
            await asyncio.sleep(GATHER_SECONDS)
            came, self._came = self._came, set()
            went, self._went = self._went, {}
            for batch in batches(came, USERS_PER_LOOK_UP):
                new = await self._heartbeats.beat(batch)
                _publish(batch if new is None else new)
            for batch in batches(went, USERS_PER_LOOK_UP):
                async with self._beat_lock:
                    gone = await self._heartbeats.leave([user_id for user_id in batch if not registry().count(user_id)])
                # While Redis is unreachable, other processes are unknown, but the users were online here until then.
                await self._save({user_id: went[user_id] for user_id in (batch if gone is None else gone)})
                _publish(gone or ())

    async def _save(self, seen: Mapping[int, datetime]) -> None:
        if not seen:
            return
        try:
            locked = await in_database(save_last_seen, seen)
            self._unsaved |= {user_id: seen[user_id] for user_id in locked}
        except UnavailableError:
            self._unsaved |= seen  # the next round tries again
        except Exception:
            logger.exception("last_seen could not be stored")

    # The round.

    @property
    def is_needed(self) -> bool:
        """Whether there are users to send heartbeats for, or times to store."""
        return bool(registry() or self._leaving or self._unsaved)

    @property
    def round_seconds(self) -> float:
        """The time until the next round; shorter while Redis is unreachable."""
        return RETRY_SECONDS if self._is_redis_away else BEAT_SECONDS

    async def run_round(self) -> None:
        """Send heartbeats, retry to store `last_seen`, and look up all watched users."""
        self._is_redis_away = not await self._beat()
        if self._unsaved:
            unsaved, self._unsaved = self._unsaved, {}
            await self._save(unsaved)
            _publish(unsaved)
        for batch in batches(registry().by_watched_user, USERS_PER_LOOK_UP):
            await self._look_up(batch, ())

    async def _beat(self) -> bool:
        async with self._beat_lock:
            for batch in batches([*registry().by_user, *self._leaving], USERS_PER_LOOK_UP):
                new = await self._heartbeats.beat(batch)
                if new is None:
                    return False
                if self._heartbeats.is_shared:
                    _publish(new)  # a later `_report` would no longer find them new
        return True

    # Look-ups.

    async def _look_up_changed(self, users: list[int]) -> bool:
        users = [user_id for user_id in users if user_id in registry().by_watched_user]
        new = [user_id for user_id in users if user_id not in self._known]
        await event_bus().join([presence_group(user_id) for user_id in users])
        if not await self._look_up(users, users):
            return False
        if new:
            asyncio.get_running_loop().call_later(CONFIRMED_SECONDS, self._look_up_soon, new)
        return True

    async def _look_up(self, users: Sequence[int], changed: Collection[int]) -> bool:
        """Look up these users and send their new states; returns whether the database answered.

        The database is queried only for the `changed` users and for those whose online state is found to differ.
        """
        async with self._look_up_lock:
            beats = await self._heartbeats.last_heartbeats(users)
            online = {user_id for user_id in users if self._is_online(user_id, beats)}
            asked = [
                user_id
                for user_id in users
                if user_id in changed or (user_id in online) != self._known.get(user_id, OFFLINE).is_online
            ]
            try:
                seen = await in_database(load_last_seen, asked) if asked else {}
            except UnavailableError:
                return False
            # Their process died: its last heartbeat is when they were last seen.
            gone = {user_id: beat.at for user_id, beat in (beats or {}).items() if user_id not in online}
            late = {user_id: gone[user_id] for user_id in asked if gone.get(user_id, NEVER) > seen.get(user_id, NEVER)}
            await self._save(late)
            for user_id in asked:
                self._update_state(user_id, State(user_id in online, late.get(user_id, seen.get(user_id))))
        return True

    def _update_state(self, user_id: int, state: State) -> None:
        known, watchers = self._known.get(user_id), registry().by_watched_user[user_id]
        if watchers and state != known and not (known and known.is_online and state.is_online):
            self._known[user_id] = state
            _send(state, user_id, watchers)

    def _is_online(self, user_id: int, beats: Mapping[int, Heartbeat] | None) -> bool:
        if registry().count(user_id) or user_id in self._leaving:
            return True
        if beats is not None and user_id in beats and beats[user_id].is_fresh:
            return True
        known = self._known.get(user_id, OFFLINE)
        return known.is_online and (beats is None or not self._heartbeats.complete)


def _publish(users: Iterable[int]) -> None:
    for user_id in users:
        publish(PresenceChanged(user_id))


def _send(state: State, user_id: int, subscribers: Iterable[Subscriber]) -> None:
    frame = PresenceFrame(user=user_id, is_online=state.is_online, last_seen=state.last_seen)
    for subscriber in subscribers:
        subscriber.send_latest(("presence", user_id), frame)


# The presence of the running event loop.
presence = per_event_loop(Presence)
