"""The Redis client of this process, for all that is not the channel layer."""

from django.conf import settings
from redis.asyncio import Redis, from_url

from chat.runtime.event_loop import per_event_loop

REDIS_SECONDS = 1.0  # how long connecting, and each answer, may take


def _connect() -> "Redis | None":
    if not settings.REDIS_URL:
        return None
    client: Redis = from_url(settings.REDIS_URL, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS)
    return client


# The client of the running event loop; None without REDIS_URL: then there is one process, and its memory suffices.
redis_client = per_event_loop(_connect)
