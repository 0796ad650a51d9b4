"""What `/metrics` tells of signing in."""

from prometheus_client import Counter

LOGINS = Counter("qader_logins", "Tries to sign in, by outcome: ok, wrong, throttled.", ["outcome"])
for outcome in ("ok", "wrong", "throttled"):  # each there from the start: a rate needs a zero to begin with
    LOGINS.labels(outcome)
