"""How fast one user may write: a token bucket, shared by all processes through Redis, else per process."""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from redis import asyncio as redis

from chat import metrics
from chat.loops import per_event_loop

logger = logging.getLogger(__name__)

REDIS_SECONDS = 0.05  # how long an acknowledgement may be held up by the limiter
RETRY_SECONDS = 5.0  # how long a Redis that did not answer is not asked again
PRUNE_ABOVE = 10_000  # full buckets are forgotten when there are more

# One round trip, one clock: Redis's own. KEYS[1]: the bucket; ARGV: tokens per second, size. Returns seconds to wait,
# as text, since Redis cuts numbers to integers.
TAKE = """
local now = redis.call('TIME')
now = now[1] + now[2] / 1000000
local rate, size = tonumber(ARGV[1]), tonumber(ARGV[2])
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(bucket[1]) or size
local at = tonumber(bucket[2]) or now
tokens = math.min(size, tokens + math.max(0, now - at) * rate)
local wait = 0
if tokens >= 1 then tokens = tokens - 1 else wait = (1 - tokens) / rate end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(size / rate * 1000) + 1000)
return tostring(wait)
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
        """Take a token and return 0, or take none and return the seconds until there is one."""
        now = time.monotonic()
        self.tokens = min(self.size, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / self.rate

    @property
    def full(self) -> bool:
        """Whether forgetting this bucket changes nothing."""
        return self.tokens + (time.monotonic() - self.at) * self.rate >= self.size


class SendLimit:
    """`CHAT_RATE_LIMIT`, per user over all sockets and REST; one per event loop."""

    def __init__(self) -> None:
        self._buckets: dict[int, Bucket] = {}
        self._redis: Any = None
        self._script: Any = None
        self._away_until = 0.0
        if settings.REDIS_URL:
            timeouts = {"socket_timeout": REDIS_SECONDS * 4, "socket_connect_timeout": REDIS_SECONDS * 4}
            self._redis = redis.from_url(settings.REDIS_URL, **timeouts)
            self._script = self._redis.register_script(TAKE)

    async def take(self, user_id: int) -> float:
        """Return 0 where this user may write now, else the seconds until they may; never raises, 50 ms at the most."""
        if settings.CHAT_RATE_LIMIT is None:
            return 0.0
        rate, size = settings.CHAT_RATE_LIMIT
        if self._script is not None and time.monotonic() >= self._away_until:
            try:
                async with asyncio.timeout(REDIS_SECONDS):
                    return float(await self._script(keys=[f"qader:send:{user_id}"], args=[rate, size]))
            except Exception as error:
                logger.warning("rate limit falls back to this process: %s", type(error).__name__)
                metrics.RATE_LIMIT_FALLBACKS.inc()
                self._away_until = time.monotonic() + RETRY_SECONDS
        return self._bucket(user_id, rate, size).take()

    def _bucket(self, user_id: int, rate: float, size: float) -> Bucket:
        if len(self._buckets) > PRUNE_ABOVE:
            self._buckets = {user: bucket for user, bucket in self._buckets.items() if not bucket.full}
        return self._buckets.setdefault(user_id, Bucket(rate, size))


# The running event loop's limit.
send_limit = per_event_loop(SendLimit)
