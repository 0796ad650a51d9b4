"""How often one may fail to log in, counted in the cache that all processes share."""

import hashlib
import logging
import time
from collections.abc import Callable
from functools import partial
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TypeVar

from django.conf import settings
from django.contrib.auth import authenticate
from django.core.cache import cache
from django.db.models import Q
from django.http import HttpRequest
from redis.exceptions import RedisError

from accounts import tracing
from accounts.metrics import LOGINS
from accounts.models import User

logger = logging.getLogger(__name__)

T = TypeVar("T")

WINDOW_SECONDS = 300


class TooManyFailuresError(Exception):
    """No further try to log in is looked at before `retry_after` seconds have passed."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"try again in {retry_after} s")
        self.retry_after = retry_after


def throttled_authenticate(request: HttpRequest, username: str, password: str) -> User | None:
    """Return the active user with this name or e-mail address and password, or None, which counts as a failure.

    Raises `TooManyFailuresError` after `LOGIN_LIMIT_ACCOUNT` failures for the account from this address, or
    `LOGIN_LIMIT_ADDRESS` from the address or for the account alone, in any five minutes.
    """
    failures = Failures(account_name(username), client_address(request))
    failures.refuse()
    user = authenticate(request, username=username, password=password)
    if not isinstance(user, User):
        failures.count()
        LOGINS.labels("wrong").inc()
        return None
    failures.refuse()  # again: a burst of guesses learns no more than a queue of them
    LOGINS.labels("ok").inc()
    tracing.trace().user_id = user.pk
    return user


class Failures:
    """The failures of the last five minutes that stand against a try for `name` from `address`.

    A window is a row of as many places as failures are allowed. A failure takes a free place of each window for five
    minutes; where all are taken the window is full. Taking a place is atomic in the cache, so nothing is counted
    short under concurrency. While the cache is away nothing is refused.
    """

    def __init__(self, name: str, address: str) -> None:
        account = hashlib.sha256(name.casefold().encode()).hexdigest()[:32]
        self._windows = [
            _places(f"login:{account}@{address}", settings.LOGIN_LIMIT_ACCOUNT),
            _places(f"login:@{address}", settings.LOGIN_LIMIT_ADDRESS),
            _places(f"login:{account}", settings.LOGIN_LIMIT_ADDRESS),
        ]
        self._taken: dict[str, int] = {}  # place: the time at which it is free again
        self._cache_is_away = False

    def refuse(self) -> None:
        """Raise `TooManyFailuresError` if a window is full."""
        places = [place for window in self._windows for place in window]
        self._taken = self._ask(lambda: cache.get_many(places), {})
        full = [window for window in self._windows if all(place in self._taken for place in window)]
        if full:
            free_at = max(min(self._taken[place] for place in window) for window in full)
            LOGINS.labels("throttled").inc()
            raise TooManyFailuresError(max(1, free_at - int(time.time())))

    def count(self) -> None:
        """Count one failure; raise `TooManyFailuresError` if others have filled a window meanwhile."""
        until = int(time.time()) + WINDOW_SECONDS
        counted = [self._take(window, until) for window in self._windows]
        if not all(counted):
            self.refuse()

    def _take(self, window: list[str], until: int) -> bool:
        free = (place for place in window if place not in self._taken)
        return any(self._ask(partial(cache.add, place, until, WINDOW_SECONDS), True) for place in free)

    def _ask(self, call: Callable[[], T], otherwise: T) -> T:
        """Ask the cache, but never a second time when it did not answer: the person waits."""
        if self._cache_is_away:
            return otherwise
        try:
            return call()
        except (RedisError, OSError) as error:
            logger.warning("log-ins are not throttled, the cache is away: %s", type(error).__name__)
            self._cache_is_away = True
            return otherwise


def _places(window: str, limit: int) -> list[str]:
    return [f"{window}:{number}" for number in range(limit)]


def account_name(username: str) -> str:
    """Return the user name of the one account that this name or e-mail address signs in, else what was given."""
    if "@" not in username:
        return username
    named = User.objects.filter(Q(username=username) | Q(email__iexact=username))
    names = named.values_list("username", flat=True)[:2]
    return names[0] if len(names) == 1 else username


def client_address(request: HttpRequest) -> str:
    """Return the address that asks; of an IPv6 one the /64 network, which a customer has as a whole.

    Behind a trusted proxy it is X-Real-IP, which the proxy overwrites; X-Forwarded-For would be the client's to forge.
    """
    address: str = request.META.get("REMOTE_ADDR", "")
    if settings.TRUST_PROXY:
        address = request.headers.get("X-Real-IP", address).strip()
    try:
        parsed = ip_address(address)
    except ValueError:  # a server on a Unix socket knows none
        return "unknown"
    if isinstance(parsed, IPv6Address):
        parsed = parsed.ipv4_mapped or ip_network((parsed, 64), strict=False).network_address
    return str(parsed)
