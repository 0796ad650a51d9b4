"""The transform `folded` of text fields: `full_name__folded__icontains="ساره"` finds "سَارة".

Both sides are folded at query time, as `accounts.names.folded_text` does. So no column has to follow the names, and
names that an older release saves meanwhile are found. Ten thousand names take about 0.1 s; an admin searches rarely.

An autovacuum that analyzes the tables while a transaction is still filling them finds no rows. Until the next one,
PostgreSQL then compares each user with each profile, for minutes: run ANALYZE after such an import, or in such a test.
"""

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import CharField, Transform
from django.db.models.sql.compiler import SQLCompiler

from accounts.names import DROPPED, REPLACED, REPLACEMENTS, folded_text


@CharField.register_lookup
class Folded(Transform):
    """A text without the differences between ways to write Arabic."""

    lookup_name = "folded"
    bilateral = True

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: Any) -> Any:
        """Fold in SQL. `translate` could also drop characters, but takes longer the more it is given."""
        sql, parameters = compiler.compile(self.lhs)
        dropped = f"regexp_replace(normalize({sql}, NFKC), %s, '', 'g')"
        return f"translate({dropped}, %s, %s)", [*parameters, f"[{DROPPED}]", REPLACED, REPLACEMENTS]

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: Any) -> Any:
        """Fold by the function itself, which the connection must know."""
        connection.ensure_connection()
        connection.connection.create_function("folded_text", 1, _folded_or_null, deterministic=True)
        sql, parameters = compiler.compile(self.lhs)
        return f"folded_text({sql})", parameters


def _folded_or_null(text: str | None) -> str | None:
    return None if text is None else folded_text(text)
