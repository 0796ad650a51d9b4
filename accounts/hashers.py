"""Django's password hashes, computed in a bounded queue: Argon2 needs 100 MB and a tenth of a second for each."""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from django.contrib.auth.hashers import Argon2PasswordHasher, PBKDF2PasswordHasher
from django.db import connection

from accounts import tracing

P = ParamSpec("P")
T = TypeVar("T")

HASHES_AT_ONCE = 2  # per process; enough for ten or more a second on two cores
MAX_WAITING = 64  # computations that may wait for these
WAIT_SECONDS = 15.0  # for a computation, its own time included; our proxy waits 20 s for an answer
NICENESS = 5  # the event loop gets three times as much of a contended core


class HashQueueFullError(Exception):
    """Too many passwords are being checked; try again in `retry_after` seconds."""

    retry_after = 5


def _give_way() -> None:
    """Let all other threads go first; the threads that argon2 starts inherit this."""
    if sys.platform == "linux":  # elsewhere it would change the whole process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


_threads = ThreadPoolExecutor(HASHES_AT_ONCE, thread_name_prefix="password-hash", initializer=_give_way)
_places = threading.BoundedSemaphore(HASHES_AT_ONCE + MAX_WAITING)


def _queued(compute: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of `compute`, computed in its turn. Raises `HashQueueFullError`.

    The database connection of this thread is given back meanwhile, unless a transaction needs it.
    """
    if not connection.in_atomic_block:
        connection.close()
    if not _places.acquire(blocking=False):
        raise HashQueueFullError
    with tracing.trace().waiting():
        future = _threads.submit(compute, *args, **kwargs)
        future.add_done_callback(_leave)
        try:
            return future.result(WAIT_SECONDS)
        except TimeoutError as error:
            future.cancel()
            raise HashQueueFullError from error


def _leave(_: "Future[Any]") -> None:
    _places.release()


class BoundedArgon2PasswordHasher(Argon2PasswordHasher):
    """Argon2, limited so that parallel log-ins exhaust neither memory nor processor nor database connections."""

    def encode(self, password: str, salt: str) -> str:
        """Return the hash. Raises `HashQueueFullError`."""
        return _queued(super().encode, password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        """Return whether this is the hashed password. Raises `HashQueueFullError`."""
        return _queued(super().verify, password, encoded)


class BoundedPBKDF2PasswordHasher(PBKDF2PasswordHasher):
    """PBKDF2, for passwords that another system has hashed, limited likewise. Its `verify` calls `encode`."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        """Return the hash. Raises `HashQueueFullError`."""
        return _queued(super().encode, password, salt, iterations)
