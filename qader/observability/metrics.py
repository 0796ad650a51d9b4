"""Prometheus metrics of HTTP, refused handshakes, the database pool and the process."""

import platform
from collections.abc import Iterator
from importlib.metadata import version

from django.db import connection
from prometheus_client import REGISTRY, Counter, Histogram, Info, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

# No `_created` series, which would double the number of lines.
disable_created_metrics()  # type: ignore[no-untyped-call]

HTTP_REQUESTS = Counter(
    "qader_http_requests", "Answered requests, by the name of the URL pattern.", ["route", "method", "status"]
)
HTTP_SECONDS = Histogram(
    "qader_http_request_seconds",
    "Time from a request to the end of its answer.",
    ["route", "method"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
REFUSED = Counter(
    "qader_handshakes_refused", "Refused WebSocket handshakes; the reason is an error code or a name.", ["reason"]
)
for reason in ("origin", "no_such_path", "abandoned", "not_authenticated", "temporarily_unavailable"):
    REFUSED.labels(reason)  # created with 0 at once: rate() misses the step from no series to 1

BUILD = Info("qader_build", "Versions of this process.")
BUILD.info({"python": platform.python_version()} | {name: version(name) for name in ("django", "channels", "psycopg")})

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})  # clients can send any other


def count_request(route: str, method: str, status: int, seconds: float) -> None:
    """Count a request; `method` is one of METHODS or "other"."""
    HTTP_REQUESTS.labels(route, method, status).inc()
    HTTP_SECONDS.labels(route, method).observe(seconds)


class PoolCollector(Collector):
    """Figures of psycopg's connection pool, read without a query; nothing with SQLite, which has no pool."""

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Return the present figures."""
        pool = getattr(connection, "pool", None)
        if pool is None:
            return
        stats = pool.get_stats()
        connections = GaugeMetricFamily(
            "qader_database_pool_connections",
            "Database connections, held by threads or idle.",
            labels=["state"],
        )
        connections.add_metric(["held"], stats["pool_size"] - stats["pool_available"])
        connections.add_metric(["idle"], stats["pool_available"])
        yield connections
        yield GaugeMetricFamily("qader_database_pool_max", "Maximum number of database connections.", stats["pool_max"])
        waiting = stats.get("requests_waiting", 0)
        yield GaugeMetricFamily("qader_database_pool_waiting", "Threads waiting for a database connection.", waiting)
        failed = stats.get("requests_errors", 0)
        yield CounterMetricFamily("qader_database_pool_timeouts", "Threads that got no connection in time.", failed)

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing; otherwise registering would call `collect`."""
        return []


REGISTRY.register(PoolCollector())
