"""`manage.py migrate`, Django's own, which never makes the chat wait behind it.

A migration that changes a table needs it for itself for a moment. While it waits for that, behind a dump or a long
transaction, everybody who comes after it waits, too: all sends. So it waits for `LOCK_MILLISECONDS` only, lets the
others pass, and is tried again. https://www.postgresql.org/docs/current/explicit-locking.html
"""

import time
from typing import Any

from django.core.management.commands import migrate
from django.db import OperationalError, connections

from chat.runtime.database_errors import Trouble, trouble_of

LOCK_MILLISECONDS = 300
TRY_AGAIN_SECONDS = 3.0


class Command(migrate.Command):
    """Migrates; where a table is in use by others, it goes on trying."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate."""
        self._database = connections[options["database"]]
        is_told = False
        while True:
            try:
                super().handle(*args, **options)
            except OperationalError as error:
                if trouble_of(error) is not Trouble.LOCKED:
                    raise
            else:
                return
            if not is_told:
                self.stderr.write(
                    f"A table is in use, for example by a dump: trying again every {TRY_AGAIN_SECONDS} s."
                )
                is_told = True
            time.sleep(TRY_AGAIN_SECONDS)

    def migration_progress_callback(self, action: str, migration: Any = None, fake: bool = False) -> None:
        """Limit how long the next migration waits for a table, but not one that builds an index beside the others."""
        super().migration_progress_callback(action, migration, fake)
        if self._database.vendor != "postgresql":
            return
        if action.endswith("apply_start") and migration.atomic:
            self._execute(f"SET lock_timeout = {LOCK_MILLISECONDS}")
        elif action.endswith("apply_success"):
            self._execute("RESET lock_timeout")

    def _execute(self, statement: str) -> None:
        with self._database.cursor() as cursor:
            cursor.execute(statement)
