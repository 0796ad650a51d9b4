"""The rate limits of users and addresses: token buckets in this process, kept in step with one per key in Redis.

Nobody waits for Redis. Each process takes tokens from its own bucket. Every `REPORT_SECONDS` it reports the taken
tokens to Redis in one call, and Redis returns how many are left for all processes. That number is negative if several
processes took too much between two reports. So a user who is active in several processes gets at most one burst from
each, once, and then waits until the bucket has a token again.
"""

import asyncio
import logging
import math
import threading
import time
from collections import defaultdict
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
# bucket. Returns the tokens left in each, as text, since Redis truncates numbers to integers. What we did not write
# there counts as a full bucket, and no bucket is emptied for good.
TAKE = """
local now = redis.call('TIME')
now = now[1] + now[2] / 1000000
local rate, size, left = tonumber(ARGV[1]), tonumber(ARGV[2]), {}
for i, key in ipairs(KEYS) do
  local bucket = redis.pcall('HMGET', key, 'tokens', 'at')
  if bucket.err then
    redis.call('DEL', key)
    bucket = {}
  end
  local tokens = tonumber(bucket[1]) or size
  local at = tonumber(bucket[2]) or now
  tokens = math.max(-100 * size, math.min(size, tokens + math.max(0, now - at) * rate)) - tonumber(ARGV[i + 2])
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


class RateLimit:
    """The limit of one setting, such as `CHAT_RATE_LIMIT`, per user or address.

    `name` is its name in Redis and metrics. It belongs to an event loop, from which it reports to Redis. Its methods
    may be called from any thread.
    """

    def __init__(self, name: str, setting: str) -> None:
        self._name, self._setting = name, setting
        self._buckets: dict[int | str, Bucket] = {}
        self._prune_above = PRUNE_ABOVE
        self._taken: dict[int | str, float] = defaultdict(float)  # tokens by key, not yet reported to Redis
        self._tasks = Tasks(f"{name}-limit")
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        redis = redis_client()
        self._script: Any = redis.register_script(TAKE) if redis is not None else None

    def take(self, key: int | str) -> float:
        """Take a token and return 0; if there is none, return the seconds until there will be one."""
        setting: tuple[float, float] | None = getattr(settings, self._setting)
        if setting is None:
            return 0.0
        with self._lock:
            wait = self._bucket(key, *setting).take()
            if wait == 0 and self._script is not None:
                self._count(key, 1, setting)
        if wait:
            metrics.RATE_LIMITED.labels(self._name).inc()
        return wait

    def block(self, key: int | str, seconds: float) -> None:
        """Empty the bucket of this key, in every process, so that there will be no token for so many seconds."""
        setting: tuple[float, float] | None = getattr(settings, self._setting)
        if setting is None:
            return
        with self._lock:
            bucket = self._bucket(key, *setting)
            left = 1 - seconds * bucket.rate
            if bucket.tokens > left:
                if self._script is not None:
                    self._count(key, bucket.tokens - left, setting)
                bucket.tokens = left

    def _bucket(self, key: int | str, rate: float, size: float) -> Bucket:
        if (bucket := self._buckets.get(key)) is None:
            if len(self._buckets) > self._prune_above:
                self._buckets = {known: bucket for known, bucket in self._buckets.items() if not bucket.full}
                # If none is full, not every new bucket may scan all of them.
                self._prune_above = max(PRUNE_ABOVE, 2 * len(self._buckets))
            bucket = self._buckets[key] = Bucket(rate, size)
        return bucket

    def _count(self, key: int | str, tokens: float, setting: tuple[float, float]) -> None:
        """Have these tokens reported to Redis."""
        was_empty = not self._taken
        self._taken[key] += tokens
        if was_empty:  # only now: from another thread's view, a report with nothing to do would end at once
            self._start_report(setting)

    def _start_report(self, setting: tuple[float, float]) -> None:
        def start() -> None:
            self._tasks.run("report", lambda: self._report(*setting))

        if threading.get_ident() == self._loop_thread:
            start()
        else:
            self._loop.call_soon_threadsafe(start)

    async def _report(self, rate: float, size: float) -> None:
        while self._taken:
            await asyncio.sleep(REPORT_SECONDS)
            with self._lock:
                taken, self._taken = self._taken, defaultdict(float)
            keys = [f"qader:{self._name}:{key}" for key in taken]
            try:
                async with asyncio.timeout(REDIS_SECONDS):
                    left = await self._script(keys=keys, args=[rate, size, *taken.values()])
            except Exception as error:
                logger.warning("rate limit counts in this process alone: %s", type(error).__name__)
                metrics.RATE_LIMIT_FALLBACKS.inc()
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._apply_report(dict(zip(taken, map(float, left), strict=True)))

    def _apply_report(self, left: dict[int | str, float]) -> None:
        with self._lock:
            for key, tokens in left.items():
                if (bucket := self._buckets.get(key)) and math.isfinite(tokens):
                    bucket.lower(tokens - self._taken.get(key, 0))


# The running event loop's limits: sends, handshakes and expensive reads of a user; reads and log-ins of an address.
send_limit = per_event_loop(lambda: RateLimit("send", "CHAT_RATE_LIMIT"))
connect_limit = per_event_loop(lambda: RateLimit("connect", "CHAT_CONNECT_LIMIT"))
read_limit = per_event_loop(lambda: RateLimit("read", "CHAT_READ_LIMIT"))
address_limit = per_event_loop(lambda: RateLimit("address", "ADDRESS_LIMIT"))
