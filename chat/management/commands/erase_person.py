"""Erases a person for ever: their texts, their name, and how they sign in."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from chat.moderation.erasure import erase_person, messages_of
from chat.moderation.progress import progress_bar


class Command(BaseCommand):
    """`manage.py erase_person NAME [--yes] [--keep-reports]`: can be stopped and run again with the same name."""

    help = "Erases a person for ever: their texts, name, e-mail address and password. Others' messages stay."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the name, and the answer to the question."""
        parser.add_argument("name", help="the user name")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--keep-reports", action="store_true", help="keep the copies of their texts in reports")

    def handle(self, *args: Any, name: str, yes: bool, keep_reports: bool, **options: Any) -> None:
        """Ask, and erase."""
        person = User.objects.filter(username=User.normalize_username(name)).first()
        if person is None:
            raise CommandError(f"Nobody has the user name {name}.")
        count = messages_of(person).count()
        if not yes:
            self._ask(f"Erase the {count} messages of user {person.pk}, their name, address and password for ever?")
        with progress_bar(count, "messages") as bar:
            erase_person(person=person, by=None, keep_reports=keep_reports, on_batch=bar.update)
        self.stdout.write(f"User {person.pk} is erased, with the texts of {count} messages.")

    def _ask(self, question: str) -> None:
        if not sys.stdin.isatty():
            raise CommandError("Nobody can be asked here: confirm with --yes.")
        if input(f"{question} [y/N] ").strip().lower() not in {"y", "yes"}:
            raise CommandError("Nothing was erased.")
