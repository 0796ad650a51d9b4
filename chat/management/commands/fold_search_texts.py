"""`manage.py fold_search_texts`: makes messages of older versions known to the search."""

from typing import Any

from django.core.management.base import BaseCommand

from chat.store.search_texts import fold_search_texts


class Command(BaseCommand):
    """Fills the column in steps beside the running chat; it can be killed and run again."""

    help = "Fill the search column of old messages. Run it after the last process of an older version has stopped."

    def handle(self, *_: Any, **__: Any) -> None:
        """Fill it, and say of how many messages."""
        count = fold_search_texts(told=self._tell)
        self.stdout.write(f"{count} messages can be searched now.")

    def _tell(self, count: int) -> None:
        if self.stderr.isatty():
            self.stderr.write(f"\r{count} messages", ending="")
