"""The connections of a server: none waits for a database that does not answer."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, connection

from chat.runtime.database_errors import Trouble, trouble_of
from qader.server.database_connection import NoAnswerError, ServerConnection

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite is a part of the process"),
]


class Impatient(ServerConnection):
    """One that soon gives up."""

    answer_seconds = 0.2


@pytest.fixture
def options() -> dict[str, Any]:
    """How to connect to the test database."""
    return connection.get_connection_params() | {"connect_timeout": 2}


@pytest.fixture
def silent_port() -> Iterator[int]:
    """The port of a host that takes connections and says nothing, as one that is frozen."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_connection_without_an_answer_is_given_up(options: dict[str, Any]) -> None:
    with Impatient.connect(**options) as impatient:
        assert impatient.execute("SELECT 1").fetchone() == (1,)
        begin = time.monotonic()
        with pytest.raises(NoAnswerError) as error:
            impatient.execute("SELECT pg_sleep(5)")
        assert time.monotonic() - begin < 4  # less than it sleeps
        assert impatient.closed
    with pytest.raises(DatabaseError) as as_django_raises_it, connection.wrap_database_errors:
        raise error.value
    assert trouble_of(as_django_raises_it.value) is Trouble.GONE


def test_the_host_that_answered_last_is_tried_first(options: dict[str, Any], silent_port: int) -> None:
    port = options["port"]
    several = options | {"host": "127.0.0.1,127.0.0.1", "port": f"{silent_port},{port}"}
    took = []
    for _ in range(2):
        begin = time.monotonic()
        with ServerConnection.connect(**several) as connected:
            assert connected.info.port == int(port)
        took.append(time.monotonic() - begin)
    assert took[0] > 1.5
    assert took[1] < 1.5
