"""Prometheus metrics of sockets, messages and what they depend on. Defined here, updated where the events happen."""

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

# Sockets.
SOCKETS = Gauge("qader_sockets", "Open sockets.", ["kind"])
OPENED = Counter("qader_sockets_opened", "Sockets accepted.", ["kind"])
CLOSED = Counter(
    "qader_sockets_closed", "Sockets that ended, by close code and by the side that closed.", ["code", "by"]
)
RESUMES = Counter(
    "qader_resumes",
    "Handshakes with `after`: recovered, too_far behind, or after an unknown message.",
    ["outcome"],
)
ERRORS_TOLD = Counter("qader_errors_told", "Errors sent to clients, by code.", ["code", "over"])

# Messages.
MESSAGES = Counter("qader_messages", "Messages stored.")
REPEATED = Counter("qader_messages_repeated", "Sends whose client_id was already stored.")
COMMIT_SECONDS = Histogram("qader_commit_seconds", "From accepting a message to its commit.", buckets=SECONDS)
BATCH_MESSAGES = Histogram("qader_batch_messages", "Messages in one transaction.", buckets=(1, 2, 5, 10, 20, 50, 100))
DELIVERY_SECONDS = Histogram(
    "qader_delivery_seconds",
    "From the commit of a message to writing its frame to a socket in any process, by the clocks of both.",
    buckets=SECONDS,
)
GAPS_HEALED = Counter("qader_gaps_healed", "Gaps of sockets that were filled from the database.", ["what"])

# What they depend on.
LAYER_UP = Gauge("qader_layer_up", "Whether the last call of the channel layer succeeded.")
LAYER_UP.set(1)
LAYER_ERRORS = Counter("qader_layer_errors", "Calls of the channel layer that failed or took too long.")
LAYER_SECONDS = Histogram(
    "qader_layer_seconds",
    "From publishing an event to its receipt in another process, by the clocks of both.",
    buckets=SECONDS,
)
RATE_LIMIT_FALLBACKS = Counter(
    "qader_rate_limit_fallbacks",
    "Times that Redis did not answer the rate limiter, so that this process counted alone.",
)
DATABASE_ERRORS = Counter(
    "qader_database_errors", "Calls of the database that failed or took too long.", ["by", "trouble"]
)
RATE_LIMITED = Counter(
    "qader_rate_limited", "What was refused by a rate limit: send, connect, read, or address.", ["limit"]
)
for limit in ("send", "connect", "read", "address"):  # created with 0 at once: rate() misses the step from no series
    RATE_LIMITED.labels(limit)
