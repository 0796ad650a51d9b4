"""What `/metrics` tells of HTTP, of handshakes that are refused, of the database's pool and of the process itself."""

import platform
from collections.abc import Iterator
from importlib.metadata import version

from django.db import connection
from prometheus_client import REGISTRY, Counter, Histogram, Info, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

# A second line for each of ours, to say since when.
disable_created_metrics()  # type: ignore[no-untyped-call]

HTTP_REQUESTS = Counter(
    "qader_http_requests", "Requests answered, by the name of their URL pattern.", ["route", "method", "status"]
)
HTTP_SECONDS = Histogram(
    "qader_http_request_seconds",
    "From a request to the end of its answer.",
    ["route", "method"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
REFUSED = Counter(
    "qader_handshakes_refused", "Sockets that were not let in; the reason is an error code, or as below.", ["reason"]
)
for reason in ("origin", "no_such_path", "abandoned", "not_authenticated", "temporarily_unavailable"):
    REFUSED.labels(reason)  # each there from the start: a rate needs a zero to begin with

BUILD = Info("qader_build", "What runs.")
BUILD.info({"python": platform.python_version()} | {name: version(name) for name in ("django", "channels", "psycopg")})

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})  # a client may make up others


def answered(route: str, method: str, status: int, seconds: float) -> None:
    """Count a request; `method` is one of METHODS or "other"."""
    HTTP_REQUESTS.labels(route, method, status).inc()
    HTTP_SECONDS.labels(route, method).observe(seconds)


class Pool(Collector):
    """The pool's own figures, without a word to the database; nothing where there is no pool, as with SQLite."""

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Return them as they are now."""
        pool = getattr(connection, "pool", None)
        if pool is None:
            return
        stats = pool.get_stats()
        connections = GaugeMetricFamily(
            "qader_database_pool_connections",
            "Connections to the database: held by threads, or idle.",
            labels=["state"],
        )
        connections.add_metric(["held"], stats["pool_size"] - stats["pool_available"])
        connections.add_metric(["idle"], stats["pool_available"])
        yield connections
        yield GaugeMetricFamily("qader_database_pool_max", "Connections that there may be.", stats["pool_max"])
        waiting = stats.get("requests_waiting", 0)
        yield GaugeMetricFamily("qader_database_pool_waiting", "Threads that wait for a connection.", waiting)
        failed = stats.get("requests_errors", 0)
        yield CounterMetricFamily("qader_database_pool_timeouts", "Threads that waited in vain.", failed)

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing, so that registering asks no pool."""
        return []


REGISTRY.register(Pool())
