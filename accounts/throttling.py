"""Limits failed log-ins. They are counted in the cache, which all processes share."""

import hashlib
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from django.conf import settings
from django.contrib.auth import authenticate
from django.core.cache import cache
from django.db.models import Q
from django.http import HttpRequest
from redis.exceptions import RedisError

from accounts import tracing
from accounts.addresses import client_address
from accounts.metrics import LOGINS
from accounts.models import User

logger = logging.getLogger(__name__)

T = TypeVar("T")

WINDOW_SECONDS = 300


class TooManyFailuresError(Exception):
    """No attempt to log in is checked in the next `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"try again in {retry_after} s")
        self.retry_after = retry_after


def throttled_authenticate(request: HttpRequest, username: str, password: str) -> User | None:
    """Return the active user with this name or e-mail address and password; count a failure and return None otherwise.

    Raises `TooManyFailuresError` after `LOGIN_LIMIT_ACCOUNT` failures for this account from this address, after
    `LOGIN_LIMIT_ADDRESS` failures from this address, or after as many for this account, in any five minutes.
    """
    failures = Failures(account_name(username), client_address(request))
    failures.refuse()
    user = authenticate(request, username=username, password=password)
    if not isinstance(user, User):
        failures.count()
        LOGINS.labels("wrong").inc()
        return None
    failures.refuse()  # again: parallel guesses must not learn more than sequential ones
    LOGINS.labels("ok").inc()
    tracing.trace().user_id = user.pk
    return user


class Failures:
    """The failures of the last five minutes that count against an attempt for `name` from `address`.

    A window has one cache key for each failure that is allowed, its slots. A failure occupies a free slot of each
    window for five minutes; a window without a free slot refuses attempts. `cache.add` is atomic, so that parallel
    failures occupy different slots. If the cache is unreachable nothing is refused.
    """

    def __init__(self, name: str, address: str) -> None:
        account = hashlib.sha256(name.casefold().encode()).hexdigest()[:32]
        self._windows = [
            _slots(f"login:{account}@{address}", settings.LOGIN_LIMIT_ACCOUNT),
            _slots(f"login:@{address}", settings.LOGIN_LIMIT_ADDRESS),
            _slots(f"login:{account}", settings.LOGIN_LIMIT_ADDRESS),
        ]
        self._occupied: dict[str, int] = {}  # slot: the time when it becomes free
        self._cache_failed = False

    def refuse(self) -> None:
        """Raise `TooManyFailuresError` if a window has no free slot."""
        slots = [slot for window in self._windows for slot in window]
        self._occupied = self._call_cache(lambda: cache.get_many(slots), {})
        full = [window for window in self._windows if all(slot in self._occupied for slot in window)]
        if full:
            free_at = max(min(self._occupied[slot] for slot in window) for window in full)
            LOGINS.labels("throttled").inc()
            raise TooManyFailuresError(max(1, free_at - int(time.time())))

    def count(self) -> None:
        """Count one failure. Raise `TooManyFailuresError` if parallel attempts have filled a window meanwhile."""
        until = int(time.time()) + WINDOW_SECONDS
        counted = [self._occupy(window, until) for window in self._windows]
        if not all(counted):
            self.refuse()

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


def account_name(username: str) -> str:
    """Return the user name of the account that this text signs in to; without one account, the text itself."""
    if "@" not in username:
        return username
    named = User.objects.filter(Q(username=username) | Q(email__iexact=username))
    names = named.values_list("username", flat=True)[:2]
    return names[0] if len(names) == 1 else username
