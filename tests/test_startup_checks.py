"""What a server checks before it starts, without a server."""

import psycopg
import pytest
from django.db import connection

from qader.server.startup_checks import UnreachableError, _check_migrations


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite is a part of the process")
@pytest.mark.django_db(transaction=True)
def test_a_connection_that_is_lost_during_the_check_does_not_fail_the_next_one() -> None:
    connection.ensure_connection()
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])
    with pytest.raises(UnreachableError):
        _check_migrations()
    _check_migrations()
