"""Prometheus metrics of log-in."""

from prometheus_client import Counter

LOGINS = Counter("qader_logins", "Attempts to log in, by outcome: ok, wrong, throttled, or busy.", ["outcome"])
OUTCOMES = ("ok", "wrong", "throttled", "busy")
for outcome in OUTCOMES:  # created with 0 at once: rate() misses the step from no series to 1
    LOGINS.labels(outcome)
