"""Who is there: whose sockets are open, in any process, told to the sockets that watch them.

Hints say only that something changed about a user; the state is then looked up, in Redis and, for when they were last
here, in the database. A round looks over all who are watched and finds what no hint told, such as a process that died.
Nobody waits for any of it, and while Redis is away everything stays as it was last known.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

from django.utils import timezone

from accounts.models import User
from chat import events
from chat.database import in_database
from chat.errors import UnavailableError
from chat.heartbeats import BEAT_SECONDS, Heartbeat, Heartbeats
from chat.loops import Tasks, per_event_loop
from chat.models import LastSeen
from chat.outbox import Outbox
from chat.serializers import Presence as PresenceFrame
from chat.serializers import encode

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5.0  # a page that is loaded anew is not away
GATHER_SECONDS = 0.05  # those who come and go within it are told together
CONFIRMED_SECONDS = 1.0  # the layer does not confirm a subscription: by then it stands
RETRY_SECONDS = 1.0
USERS_PER_LOOK = 500


class State(NamedTuple):
    """Whether a user is here, and when they were last before; None for never."""

    is_online: bool
    last_seen: datetime | None


AWAY = State(False, None)
NEVER = datetime.min.replace(tzinfo=UTC)


class Presence:
    """Of one event loop: whose sockets are here, and who watches whom."""

    def __init__(self) -> None:
        self._heartbeats = Heartbeats()
        self._here: Counter[int] = Counter()  # open sockets
        self._leaving: dict[int, asyncio.TimerHandle] = {}  # the last socket is closed, a moment ago
        self._came: set[int] = set()  # of whom Redis has to be told
        self._went: dict[int, datetime] = {}
        self._unsaved: dict[int, datetime] = {}
        self._watching: dict[Outbox, frozenset[int]] = {}
        self._watchers: dict[int, set[Outbox]] = {}
        self._known: dict[int, State] = {}
        self._doubtful: set[int] = set()  # who is watched and has to be looked up
        self._beating = asyncio.Lock()  # else a heartbeat on its way could arrive behind a leaving
        self._looking = asyncio.Lock()  # else an older answer could be shown behind a newer one
        self._tasks = Tasks("presence")

    def arrive(self, user_id: int) -> None:
        """Count one more open socket of this user."""
        self._here[user_id] += 1
        if timer := self._leaving.pop(user_id, None):
            timer.cancel()
        elif self._here[user_id] == 1:
            self._came.add(user_id)
            self._tasks.run("tell", self._tell)
        self._tasks.run("rounds", self._rounds)

    def leave(self, user_id: int) -> None:
        """Count one open socket of this user less."""
        self._here[user_id] -= 1
        if not self._here[user_id]:
            del self._here[user_id]
            loop = asyncio.get_running_loop()
            self._leaving[user_id] = loop.call_later(GRACE_SECONDS, self._left, user_id, timezone.now())

    def watch(self, watcher: Outbox, people: Collection[int]) -> None:
        """Show this socket the presence of these users from now on, and of no others."""
        before, wanted = self._watching.pop(watcher, frozenset()), frozenset(people)
        if wanted:
            self._watching[watcher] = wanted
        self._ignore(watcher, before - wanted)
        for user_id in wanted - before:
            self._watchers.setdefault(user_id, set()).add(watcher)
            if state := self._known.get(user_id):
                _show(state, user_id, [watcher])
        self._doubt(user_id for user_id in wanted - before if user_id not in self._known)

    def _ignore(self, watcher: Outbox, people: Iterable[int]) -> None:
        unwatched = []
        for user_id in people:
            self._watchers[user_id].discard(watcher)
            if not self._watchers[user_id]:
                del self._watchers[user_id]
                self._known.pop(user_id, None)
                unwatched.append(user_id)
        events.mailbox().leave(map(events.presence_group, unwatched), self._hear)

    def _hear(self, event: events.AnyEvent) -> None:
        if isinstance(event, events.PresenceChanged):
            self._doubt([event.user_id])

    def _doubt(self, people: Iterable[int]) -> None:
        self._doubtful |= self._watchers.keys() & set(people)
        if self._doubtful:
            self._tasks.run("look", self._look)

    # Telling the other processes.

    def _left(self, user_id: int, at: datetime) -> None:
        del self._leaving[user_id]
        self._went[user_id] = at
        self._tasks.run("tell", self._tell)

    async def _tell(self) -> None:
        """Tell who came and went, in one task: nobody who came back is overtaken by having gone."""
        while self._came or self._went:
            await asyncio.sleep(GATHER_SECONDS)
            came, self._came = self._came, set()
            went, self._went = self._went, {}
            for batch in _batches(came):
                new = await self._heartbeats.beat(batch)
                self._publish(batch if new is None else new)
            for batch in _batches(went):
                async with self._beating:
                    gone = await self._heartbeats.leave([user_id for user_id in batch if user_id not in self._here])
                # Where Redis is away it is not known whether they are elsewhere; until then they were here.
                await self._save({user_id: went[user_id] for user_id in (batch if gone is None else gone)})
                self._publish(gone or ())

    def _publish(self, people: Iterable[int]) -> None:
        for user_id in people:
            events.presence_changed(user_id)

    async def _save(self, seen: Mapping[int, datetime]) -> None:
        if not seen:
            return
        try:
            await in_database(save_last_seen, seen)
        except UnavailableError:
            self._unsaved |= seen  # the next round tries again
        except Exception:
            logger.exception("when users were last here could not be stored")

    async def _rounds(self) -> None:
        seconds = BEAT_SECONDS
        while self._here or self._leaving or self._unsaved:
            await asyncio.sleep(seconds * random.uniform(0.8, 1.0))  # noqa: S311 - not a secret
            seconds = BEAT_SECONDS if await self._beat() else RETRY_SECONDS
            if self._unsaved:
                unsaved, self._unsaved = self._unsaved, {}
                await self._save(unsaved)
                self._publish(unsaved)
            for batch in _batches(self._watchers):
                await self._look_up(batch, ())

    async def _beat(self) -> bool:
        async with self._beating:
            for batch in _batches([*self._here, *self._leaving]):
                if await self._heartbeats.beat(batch) is None:
                    return False
        return True

    # Looking them up.

    async def _look(self) -> None:
        while self._doubtful:
            batch = next(_batches(self._doubtful))
            self._doubtful.difference_update(batch)
            batch = [user_id for user_id in batch if user_id in self._watchers]
            new = [user_id for user_id in batch if user_id not in self._known]
            await events.mailbox().join([*map(events.presence_group, batch)], self._hear)
            if not await self._look_up(batch, batch):
                self._doubtful.update(batch)
                await asyncio.sleep(RETRY_SECONDS)
            elif new:
                asyncio.get_running_loop().call_later(CONFIRMED_SECONDS, self._doubt, new)

    async def _look_up(self, people: Sequence[int], doubtful: Collection[int]) -> bool:
        """Look these users up and show what changed; returns whether all that was asked has answered.

        The database is asked only about the `doubtful` and those who came or went.
        """
        async with self._looking:
            beats = await self._heartbeats.look(people)
            online = {user_id for user_id in people if self._is_online(user_id, beats)}
            changed = [
                user_id
                for user_id in people
                if user_id in doubtful or (user_id in online) != self._known.get(user_id, AWAY).is_online
            ]
            try:
                seen = await in_database(last_seen, changed) if changed else {}
            except UnavailableError:
                return False
            # Who went without a word: their process died, and its heartbeats remain.
            gone = {user_id: beat.at for user_id, beat in (beats or {}).items() if user_id not in online}
            late = {
                user_id: gone[user_id] for user_id in changed if gone.get(user_id, NEVER) > seen.get(user_id, NEVER)
            }
            await self._save(late)
            for user_id in changed:
                self._learn(user_id, State(user_id in online, late.get(user_id, seen.get(user_id))))
        return True

    def _learn(self, user_id: int, state: State) -> None:
        known = self._known.get(user_id)
        if user_id in self._watchers and state != known and not (known and known.is_online and state.is_online):
            self._known[user_id] = state
            _show(state, user_id, self._watchers[user_id])

    def _is_online(self, user_id: int, beats: Mapping[int, Heartbeat] | None) -> bool:
        if user_id in self._here or user_id in self._leaving:
            return True
        if beats is not None and user_id in beats and beats[user_id].is_fresh:
            return True
        known = self._known.get(user_id, AWAY)
        return known.is_online and (beats is None or not self._heartbeats.complete)


def _show(state: State, user_id: int, watchers: Iterable[Outbox]) -> None:
    text = encode(PresenceFrame(user=user_id, is_online=state.is_online, last_seen=state.last_seen))
    for watcher in watchers:
        watcher.show(("presence", user_id), text)


def _batches(people: Iterable[int]) -> Iterator[list[int]]:
    rest = iter(list(people))
    while batch := list(islice(rest, USERS_PER_LOOK)):
        yield batch


def last_seen(people: Collection[int]) -> dict[int, datetime]:
    """Return when these users were last here, for those who ever were and went."""
    return dict(LastSeen.objects.filter(user__in=people).values_list("user_id", "at"))


def save_last_seen(seen: Mapping[int, datetime]) -> None:
    """Store when users were last here; in the order of their ids, so that two processes never wait in a ring."""
    present = User.objects.filter(pk__in=seen).order_by("pk").values_list("pk", flat=True)
    rows = [LastSeen(user_id=pk, at=seen[pk]) for pk in present]
    LastSeen.objects.bulk_create(rows, update_conflicts=True, unique_fields=["user"], update_fields=["at"])


# The running event loop's presence.
presence = per_event_loop(Presence)
