"""Heartbeats: who has a socket in any process, as a sorted set in Redis for each user, or reader of a conversation.

The members of a set are processes, scored by the time of their last heartbeat. A process whose last heartbeat is old
counts as dead. Without Redis there is only one process, and its registry is enough.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, NamedTuple, TypeVar

from chat.runtime.redis import REDIS_SECONDS, redis_client

logger = logging.getLogger(__name__)

Who = TypeVar("Who", int, str)

BEAT_SECONDS = 12.0  # between two heartbeats of a process
STALE_SECONDS = 32.0  # a process without a heartbeat for this long counts as dead: one may be lost and the next late
HICCUP_SECONDS = 5.0  # after a shorter outage of Redis, no heartbeat is missing
KEPT_SECONDS = 24 * 3600  # how long the last heartbeat of a dead process is kept, as the time a user was last seen

# The template of all scripts: one round trip, and only the clock of Redis. KEYS[1] is set once, so it changes only if
# Redis lost its memory; KEYS[2..] are the users' sets. ARGV: this process, the age of a stale heartbeat, and how long
# to keep a set, both in seconds. Returns the value of KEYS[1], and results that name users by position. Times are text,
# since Redis truncates numbers to integers.
SCRIPT = """
local now = redis.call('TIME')
now = now[1] + now[2] / 1000000
local process, stale, kept = ARGV[1], now - ARGV[2], ARGV[3]
redis.call('SET', KEYS[1], string.format('%.6f', now), 'NX')
local found = {}
for i = 2, #KEYS do
    local key = KEYS[i]
    ...
end
return {redis.call('GET', KEYS[1]), found}
"""
# Heartbeat: returns the positions of users who were in no process before.
BEAT = """redis.call('ZREMRANGEBYSCORE', key, '-inf', stale)
    if redis.call('ZCARD', key) == 0 then found[#found + 1] = i - 2 end
    redis.call('ZADD', key, string.format('%.3f', now), process)
    redis.call('EXPIRE', key, kept)"""
# Leave: returns the positions of users who are now in no process.
LEAVE = """redis.call('ZREM', key, process)
    redis.call('ZREMRANGEBYSCORE', key, '-inf', stale)
    if redis.call('ZCARD', key) == 0 then found[#found + 1] = i - 2 end"""
# Look up: returns the time and the age of each user's last heartbeat, if there is one.
LOOK_UP = """local last = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
    if last[2] then found[#found + 1] = {i - 2, last[2], tostring(now - last[2])} end"""


class Heartbeat(NamedTuple):
    """A user's last heartbeat: its time, and its age in seconds, both by the clock of Redis."""

    at: datetime
    age: float

    @property
    def is_fresh(self) -> bool:
        """Whether its process counts as alive."""
        return self.age < STALE_SECONDS


def _heartbeat(at: bytes, age: bytes) -> Heartbeat | None:
    """Return the heartbeat; None for a time that no process of ours can have written."""
    try:
        return Heartbeat(datetime.fromtimestamp(float(at), UTC), float(age))
    except (ValueError, OverflowError, OSError):
        return None


def key_of(name: str, who: int | str) -> str:
    """Return the key of the set of this user or reader."""
    return f"qader:{name}:{who}"


class Heartbeats(Generic[Who]):
    """The heartbeats of this process. Methods never raise: if Redis does not answer in time, they return None."""

    def __init__(self, name: str = "presence") -> None:
        self._name = name  # of the keys
        self._process = uuid.uuid4().hex
        self._redis = redis_client()
        self._memory: bytes | None = None  # the last value of KEYS[1]
        self._away_since: float | None = None
        self._incomplete_until = 0.0
        self._scripts: dict[str, Any] = {}
        if self._redis is not None:
            for body in (BEAT, LEAVE, LOOK_UP):
                self._scripts[body] = self._redis.register_script(SCRIPT.replace("...", body))

    @property
    def is_shared(self) -> bool:
        """Whether other processes may send heartbeats as well."""
        return self._redis is not None

    @property
    def complete(self) -> bool:
        """Whether a user without heartbeats is offline.

        False shortly after a Redis outage, until every process has reported.
        """
        return self._away_since is None and time.monotonic() >= self._incomplete_until

    async def beat(self, users: Sequence[Who]) -> set[Who] | None:
        """Send a heartbeat for these users; returns the users who were in no process before."""
        return await self._numbered(BEAT, users)

    async def leave(self, users: Sequence[Who]) -> set[Who] | None:
        """Remove these users from this process; returns the users who are now in no process."""
        return await self._numbered(LEAVE, users)

    async def last_heartbeats(self, users: Sequence[Who]) -> dict[Who, Heartbeat] | None:
        """Return the last heartbeat of each of these users who has one."""
        if self._redis is None:
            return {}
        found = await self._call(LOOK_UP, users)
        if found is None:
            return None
        heartbeats = {users[n]: _heartbeat(at, age) for n, at, age in found}
        return {user: heartbeat for user, heartbeat in heartbeats.items() if heartbeat is not None}

    async def _numbered(self, script: str, users: Sequence[Who]) -> set[Who] | None:
        if self._redis is None:
            return set(users)
        found = await self._call(script, users)
        return None if found is None else {users[n] for n in found}

    async def _call(self, script: str, users: Collection[Who]) -> list[Any] | None:
        keys: list[str] = [key_of(self._name, user) for user in users]
        arguments = [self._process, STALE_SECONDS, KEPT_SECONDS]
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                memory, found = await self._scripts[script](keys=[f"qader:{self._name}", *keys], args=arguments)
        except Exception as error:
            if self._away_since is None:
                logger.warning("%s is frozen, Redis does not answer: %s", self._name, type(error).__name__)
                self._away_since = time.monotonic()
            return None
        self._answered(memory)
        return list(found)

    def _answered(self, memory: bytes) -> None:
        """Note that Redis answers. If it lost data, the next heartbeat of each process restores it."""
        now = time.monotonic()
        was_away = self._away_since is not None and now - self._away_since > HICCUP_SECONDS
        if was_away or self._memory not in (None, memory):
            self._incomplete_until = now + BEAT_SECONDS + REDIS_SECONDS
        self._away_since, self._memory = None, memory
