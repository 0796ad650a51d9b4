"""Operations of migrations that are safe while the previous version serves, on both databases."""

from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db.migrations import AddIndex

# An index that was not finished stays behind, fills up and is never read.
UNFINISHED = "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid"


class AddIndexBesideWriters(AddIndexConcurrently):
    """Builds an index without a lock that stops writers; it can be interrupted and run again.

    The migration must not be atomic, and should have no other operations. SQLite has one writer anyway.
    """

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Build it."""
        if schema_editor.connection.vendor != "postgresql":
            AddIndex.database_forwards(self, app_label, schema_editor, from_state, to_state)
            return
        if not schema_editor.collect_sql:
            self._remove_unfinished(schema_editor)
        super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Remove it."""
        vendor = schema_editor.connection.vendor
        base = AddIndexConcurrently if vendor == "postgresql" else AddIndex
        base.database_backwards(self, app_label, schema_editor, from_state, to_state)

    def _remove_unfinished(self, schema_editor: Any) -> None:
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(UNFINISHED, [self.index.name])
            if cursor.fetchone():
                cursor.execute(f"DROP INDEX CONCURRENTLY {schema_editor.quote_name(self.index.name)}")
