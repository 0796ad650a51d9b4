"""Somebody who holds locks on rows, as a person in psql does who has forgotten to commit."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection, connections
from django.db.backends.signals import connection_created
from django.db.models import Model

from tests.queries import wait_for_idle_threads

LOCK_MILLISECONDS = 100  # as in DATABASE_SERVER_OPTIONS, which only a server uses


class Holder:
    """A transaction in a connection of its own, for any thread; PostgreSQL only."""

    def __init__(self) -> None:
        self._connection = psycopg.connect(**connection.get_connection_params())

    def lock(self, *rows: Model) -> None:
        """Lock these rows."""
        for row in rows:
            self.execute(f"SELECT FROM {row._meta.db_table} WHERE id = %s FOR UPDATE", row.pk)

    def execute(self, statement: str, *parameters: Any) -> None:
        """Execute a statement in the transaction that holds the locks."""
        self._connection.execute(statement.encode(), parameters)

    def commit(self) -> None:
        """Let the rows go."""
        self._connection.commit()

    def close(self) -> None:
        """Let the rows go, and change nothing."""
        self._connection.close()


@contextmanager
def server_lock_timeout() -> Iterator[None]:
    """Give the connections of this thread and of the sockets' threads the lock_timeout of a server."""

    def limit(connection: Any, **_: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {LOCK_MILLISECONDS}")

    def restart() -> None:
        if pool := getattr(connection, "pool", None):
            pool.drain()
        connections.close_all()
        wait_for_idle_threads(connections.close_all)

    connection_created.connect(limit)
    restart()
    yield
    connection_created.disconnect(limit)
    restart()
