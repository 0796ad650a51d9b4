"""`make generate`: writes the file that is generated from the structs and kept in the repository."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from chat.wire.typescript import TYPES, typescript


class Command(BaseCommand):
    """Writes the TypeScript types of the wire; touches no database."""

    help = "Write chat/static/chat/types.d.ts; with --check only compare."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take `--check`."""
        parser.add_argument("--check", action="store_true", help="fail if the file is out of date")

    def handle(self, *args: Any, check: bool, **options: Any) -> None:
        """Write the file, or compare it."""
        text = typescript()
        if not check:
            TYPES.write_text(text, encoding="utf-8")
        elif not TYPES.exists() or TYPES.read_text(encoding="utf-8") != text:
            raise CommandError("chat/static/chat/types.d.ts is out of date: run make generate")
