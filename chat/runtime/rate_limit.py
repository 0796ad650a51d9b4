"""The rate limit of sends: token buckets in this process, kept in step with one bucket per user in Redis.

No send waits for Redis. Each process takes tokens from its own bucket. Every `REPORT_SECONDS` it reports the taken
tokens to Redis in one call, and Redis returns how many are left for all processes. That number is negative if several
processes took too much between two reports. So a user who writes through several processes gets at most one burst from
each, once, and then waits until the bucket has a token again.
"""

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from chat.runtime import metrics
from chat.runtime.event_loop import Tasks, per_event_loop
from chat.runtime.redis import REDIS_SECONDS, redis_client

logger = logging.getLogger(__name__)

REPORT_SECONDS = 0.01  # between two reports; a report of one user costs as much processor time as half a message
RETRY_SECONDS = 5.0  # pause after a report that Redis did not answer
PRUNE_ABOVE = 10_000  # above this number of buckets, full ones are dropped

# The only clock is that of Redis. KEYS: the buckets; ARGV: tokens per second, size, and the tokens taken from each
# bucket. Returns the tokens left in each, as text, since Redis truncates numbers to integers.
TAKE = """
local now = redis.call('TIME')
now = now[1] + now[2] / 1000000
local rate, size, left = tonumber(ARGV[1]), tonumber(ARGV[2]), {}
for i, key in ipairs(KEYS) do
  local bucket = redis.call('HMGET', key, 'tokens', 'at')
  local tokens = tonumber(bucket[1]) or size
  local at = tonumber(bucket[2]) or now
  tokens = math.min(size, tokens + math.max(0, now - at) * rate) - tonumber(ARGV[i + 2])
  redis.call('HSET', key, 'tokens', tostring(tokens), 'at', string.format('%.6f', now))
  redis.call('PEXPIRE', key, math.ceil((size - tokens) / rate * 1000) + 1000)
  left[i] = tostring(tokens)
end
return left
"""


@dataclass(slots=True)
class Bucket:
    """A token bucket in this process: `rate` tokens per second, at most `size`."""

    rate: float
    size: float
    tokens: float = field(init=False)
    at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.tokens = self.size

    def take(self) -> float:
        """Take a token and return 0; if there is none, return the seconds until there will be one."""
        self._fill()
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / self.rate

    def lower(self, tokens: float) -> None:
        """Lower the bucket to `tokens`, which may be negative.

        A difference of less than half a token is the delay of the report, and is ignored.
        """
        self._fill()
        if self.tokens - tokens >= 0.5:
            self.tokens = tokens

    @property
    def full(self) -> bool:
        """Whether it can be dropped: a new bucket is full, too."""
        self._fill()
        return self.tokens >= self.size

    def _fill(self) -> None:
        now = time.monotonic()
        self.tokens = min(self.size, self.tokens + (now - self.at) * self.rate)
        self.at = now


class SendLimit:
    """`CHAT_RATE_LIMIT`, per user over all sockets and REST; one per event loop."""

    def __init__(self) -> None:
        self._buckets: dict[int, Bucket] = {}
        self._prune_above = PRUNE_ABOVE
        self._taken: Counter[int] = Counter()  # tokens by user, not yet reported to Redis
        self._tasks = Tasks("send-limit")
        redis = redis_client()
        self._script: Any = redis.register_script(TAKE) if redis is not None else None

    def take(self, user_id: int) -> float:
        """Return 0 if this user may write now, else the seconds until they may."""
        if settings.CHAT_RATE_LIMIT is None:
            return 0.0
        rate, size = settings.CHAT_RATE_LIMIT
        wait = self._bucket(user_id, rate, size).take()
        if wait == 0 and self._script is not None:
            if not self._taken:
                self._tasks.run("report", lambda: self._report(rate, size))
            self._taken[user_id] += 1
        return wait

    def _bucket(self, user_id: int, rate: float, size: float) -> Bucket:
        if (bucket := self._buckets.get(user_id)) is None:
            if len(self._buckets) > self._prune_above:
                self._buckets = {user: bucket for user, bucket in self._buckets.items() if not bucket.full}
                # If none is full, not every new bucket may scan all of them.
                self._prune_above = max(PRUNE_ABOVE, 2 * len(self._buckets))
            bucket = self._buckets[user_id] = Bucket(rate, size)
        return bucket

    async def _report(self, rate: float, size: float) -> None:
        while self._taken:
            await asyncio.sleep(REPORT_SECONDS)
            taken, self._taken = self._taken, Counter()
            keys = [f"qader:send:{user}" for user in taken]
            try:
                async with asyncio.timeout(REDIS_SECONDS):
                    left = await self._script(keys=keys, args=[rate, size, *taken.values()])
            except Exception as error:
                logger.warning("rate limit counts in this process alone: %s", type(error).__name__)
                metrics.RATE_LIMIT_FALLBACKS.inc()
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._apply_report(dict(zip(taken, map(float, left), strict=True)))

    def _apply_report(self, left: dict[int, float]) -> None:
        for user, tokens in left.items():
            if bucket := self._buckets.get(user):
                bucket.lower(tokens - self._taken[user])


# The running event loop's limit.
send_limit = per_event_loop(SendLimit)
