"""What each error of the database means, by its SQLSTATE or by SQLite's code."""

import pytest
from django.db import Error, InterfaceError, OperationalError, ProgrammingError, connection, transaction

from accounts.models import User
from chat.runtime.database_errors import Trouble, trouble_of

on_postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="raises what PostgreSQL raises")
on_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="raises what SQLite raises")


def raised(*statements: str) -> Error:
    """Return the error of the last of these statements, as Django raises it."""
    with pytest.raises(Error) as error, transaction.atomic(), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    return error.value


@on_postgresql
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("sqlstate", "trouble"),
    [
        ("08006", Trouble.GONE),  # connection_failure
        ("25006", Trouble.READ_ONLY),  # read_only_sql_transaction
        ("28P01", Trouble.GONE),  # invalid_password
        ("3D000", Trouble.GONE),  # invalid_catalog_name
        ("40001", Trouble.CONFLICT),  # serialization_failure
        ("40003", Trouble.GONE),  # statement_completion_unknown
        ("40P01", Trouble.CONFLICT),  # deadlock_detected
        ("53100", Trouble.FULL),  # disk_full
        ("53200", Trouble.GONE),  # out_of_memory
        ("53300", Trouble.GONE),  # too_many_connections
        ("55P03", Trouble.LOCKED),  # lock_not_available
        ("57014", Trouble.GONE),  # query_canceled: statement_timeout
        ("57P01", Trouble.GONE),  # admin_shutdown
        ("57P02", Trouble.GONE),  # crash_shutdown
        ("57P03", Trouble.GONE),  # cannot_connect_now
        ("58030", Trouble.GONE),  # io_error
        ("XX001", Trouble.GONE),  # data_corrupted
        ("22021", Trouble.BAD_DATA),  # character_not_in_repertoire
        ("23505", Trouble.BAD_DATA),  # unique_violation
        ("42P01", Trouble.BAD_DATA),  # undefined_table
        ("42501", Trouble.BAD_DATA),  # insufficient_privilege
        ("P0001", Trouble.BAD_DATA),  # raise_exception
    ],
)
def test_postgresql_errors_are_told_apart(sqlstate: str, trouble: Trouble) -> None:
    assert trouble_of(raised(f"DO $$ BEGIN RAISE 'x' USING ERRCODE = '{sqlstate}'; END $$")) is trouble


@on_postgresql
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("statements", "trouble"),
    [
        (["SET TRANSACTION READ ONLY", "SELECT nextval('chat_message_id_seq')"], Trouble.READ_ONLY),
        (["SET TRANSACTION READ ONLY", "SELECT FROM django_session WHERE false FOR UPDATE"], Trouble.READ_ONLY),
        (["SET LOCAL statement_timeout = 1", "SELECT pg_sleep(1)"], Trouble.GONE),
        (["SELECT 1 / 0"], Trouble.BAD_DATA),
        (["SELECT FROM nowhere"], Trouble.BAD_DATA),
    ],
)
def test_what_postgresql_does_itself_is_told_apart(statements: list[str], trouble: Trouble) -> None:
    assert trouble_of(raised(*statements)) is trouble


@on_sqlite
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("before", "statement", "after", "trouble"),
    [
        ("PRAGMA query_only = on", "DELETE FROM django_session", "PRAGMA query_only = off", Trouble.READ_ONLY),
        (
            "PRAGMA max_page_count = 1",
            "INSERT INTO django_session VALUES ('x', hex(zeroblob(1000000)), '2030-01-01')",
            "PRAGMA max_page_count = 1073741823",
            Trouble.FULL,
        ),
        ("SELECT 1", "SELECT * FROM nowhere", "SELECT 1", Trouble.BAD_DATA),
        ("SELECT 1", "INSERT INTO django_session VALUES (NULL, '', '')", "SELECT 1", Trouble.BAD_DATA),
    ],
)
def test_sqlite_errors_are_told_apart(before: str, statement: str, after: str, trouble: Trouble) -> None:
    with connection.cursor() as cursor:
        cursor.execute(before)
    try:
        assert trouble_of(raised(statement)) is trouble
    finally:
        with connection.cursor() as cursor:
            cursor.execute(after)


@on_sqlite
@pytest.mark.django_db(transaction=True)
def test_a_locked_sqlite_database_is_locked() -> None:
    other = connection.copy()
    other.set_autocommit(False)
    with other.cursor() as cursor:
        cursor.execute("UPDATE django_session SET session_data = ''")
    try:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 1")
        assert trouble_of(raised("DELETE FROM django_session")) is Trouble.LOCKED
    finally:
        other.rollback()
        other.close()
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 4000")


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (OperationalError("server closed the connection unexpectedly"), Trouble.GONE),
        (InterfaceError("connection already closed"), Trouble.GONE),
        (ProgrammingError("the query has 0 placeholders"), Trouble.BAD_DATA),
        (User.DoesNotExist(), None),
        (ValueError(), None),
    ],
)
def test_errors_without_a_code_are_told_by_their_class(error: Exception, trouble: Trouble | None) -> None:
    assert trouble_of(error) is trouble
