"""Which users have a socket in any process: a sorted set for each in Redis, of processes by their last heartbeat.

A process that dies is forgotten when its heartbeats are old. Without Redis there is one process, which knows by itself.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.conf import settings
from redis import asyncio as redis

logger = logging.getLogger(__name__)

BEAT_SECONDS = 12.0  # between two heartbeats of a process
STALE_SECONDS = 32.0  # a process that was not heard of for so long is gone: one heartbeat may be lost, the next be late
HICCUP_SECONDS = 5.0  # a Redis that was away for no longer has missed no heartbeat for good
KEPT_SECONDS = 24 * 3600  # how long it can be told when a user was last here whose process died
REDIS_SECONDS = 1.0

# Of all scripts: one round trip, one clock, Redis's own. KEYS[1] lives as long as Redis's memory, the others are the
# users'. ARGV: this process, when a heartbeat is stale, how long to keep it. Returns what KEYS[1] holds, and what was
# found, by the users' numbers; times are text, since Redis cuts numbers to integers.
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
# Who came: the numbers of those who were in no process.
BEAT = """redis.call('ZREMRANGEBYSCORE', key, '-inf', stale)
    if redis.call('ZCARD', key) == 0 then found[#found + 1] = i - 2 end
    redis.call('ZADD', key, string.format('%.3f', now), process)
    redis.call('EXPIRE', key, kept)"""
# Who went: the numbers of those who are in no process now.
LEAVE = """redis.call('ZREM', key, process)
    redis.call('ZREMRANGEBYSCORE', key, '-inf', stale)
    if redis.call('ZCARD', key) == 0 then found[#found + 1] = i - 2 end"""
# The time of each one's last heartbeat and its age; nothing where there is none.
LOOK = """local last = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
    if last[2] then found[#found + 1] = {i - 2, last[2], tostring(now - last[2])} end"""


class Heartbeat(NamedTuple):
    """The last one of a user: when it was, and how many seconds ago; both by the clock of Redis."""

    at: datetime
    age: float

    @property
    def is_fresh(self) -> bool:
        """Whether the process that it came from is taken to be alive."""
        return self.age < STALE_SECONDS


class Heartbeats:
    """This process's part in it. Nothing raises: what Redis does not answer in time is None."""

    def __init__(self) -> None:
        self._process = uuid.uuid4().hex
        self._redis: Any = None
        self._memory: bytes | None = None  # what KEYS[1] held
        self._away_since: float | None = None
        self._doubtful_until = 0.0
        if settings.REDIS_URL:
            timeouts = {"socket_timeout": REDIS_SECONDS, "socket_connect_timeout": REDIS_SECONDS}
            self._redis = redis.from_url(settings.REDIS_URL, **timeouts)
            self._scripts = {
                body: self._redis.register_script(SCRIPT.replace("...", body)) for body in (BEAT, LEAVE, LOOK)
            }

    @property
    def complete(self) -> bool:
        """Whether who is not found is gone; not while others may still have to be heard after Redis was away."""
        return self._away_since is None and time.monotonic() >= self._doubtful_until

    async def beat(self, users: Sequence[int]) -> set[int] | None:
        """Tell that these are here; returns those who were nowhere before."""
        return await self._numbered(BEAT, users)

    async def leave(self, users: Sequence[int]) -> set[int] | None:
        """Tell that these are here no more; returns those who are nowhere now."""
        return await self._numbered(LEAVE, users)

    async def look(self, users: Sequence[int]) -> dict[int, Heartbeat] | None:
        """Return the last heartbeat of those of whom there is one."""
        if self._redis is None:
            return {}
        found = await self._call(LOOK, users)
        if found is None:
            return None
        return {users[n]: Heartbeat(datetime.fromtimestamp(float(at), UTC), float(age)) for n, at, age in found}

    async def _numbered(self, script: str, users: Sequence[int]) -> set[int] | None:
        if self._redis is None:
            return set(users)
        found = await self._call(script, users)
        return None if found is None else {users[n] for n in found}

    async def _call(self, script: str, users: Collection[int]) -> list[Any] | None:
        keys = [f"qader:presence:{user}" for user in users]
        arguments = [self._process, STALE_SECONDS, KEPT_SECONDS]
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                memory, found = await self._scripts[script](keys=["qader:presence", *keys], args=arguments)
        except Exception as error:
            if self._away_since is None:
                logger.warning("presence stands still: %s", type(error).__name__)
                self._away_since = time.monotonic()
            return None
        self._answered(memory)
        return list(found)

    def _answered(self, memory: bytes) -> None:
        """Redis is there; what it may have lost meanwhile, every process tells with its next heartbeat."""
        now = time.monotonic()
        was_away = self._away_since is not None and now - self._away_since > HICCUP_SECONDS
        if was_away or self._memory not in (None, memory):
            self._doubtful_until = now + BEAT_SECONDS + REDIS_SECONDS
        self._away_since, self._memory = None, memory
