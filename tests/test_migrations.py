"""Migrations must be safe while the previous version still serves; an unsafe or blocking one is refused.

The linter reads the SQL, which Django writes with the database at hand: PostgreSQL, since SQLite's tells no locks.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django_migration_linter import MigrationLinter

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="it is about PostgreSQL"),
]
MIGRATIONS = Path(__file__).resolve().parent.parent / "chat" / "migrations"
EXAMPLE = """
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import F, Value


class Migration(migrations.Migration):
    dependencies = [("chat", "{last}")]
    {body}
"""
UNSAFE = {
    'operations = [migrations.RemoveField("message", "client_id")]': "DROPPING columns (table: chat_message",
    'operations = [migrations.RenameField("message", "content", "text")]': "RENAMING columns (table: chat_message",
    'operations = [migrations.DeleteModel("LastSeen")]': "DROPPING table (table: chat_lastseen)",
    'operations = [migrations.AlterModelTable("LastSeen", "seen")]': "RENAMING tables (table: chat_lastseen)",
    'operations = [migrations.AlterField("message", "client_id", models.CharField(max_length=9, null=True))]': (
        "ALTERING columns"
    ),
    # Django takes the default away again, and what the version before inserts has none.
    'operations = [migrations.AddField("message", "mood", models.TextField(default=""))]': (
        "NOT NULL constraint on columns"
    ),
    'operations = [migrations.AddIndex("message", models.Index(fields=["timestamp"], name="example"))]': (
        "CREATE INDEX locks table"
    ),
    'operations = [migrations.RemoveIndex("message", "chat_message_unread")]': "DROP INDEX locks table",
    'operations = [migrations.AlterField("message", "content", models.TextField(unique=True))]': (
        "ADDING unique constraint"
    ),
}
SAFE = [
    'operations = [migrations.AddField("message", "mood", models.TextField(null=True))]',
    'operations = [migrations.AddField("message", "mood", models.TextField(db_default=Value("")))]',
    'operations = [migrations.CreateModel("Note", [("id", models.BigAutoField(primary_key=True))])]',
    'atomic = False; operations = [AddIndexConcurrently("message", models.Index(fields=["seq"], name="example"))]',
]


def lint() -> MigrationLinter:
    """Judge all of ours; a warning that a table is locked is as bad as what breaks queries."""
    linter = MigrationLinter(include_apps=["accounts", "chat", "notices"], all_warnings_as_errors=True, no_cache=True)
    linter.lint_all_migrations()
    return linter


def test_every_migration_is_safe_while_the_version_before_serves(capsys: pytest.CaptureFixture[str]) -> None:
    linter = lint()
    assert not linter.has_errors, capsys.readouterr().out
    assert linter.nb_valid == linter.nb_total >= 3


LintExample = Callable[[str], MigrationLinter]


@pytest.fixture
def lint_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> LintExample:
    """`lint_example(body)`: judge our migrations and one more of the chat, with this in its class."""

    def linted(body: str) -> MigrationLinter:
        name = f"example_{tmp_path.name}"
        package = shutil.copytree(MIGRATIONS, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        last = max(path.stem for path in package.glob("0*.py"))
        (package / "9999_example.py").write_text(EXAMPLE.format(last=last, body=body))
        monkeypatch.syspath_prepend(str(tmp_path))
        settings.MIGRATION_MODULES = {"chat": name}
        return lint()

    return linted


@pytest.mark.parametrize(("body", "why"), UNSAFE.items())
def test_an_unsafe_migration_is_refused_with_the_reason(
    lint_example: LintExample, capsys: pytest.CaptureFixture[str], body: str, why: str
) -> None:
    assert lint_example(body).nb_erroneous == 1
    told = capsys.readouterr().out.partition("(chat, 9999_example)... ERR\n")[2]
    assert f"\t{why}" in told


@pytest.mark.parametrize("body", SAFE)
def test_a_safe_migration_is_accepted(lint_example: LintExample, capsys: pytest.CaptureFixture[str], body: str) -> None:
    assert lint_example(body).nb_erroneous == 0, capsys.readouterr().out
