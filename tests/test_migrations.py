"""Migrations must be safe while the previous version still serves; an unsafe or blocking one is refused.

While one is applied, nobody waits behind it.

The linter reads the SQL, which Django writes with the database at hand: PostgreSQL, since SQLite's tells no locks.
"""

import io
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django_migration_linter import MigrationLinter

from chat.management.commands import migrate
from chat.models import Conversation
from tests.holder import Holder
from tests.people import People, client_of

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


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Callable[[str], str]:
    """`example(body)`: add a migration to the chat's, with this in its class; returns the name of the one before."""

    def added(body: str) -> str:
        name = f"example_{tmp_path.name}"
        package = shutil.copytree(MIGRATIONS, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        last = max(path.stem for path in package.glob("0*.py"))
        (package / "9999_example.py").write_text(EXAMPLE.format(last=last, body=body))
        monkeypatch.syspath_prepend(str(tmp_path))
        settings.MIGRATION_MODULES = {"chat": name}
        return last

    return added


LintExample = Callable[[str], MigrationLinter]


@pytest.fixture
def lint_example(example: Callable[[str], str]) -> LintExample:
    """`lint_example(body)`: judge our migrations and one more of the chat, with this in its class."""

    def linted(body: str) -> MigrationLinter:
        example(body)
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


def test_while_a_table_is_in_use_sends_do_not_wait_behind_a_migration_of_it(
    example: Callable[[str], str], live_people: People, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "TRY_AGAIN_SECONDS", 0.2)
    before = example('operations = [migrations.AddField("message", "mood", models.TextField(null=True))]')
    tries, told = threading.Semaphore(0), io.StringIO()

    def note_try(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if "mood" in sql:
            tries.release()
        return execute(sql, *rest)

    def apply() -> None:
        with connection.execute_wrapper(note_try):
            call_command("migrate", "chat", verbosity=0, stderr=told)
        connection.close()

    def send() -> float:
        begin = time.monotonic()
        assert client.post(path, {"content": "hello"}).status_code == 201
        return time.monotonic() - begin

    path, client = rest_path(live_people.conversation), client_of(live_people.teacher)
    send()
    holder.execute("SELECT FROM chat_message")
    with ThreadPoolExecutor(1) as pool:
        migrating = pool.submit(apply)
        spans = [send() for _ in range(3) if tries.acquire(timeout=10)]
        assert not migrating.done()
        holder.commit()
        migrating.result(20)
    call_command("migrate", "chat", before, verbosity=0)
    assert len(spans) == 3 and max(spans) < 1, spans
    assert told.getvalue() == "A table is in use, for example by a dump: trying again every 0.2 s.\n"


def rest_path(conversation: Conversation) -> str:
    return f"/api/v1/chat/teacher/conversations/{conversation.pk}/messages/"
