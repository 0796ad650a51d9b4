"""Limits failed log-ins. They are counted in the cache, which all processes share.

Whom a failure counts against depends on what was typed, never on whose account it is: otherwise the answer would tell.
"""

import hashlib
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from django.conf import settings
from django.contrib.auth import authenticate
from django.core.cache import cache
from django.http import HttpRequest
from redis.exceptions import RedisError

from accounts import tracing
from accounts.addresses import client_address
from accounts.devices import Device, device_of, remember_device
from accounts.hashers import HashQueueFullError
from accounts.metrics import LOGINS
from accounts.models import User
from accounts.names import folded_name

logger = logging.getLogger(__name__)

T = TypeVar("T")

WINDOW_SECONDS = 300
TURN_SECONDS = 1  # between two tries from an address that had `LOGIN_LIMIT_ADDRESS` failures


class TooManyFailuresError(Exception):
    """No attempt to log in is checked in the next `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"try again in {retry_after} s")
        self.retry_after = retry_after


def throttled_authenticate(request: HttpRequest, username: str, password: str) -> User | None:
    """Return the active user with this name or e-mail address and password; count a failure and return None otherwise.

    Raises `TooManyFailuresError` if in the last five minutes there were `LOGIN_LIMIT_ACCOUNT` failures for this typed
    name from this address, or `LOGIN_LIMIT_ADDRESS` for this name from anywhere. After `LOGIN_LIMIT_ADDRESS` failures
    from this address it lets one attempt from there through per second. A browser with which the account has signed in
    before has none of these limits, but `LOGIN_LIMIT_ACCOUNT` failures of its own. Raises `HashQueueFullError`.
    """
    failures = Failures(username, client_address(request), device_of(request))
    failures.refuse()
    try:
        user = authenticate(request, username=username, password=password)
    except HashQueueFullError:
        LOGINS.labels("busy").inc()
        raise
    if not isinstance(user, User):
        failures.count()
        LOGINS.labels("wrong").inc()
        return None
    failures.refuse()  # again: parallel guesses must not learn more than sequential ones
    LOGINS.labels("ok").inc()
    tracing.trace().user_id = user.pk
    remember_device(request, user)
    return user


class Failures:
    """The failures of the last five minutes that count against an attempt for `name` from `address`.

    A window has one cache key for each failure that is allowed, its slots. A failure occupies a free slot of each
    window for five minutes. `cache.add` is atomic, so that parallel failures occupy different slots. A window without
    a free slot refuses attempts; that of the address only slows them down. If the cache is unreachable nothing is
    refused.
    """

    def __init__(self, name: str, address: str, device: Device | None = None) -> None:
        typed = hashlib.sha256(folded_name(name).encode()).hexdigest()[:32]
        self._slow: list[str] = []
        self._turn = f"login:turn@{address}"
        self._has_turn = False
        if device is not None and device.knows(name):
            self._windows = [_slots(f"login:{typed}@device-{device.id}", settings.LOGIN_LIMIT_ACCOUNT)]
        else:
            self._windows = [
                _slots(f"login:{typed}@{address}", settings.LOGIN_LIMIT_ACCOUNT),
                _slots(f"login:{typed}", settings.LOGIN_LIMIT_ADDRESS),
            ]
            self._slow = _slots(f"login:@{address}", settings.LOGIN_LIMIT_ADDRESS)
        self._occupied: dict[str, int] = {}  # slot: the time when it becomes free
        self._cache_failed = False

    def refuse(self) -> None:
        """Raise `TooManyFailuresError` if a window has no free slot, or if it is not this attempt's turn."""
        slots = [slot for window in [*self._windows, self._slow] for slot in window]
        self._occupied = self._call_cache(lambda: cache.get_many(slots), {})
        full = [window for window in self._windows if self._is_full(window)]
        if full:
            free_at = max(min(self._occupied[slot] for slot in window) for window in full)
            wait = min(WINDOW_SECONDS, max(1, free_at - int(time.time())))
        elif self._slow and self._is_full(self._slow) and not self._take_turn():
            wait = TURN_SECONDS
        else:
            return
        LOGINS.labels("throttled").inc()
        raise TooManyFailuresError(wait)

    def count(self) -> None:
        """Count one failure. Raise `TooManyFailuresError` if parallel attempts have filled a window meanwhile."""
        until = int(time.time()) + WINDOW_SECONDS
        counted = [self._occupy(window, until) for window in [*self._windows, self._slow] if window]
        if not all(counted):
            self.refuse()

    def _is_full(self, window: list[str]) -> bool:
        return all(slot in self._occupied for slot in window)

    def _take_turn(self) -> bool:
        """Whether this is the one attempt of this second; an attempt needs only one turn."""
        self._has_turn = self._has_turn or self._call_cache(lambda: cache.add(self._turn, 1, TURN_SECONDS), True)
        return self._has_turn

    def _occupy(self, window: list[str], until: int) -> bool:
        free = (slot for slot in window if slot not in self._occupied)
        return any(self._call_cache(partial(cache.add, slot, until, WINDOW_SECONDS), True) for slot in free)

    def _call_cache(self, call: Callable[[], T], otherwise: T) -> T:
        """Call the cache, but not again after it failed: the person waits for the answer."""
        if self._cache_failed:
            return otherwise
        try:
            return call()
        except (RedisError, OSError) as error:
            logger.warning("failed log-ins are not limited, the cache is unreachable: %s", type(error).__name__)
            self._cache_failed = True
            return otherwise


def _slots(window: str, limit: int) -> list[str]:
    return [f"{window}:{number}" for number in range(limit)]
