"""What must hold before the server starts, each failure told in one line."""

import fcntl
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import django
import redis
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from environs import EnvError
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)

TRY_SECONDS = 1  # from one look at what is away to the next
TELL_SECONDS = 5  # from one line about it to the next


class NotReadyError(Exception):
    """Why the server cannot start."""


class AwayError(NotReadyError):
    """What does not answer, and may do so later."""

    def __init__(self, name: str, error: Exception) -> None:
        self.name, self.reason = name, " ".join(str(error).split())
        super().__init__(f"{name} does not answer: {self.reason}")


def prepare() -> None:
    """Load the settings and the apps, wait for database and Redis, and look whether the one has what they need.

    Raises `NotReadyError`. Without Redis this process also takes the database for itself, until it ends: the channel
    layer in memory would not reach a second one's sockets.
    """
    try:
        django.setup()
        _check_system()
    except (EnvError, ImproperlyConfigured) as error:
        raise NotReadyError(str(error)) from None
    if connection.vendor == "postgresql":
        connection.settings_dict["OPTIONS"]["options"] += f" {settings.DATABASE_SERVER_OPTIONS}"
    deadline = time.monotonic() + settings.START_WAIT_SECONDS
    _once_it_answers(_check_migrations, deadline)
    if not settings.REDIS_URL:
        _take_database()
    elif settings.START_WAIT_SECONDS:  # else it may be away, as it may later
        _once_it_answers(_ask_redis, deadline)


def _check_system() -> None:
    for message in checks.run_checks():
        if message.is_serious() and not message.is_silenced():
            raise NotReadyError(f"{message.msg} ({message.id})")


def _once_it_answers(look: Callable[[], None], deadline: float) -> None:
    """Look again and again until what is looked at answers, and say meanwhile what is waited for and why."""
    told = -float(TELL_SECONDS)
    while True:
        try:
            return look()
        except AwayError as away:
            now = time.monotonic()
            if now >= deadline:
                raise
            if now - told >= TELL_SECONDS:
                logger.warning("waiting for %s: %s", away.name, away.reason)
                told = now
            time.sleep(min(TRY_SECONDS, deadline - now))


def _ask_redis() -> None:
    client = redis.Redis.from_url(settings.REDIS_URL, **settings.CACHE_TIMEOUTS, retry=Retry(NoBackoff(), 0))
    try:
        client.ping()
    except redis.RedisError as error:
        raise AwayError("Redis", error) from None
    finally:
        client.close()


def _check_migrations() -> None:
    # Without the pool, which would go on trying in the background and tell nobody why.
    alone: BaseDatabaseWrapper = connection.copy()
    alone.settings_dict["OPTIONS"].pop("pool", None)
    try:
        executor = MigrationExecutor(alone)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except Error as error:
        raise AwayError("the database", error) from None
    finally:
        alone.close()
    if missing:
        raise NotReadyError(f"{len(missing)} migrations are missing in the database: run manage.py migrate first.")


def _take_database() -> None:
    path = _lock_path()
    if path is None:
        return
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)  # stays open until the process ends
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise NotReadyError(
            "another server has this database open, and without REDIS_URL they would not hear each other."
        ) from None
    except OSError as error:
        raise NotReadyError(f"{path} cannot be locked: {error.strerror}.") from None


def _lock_path() -> Path | None:
    """Return the file that stands for the database: beside an SQLite file, else named by server and database."""
    database = connection.settings_dict
    if connection.vendor != "sqlite":
        name = f"{database['HOST']}:{database['PORT']}/{database['NAME']}"
        return Path(tempfile.gettempdir(), f"qader-{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock")
    in_memory = connection.is_in_memory_db()  # type: ignore[attr-defined]
    return None if in_memory else Path(f"{database['NAME']}.lock")
