"""Prometheus metrics of `manage.py notify_unread`, and of what waits for it."""

from prometheus_client import Counter

NOTICES = Counter(
    "qader_notices",
    "Notices by channel and outcome: sent, failed (it may have arrived), or not_sent (it is tried again).",
    ["channel", "outcome"],
)
for channel in ("push", "email"):
    for outcome in ("sent", "failed", "not_sent"):
        NOTICES.labels(channel, outcome)  # created with 0 at once: rate() misses the step from no series
