"""REDIS_URL, as the clients of Redis take it: the address of a server, or of Sentinels that know which server leads."""

from typing import Any
from urllib.parse import unquote, urlsplit

from redis import ConnectionPool
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

SENTINEL_SCHEME = "redis+sentinel"
SENTINEL_PORT = 26379
# Short, since one after the other is asked, and the first may be on the host that failed.
SENTINEL_TIMEOUTS = {"socket_timeout": 0.3, "socket_connect_timeout": 0.3}


def redis_host(url: str) -> dict[str, Any]:
    """Return the server as a host of the channel layer, for asyncio; raises ValueError for any other address."""
    if urlsplit(url).scheme == SENTINEL_SCHEME:
        sentinel_kwargs = SENTINEL_TIMEOUTS | {"retry": AsyncRetry(NoBackoff(), 0)}
        return _sentinels(url) | {"sentinel_kwargs": sentinel_kwargs}
    parse_url(url)  # type: ignore[no-untyped-call]
    if urlsplit(url).port == 0:
        raise ValueError
    return {"address": url}


class RedisPool:
    """A pool of connections for clients that block; Django's cache makes it by `from_url`."""

    @staticmethod
    def from_url(url: str, **options: Any) -> ConnectionPool:
        """Return a pool for this REDIS_URL; `options` are those of its connections."""
        if urlsplit(url).scheme != SENTINEL_SCHEME:
            return ConnectionPool.from_url(url, **options)
        host = _sentinels(url)
        sentinel_kwargs = SENTINEL_TIMEOUTS | {"retry": Retry(NoBackoff(), 0)}
        manager = Sentinel(host.pop("sentinels"), sentinel_kwargs=sentinel_kwargs)  # type: ignore[no-untyped-call]
        return SentinelConnectionPool(host.pop("master_name"), manager, **host, **options)  # type: ignore[no-untyped-call]


def _sentinels(url: str) -> dict[str, Any]:
    """Parse `redis+sentinel://user:password@host1:port1,host2:port2/master-name/0`; the password is the servers'."""
    parts = urlsplit(url)
    user_info, _, hosts = parts.netloc.rpartition("@")
    username, _, password = user_info.partition(":")
    name, _, db = parts.path.removeprefix("/").partition("/")
    addresses = [urlsplit(f"//{host}") for host in hosts.split(",")]
    if not name or parts.query or parts.fragment or not all(one.hostname and one.port != 0 for one in addresses):
        raise ValueError
    return {
        "sentinels": [(one.hostname, one.port or SENTINEL_PORT) for one in addresses],
        "master_name": unquote(name),
        "db": int(db or 0),
        "username": unquote(username) or None,
        "password": unquote(password) or None,
    }
