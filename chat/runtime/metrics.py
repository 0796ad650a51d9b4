"""What `/metrics` tells of sockets, messages and what they stand on: every name is here, and moves where it happens.

Per message nothing takes a lock or looks a label up: see `LoopHistogram`, and the children bound below.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector


class LoopHistogram(Collector):
    """A histogram that is observed in the event loop alone, without the lock that prometheus_client takes each time.

    That makes an observation 0.15 us instead of 0.75: there are several a message.
    """

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self._name, self._documentation, self._bounds = name, documentation, bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        REGISTRY.register(self)

    def observe(self, value: float) -> None:
        """Count a value; one below zero, which clocks of two machines may bring, as zero."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += max(value, 0.0)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Return the histogram as it is now."""
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=self._sum)

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """Return the name."""
        yield HistogramMetricFamily(self._name, self._documentation)


SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

# Sockets.
SOCKETS = Gauge("qader_sockets", "Open sockets.", ["kind"])
OPENED = Counter("qader_sockets_opened", "Sockets let in.", ["kind"])
CLOSED = Counter("qader_sockets_closed", "Sockets that ended, by close code and by whom.", ["code", "by"])
RESUMES = Counter(
    "qader_resumes",
    "Sockets that asked for what they missed: recovered, too_far behind, or after an unknown message.",
    ["outcome"],
)
ERRORS_TOLD = Counter("qader_errors_told", "Errors that clients were told, by code.", ["code", "over"])

# Messages.
MESSAGES = Counter("qader_messages", "Messages stored.")
REPEATED = Counter("qader_messages_repeated", "Sends whose client_id was stored already.")
COMMIT_SECONDS = LoopHistogram("qader_commit_seconds", "From a message taken over to its commit.", SECONDS)
BATCH_MESSAGES = LoopHistogram("qader_batch_messages", "Messages in one transaction.", (1, 2, 5, 10, 20, 50, 100))
DELIVERY_SECONDS = LoopHistogram(
    "qader_delivery_seconds",
    "From the commit of a message to its frame written to a socket, in whatever process, by the clocks of both.",
    SECONDS,
)
GAPS_HEALED = Counter(
    "qader_gaps_healed", "Times that a socket was behind and was sent from the database what it missed.", ["what"]
)

# What they stand on.
LAYER_UP = Gauge("qader_layer_up", "Whether the channel layer took what it was last given.")
LAYER_UP.set(1)
LAYER_ERRORS = Counter("qader_layer_errors", "Calls of the channel layer that failed or took too long.")
LAYER_SECONDS = LoopHistogram(
    "qader_layer_seconds",
    "From an event given to the layer to another process that hears it, by the clocks of both.",
    SECONDS,
)
RATE_LIMIT_FALLBACKS = Counter(
    "qader_rate_limit_fallbacks", "Times that Redis did not answer the rate limiter, and this process counted alone."
)
DATABASE_ERRORS = Counter("qader_database_errors", "Calls of the database that failed or took too long.", ["by"])
DATABASE_ERRORS_OF_SOCKETS = DATABASE_ERRORS.labels("sockets")
DATABASE_ERRORS_OF_WRITER = DATABASE_ERRORS.labels("writer")
DATABASE_ERRORS_OF_HTTP = DATABASE_ERRORS.labels("http")
