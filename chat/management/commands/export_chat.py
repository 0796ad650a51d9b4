"""Writes a conversation, or everything that is stored about a person, into a ZIP file."""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from chat.models import Conversation
from chat.moderation.export import Export, export_of_conversations, export_of_person, export_parts, record_export
from chat.moderation.progress import progress_bar

STANDARD_OUTPUT = Path("-")


class Command(BaseCommand):
    """`manage.py export_chat (--conversation ID | --user NAME) --out FILE.zip`: run it again after it was stopped."""

    help = "Exports a conversation, or all that is stored about a person, as JSON and as a table."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take what is exported, and where to."""
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--conversation", type=int, metavar="ID")
        what.add_argument("--user", metavar="NAME", help="the user name")
        file = "an existing file is replaced; - is the standard output"
        parser.add_argument("--out", type=Path, required=True, metavar="FILE.zip", help=file)

    def handle(self, *args: Any, conversation: int | None, user: str | None, out: Path, **options: Any) -> None:
        """Write the file."""
        export = _export(conversation, user)
        record_export([export], by=None)
        done = f"Exported {export.count} messages of {len(export.ends)} conversations"
        with progress_bar(2 * export.count, "rows") as bar:
            parts = export_parts([export], bar.update)
            if out == STANDARD_OUTPUT:
                sys.stdout.buffer.writelines(parts)
            else:
                _write(out, parts)
        if out == STANDARD_OUTPUT:
            self.stderr.write(f"{done}.")
        else:
            self.stdout.write(f"{done} to {out} ({out.stat().st_size} bytes).")


def _write(out: Path, parts: Iterable[bytes]) -> None:
    """Write a file; under another name until it is complete."""
    unfinished = out.with_name(f"{out.name}.part")
    try:
        with open(unfinished, "wb", opener=_private) as file:
            file.writelines(parts)
        unfinished.replace(out)
    except OSError as error:
        raise CommandError(f"{out} cannot be written: {error.strerror}") from error


def _private(path: str, flags: int) -> int:
    """Create the file for its owner alone."""
    return os.open(path, flags, 0o600)


def _export(conversation: int | None, user: str | None) -> Export:
    if conversation is not None:
        if not Conversation.objects.filter(pk=conversation).exists():
            raise CommandError(f"There is no conversation {conversation}.")
        return export_of_conversations([conversation])
    person = User.objects.select_related("profile").filter(username=User.normalize_username(user or "")).first()
    if person is None:
        raise CommandError(f"Nobody has the user name {user}.")
    return export_of_person(person)
