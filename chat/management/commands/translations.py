"""`make generate`: updates the translation catalogues from the code; `make check` fails if they are incomplete.

Django's makemessages and compilemessages need the gettext programs; Babel is a Python package. The compiled catalogues
are kept in the repository, so that a server needs neither.
"""

import re
from argparse import ArgumentParser
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation.template import templatize

APPS = ("accounts", "chat", "notices", "qader")
KEYWORDS = {"_": None, "gettext": None, "gettext_lazy": None, "ngettext": (1, 2)}
WIDTH = 120
# The calls into which Django turns the texts of a template; its other output is not Python.
CALL = re.compile(r"""\bn?gettext\((?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^'")])*\)""")

VALUE = re.compile(r"\{\w+\}|%\(\w+\)\w")  # placeholders in a text

Text = str | tuple[str, ...]  # a tuple: singular and plural


class Catalogue(Catalog):
    """Babel's catalogue with a minimal header: dates and tool versions would change it each time."""

    def __init__(self, language: str, old: Catalog | None = None) -> None:
        super().__init__(language, fuzzy=False, header_comment="# What people read; `make generate` keeps it in step.")
        self._plurals = (old or self).plural_forms

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        """The header: language, encoding and plural forms."""
        language = str(self.locale_identifier)
        forms = ("Content-Type", "text/plain; charset=utf-8"), ("Plural-Forms", self._plurals)
        return [("Language", language), ("Content-Transfer-Encoding", "8bit"), *forms]


def texts_of(domain: str) -> Iterator[tuple[Text, Path]]:
    """Yield every text to be translated, and its file."""
    if domain == "djangojs":
        yield from _extracted("javascript", "static/**/*.js")
        return
    yield from _extracted("python", "**/*.py")
    yield from _extracted("template", "templates/**/*.html")


def _extracted(method: str, pattern: str) -> Iterator[tuple[Text, Path]]:
    for app in APPS:
        for path in sorted((settings.BASE_DIR / app).glob(pattern)):
            text = path.read_text(encoding="utf-8")
            if method == "template":
                text = "\n".join(CALL.findall(templatize(text)))
            found = extract("python" if method == "template" else method, BytesIO(text.encode()), KEYWORDS)
            for _line, message, _comments, _context in found:
                yield message, path.relative_to(settings.BASE_DIR)


def folder_of(language: str) -> Path:
    """Return the folder of the catalogues of a language."""
    return Path(settings.LOCALE_PATHS[0]) / language / "LC_MESSAGES"


def read(path: Path, language: str) -> Catalog:
    """Return the catalogue of the file, or an empty one if there is no file."""
    if not path.exists():
        return Catalogue(language)
    with path.open("rb") as file:
        return read_po(file, language)


def updated(old: Catalog, language: str, domain: str) -> Catalogue:
    """Return a catalogue of the present texts, with the old translations."""
    new = Catalogue(language, old)
    for text, path in texts_of(domain):
        message = new.add(text, locations=[(str(path), None)])  # type: ignore[list-item]
        known = old.get(text if isinstance(text, str) else text[0])
        if known is not None and known.id == message.id:
            message.string = known.string
            message.flags |= known.flags & {"fuzzy"}
    return new


def compiled(catalog: Catalog) -> bytes:
    """Return the content of the .mo file, which gettext reads."""
    file = BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def problems_of(message: Message, catalog: Catalog) -> Iterator[str]:
    """Yield the errors of a translation."""
    strings = message.string if isinstance(message.string, (list, tuple)) else [message.string]
    if message.fuzzy or not all(strings) or (message.pluralizable and len(strings) != catalog.num_plurals):
        yield "is not translated"
        return
    yield from (str(error) for error in message.check(catalog))
    names = {*VALUE.findall("".join(message.id))}
    for string in strings:
        if not names - {"{count}"} <= {*VALUE.findall(str(string))} <= names:
            yield f"has other values in it: {string}"


def untranslated(path: Path, catalogue: Catalogue) -> Iterator[str]:
    """Yield the errors of all translations, with the name of the file."""
    for message in catalogue:
        if message.id:
            yield from (f"{path.name}: {message.id!r} {problem}" for problem in problems_of(message, catalogue))


class Command(BaseCommand):
    """Collects the texts, keeps their translations, and compiles the catalogues; uses no database."""

    help = "Update locale/ from the code; with --check only report what is missing."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take `--check`."""
        parser.add_argument("--check", action="store_true", help="fail if anything is out of date or not translated")

    def handle(self, *args: Any, check: bool, **options: Any) -> None:
        """Write the catalogues, or compare them."""
        languages = [code for code, _ in settings.LANGUAGES if code != settings.LANGUAGE_CODE]
        faults = [
            fault
            for language in languages
            for domain in ("django", "djangojs")
            for fault in (self._faults if check else self._write)(language, domain)
        ]
        for fault in faults:
            self.stderr.write(fault)
        if faults and check:
            raise CommandError("locale/ is not complete: make generate, and translate what is missing")

    def _write(self, language: str, domain: str) -> Iterator[str]:
        """Write both files; yields the errors that a translator has to fix."""
        path = folder_of(language) / f"{domain}.po"
        catalogue = updated(read(path, language), language, domain)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            write_po(file, catalogue, width=WIDTH, include_lineno=False, sort_output=True)
        path.with_suffix(".mo").write_bytes(compiled(catalogue))
        yield from untranslated(path, catalogue)

    def _faults(self, language: str, domain: str) -> Iterator[str]:
        """Yield what is out of date or not translated."""
        path = folder_of(language) / f"{domain}.po"
        old = read(path, language)
        catalogue = updated(old, language, domain)
        yield from untranslated(path, catalogue)
        for text in sorted({str(message.id) for message in old} - {str(message.id) for message in catalogue}):
            yield f"{path.name}: {text!r} is not said any more"
        mo = path.with_suffix(".mo")
        if not mo.exists() or mo.read_bytes() != compiled(catalogue):
            yield f"{mo.name}: is not made from {path.name}"
