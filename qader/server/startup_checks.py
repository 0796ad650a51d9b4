"""What must be true before the server starts; every failure is one line."""

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

from chat.runtime.redis_address import RedisPool
from qader.server.database_connection import ServerConnection

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1  # between two attempts to reach the database or Redis
LOG_SECONDS = 5  # between two log lines about it


class NotReadyError(Exception):
    """Why the server cannot start."""


class UnreachableError(NotReadyError):
    """The database or Redis does not answer; it may answer later."""

    def __init__(self, name: str, error: Exception) -> None:
        self.name, self.reason = name, " ".join(str(error).split())
        super().__init__(f"{name} does not answer: {self.reason}")


def run_startup_checks() -> None:
    """Load settings and apps, run Django's system checks, wait for database and Redis, check the migrations.

    Raises `NotReadyError`. Without Redis this process also locks the database until it ends: events of the in-memory
    channel layer would not reach the sockets of a second process.
    """
    try:
        django.setup()
        _check_system()
    except (EnvError, ImproperlyConfigured) as error:
        raise NotReadyError(str(error)) from None
    if connection.vendor == "postgresql":
        options = connection.settings_dict["OPTIONS"]
        options["options"] += f" {settings.DATABASE_SERVER_OPTIONS}"
        options["pool"]["connection_class"] = ServerConnection
    deadline = time.monotonic() + settings.START_WAIT_SECONDS
    _retry_until_reachable(_check_migrations, deadline)
    _note_start()
    if not settings.REDIS_URL:
        _lock_database()
    elif settings.START_WAIT_SECONDS:  # with 0 the server starts without Redis
        _retry_until_reachable(_ping_redis, deadline)


def _check_system() -> None:
    for message in checks.run_checks():
        if message.is_serious() and not message.is_silenced():
            raise NotReadyError(f"{message.msg} ({message.id})")


def _retry_until_reachable(check: Callable[[], None], deadline: float) -> None:
    """Repeat the check until it raises no `UnreachableError`, and log what the server waits for and why."""
    logged_at = -float(LOG_SECONDS)
    while True:
        try:
            return check()
        except UnreachableError as error:
            now = time.monotonic()
            if now >= deadline:
                raise
            if now - logged_at >= LOG_SECONDS:
                logger.warning("waiting for %s: %s", error.name, error.reason)
                logged_at = now
            time.sleep(min(RETRY_SECONDS, deadline - now))


def _ping_redis() -> None:
    pool = RedisPool.from_url(settings.REDIS_URL, **settings.CACHE_TIMEOUTS, retry=Retry(NoBackoff(), 0))
    client = redis.Redis(connection_pool=pool)
    try:
        client.ping()
    except redis.RedisError as error:
        raise UnreachableError("Redis", error) from None
    finally:
        pool.disconnect()


def _check_migrations() -> None:
    # Without the pool, which would retry in the background and hide the reason.
    without_pool: BaseDatabaseWrapper = connection.copy()
    without_pool.settings_dict["OPTIONS"].pop("pool", None)
    try:
        executor = MigrationExecutor(without_pool)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if not missing:
            warn_of_locale(without_pool)
    except Error as error:
        raise UnreachableError("the database", error) from None
    finally:
        without_pool.close()
        connection.close()  # Django reads the applied migrations by it; it would stay broken at each further try
    if missing:
        raise NotReadyError(f"{len(missing)} migrations are missing in the database: run manage.py migrate first.")


def warn_of_locale(database: BaseDatabaseWrapper) -> None:
    """Warn if the database's locale knows no Arabic letters: the index of texts has no trigrams of them then."""
    if database.vendor != "postgresql":
        return
    with database.cursor() as cursor:
        cursor.execute("SELECT show_trgm('سؤال') = '{}'")
        if cursor.fetchone() == (True,):
            logger.warning(
                "the locale of the database knows no Arabic letters, so staff search messages slowly: "
                "see The search for texts in docs/operations.md"
            )


def _note_start() -> None:
    """Note whether notices are on. A database that refuses this is no reason not to start: reading works."""
    from notices.start import note_start

    try:
        note_start()
    except Error as error:
        logger.warning("whether notices are on was not noted: %s", type(error).__name__)
    finally:
        connection.close()


def _lock_database() -> None:
    path = _lock_path()
    if path is None:
        return
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)  # stays open until the process ends
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise NotReadyError(
            "another server process uses this database; two processes need REDIS_URL to exchange events."
        ) from None
    except OSError as error:
        raise NotReadyError(f"{path} cannot be locked: {error.strerror}.") from None


def _lock_path() -> Path | None:
    """Return the lock file of the database: next to an SQLite file, otherwise named by server and database."""
    database = connection.settings_dict
    if connection.vendor != "sqlite":
        name = f"{database['HOST']}:{database['PORT']}/{database['NAME']}"
        return Path(tempfile.gettempdir(), f"qader-{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock")
    in_memory = connection.is_in_memory_db()  # type: ignore[attr-defined]
    return None if in_memory else Path(f"{database['NAME']}.lock")
