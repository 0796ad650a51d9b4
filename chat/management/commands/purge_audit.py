"""`manage.py purge_audit`: deletes the entries of the audit trail that are older than `AUDIT_KEEP_DAYS`."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, ProgrammingError
from django.utils import timezone

from chat.moderation.audit_retention import purge_audit


class Command(BaseCommand):
    """Deletes in steps, so it can be killed and run again."""

    help = "Delete the entries of the audit trail that are older than AUDIT_KEEP_DAYS; as the owner of the tables."

    def handle(self, *_: Any, **__: Any) -> None:
        """Delete, and say how many."""
        days = settings.AUDIT_KEEP_DAYS
        try:
            count = purge_audit(before=timezone.now() - timedelta(days=days))
        except ProgrammingError as error:
            raise CommandError(f"only the owner of the tables can do this: {_first_line(error)}") from None
        except OperationalError as error:
            raise CommandError(f"run it again later: {_first_line(error)}") from None
        self.stdout.write(f"{count} entries of the audit trail deleted, older than {days} days.")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
