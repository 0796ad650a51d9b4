"""Fixed statements are prepared once per connection; PostgreSQL only."""

from typing import Any

import pytest
from django.db import connection

from chat.runtime.database import fetch

pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL keeps plans")


def plans(start: str) -> list[tuple[Any, ...]]:
    """How often this connection used a kept plan of the statement that begins so, and how often a new one."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE starts_with(statement, %s)", [start]
        )
        return list(cursor.fetchall())


def forget_plans() -> None:
    """Whatever another test has had planned on this connection, which came from the pool."""
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")


@pytest.mark.django_db(transaction=True)
def test_a_statement_is_planned_once_per_connection() -> None:
    forget_plans()
    for number in range(10):
        assert fetch("SELECT %(number)s + 1", {"number": number}) == [(number + 1,)]
    assert plans("SELECT $1 + 1") == [(10, 0)]


@pytest.mark.django_db(transaction=True)
def test_a_column_that_a_migration_changes_is_read_as_it_is_then() -> None:
    forget_plans()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE changing (word varchar(3))")
        try:
            cursor.execute("INSERT INTO changing VALUES ('one')")
            assert fetch("SELECT word FROM changing", {}) == [("one",)]
            cursor.execute("ALTER TABLE changing ALTER COLUMN word TYPE varchar(5)")
            cursor.execute("UPDATE changing SET word = 'three'")
            assert fetch("SELECT word FROM changing", {}) == [("three",)]
            assert plans("SELECT word FROM changing") == [(1, 0)]
        finally:
            cursor.execute("DROP TABLE changing")
