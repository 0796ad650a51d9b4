"""Clusters for the end-to-end tests; none of them uses the test database of pytest-django."""

import os
from collections.abc import Iterator

import pytest

from tests import servers
from tests.e2e.cluster import Cluster, Databases


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """New databases on the server that the tests run on; on SQLite where they run on none."""
    made = Databases(os.environ.get("DATABASE_URL", ""), tmp_path_factory.mktemp("databases"))
    yield made
    made.close()


@pytest.fixture
def cluster(databases: Databases) -> Iterator[Cluster]:
    """A database and a Redis that no other test uses; no server is started yet."""
    with servers.redis() as redis:
        made = Cluster(databases.create(), redis)
        yield made
        made.close()


@pytest.fixture
def lone_cluster(databases: Databases) -> Iterator[Cluster]:
    """A database that no other test uses, and no Redis: for one server process."""
    made = Cluster(databases.create(), None)
    yield made
    made.close()


@pytest.fixture
def fragile_cluster(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Cluster, servers.PostgreSQL, servers.Redis]]:
    """`cluster, postgresql, redis`, all of them this test's own, to be killed, stopped and cut."""
    with servers.postgresql() as postgresql, servers.redis() as redis:
        databases = Databases(postgresql.url, tmp_path_factory.mktemp("unused"))
        made = Cluster(databases.create(), redis)
        yield made, postgresql, redis
        made.close()
