"""The Redis client of this process. The channel layer has connections of its own."""

from channels_redis.utils import create_pool
from django.conf import settings
from redis.asyncio import Redis

from chat.runtime.event_loop import per_event_loop
from chat.runtime.redis_address import redis_host

REDIS_SECONDS = 1.0  # how long connecting, and each answer, may take


def _connect() -> "Redis | None":
    if not settings.REDIS_URL:
        return None
    timeouts = {"socket_timeout": REDIS_SECONDS, "socket_connect_timeout": REDIS_SECONDS}
    return Redis(connection_pool=create_pool(redis_host(settings.REDIS_URL) | timeouts))


# The client of the running event loop. None without REDIS_URL: then there is one process, which needs no shared state.
redis_client = per_event_loop(_connect)
