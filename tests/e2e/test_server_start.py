"""A start without database or Redis: the server waits, logs what for, and serves once both answer."""

import json
import signal
import time

import httpx
import pytest

from tests.e2e.cluster import Cluster
from tests.servers import PostgreSQL, Redis

SERVERS = pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
Fragile = tuple[Cluster, PostgreSQL, Redis]


def events(log: str) -> list[str]:
    """What its lines say, without their times."""
    return [json.loads(line)["event"] if line.startswith("{") else line for line in log.splitlines()]


def with_password(url: str) -> str:
    return url.replace("postgres@", "postgres:the-password@").replace("redis://", "redis://somebody:the-password@")


@SERVERS
def test_without_the_database_it_waits_and_then_serves(fragile_cluster: Fragile, kind: str) -> None:
    cluster, postgresql, _ = fragile_cluster
    postgresql.stop()
    server = cluster.server(kind, DATABASE_URL=with_password(cluster.database_url)).launch()
    server.until_it_says("waiting for the database: .*refused")
    time.sleep(1.5)  # more than one attempt
    postgresql.start()
    server.until_it_listens()
    assert httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 200
    *waiting, listens = events(server.log)
    assert all(line.startswith("waiting for the database: ") for line in waiting)
    assert listens == f"Qader listens on {server.url}/ ({kind})"
    assert "the-password" not in server.log


@SERVERS
def test_without_redis_it_waits_and_then_serves(fragile_cluster: Fragile, kind: str) -> None:
    cluster, _, redis = fragile_cluster
    redis.stop()
    server = cluster.server(kind).launch()
    server.until_it_says("waiting for Redis: .*refused")
    redis.start()
    server.until_it_listens()
    assert httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 200
    *waiting, listens = events(server.log)
    assert all(line.startswith("waiting for Redis: ") for line in waiting)
    assert listens == f"Qader listens on {server.url}/ ({kind})"


def test_the_wait_is_logged_every_five_seconds(fragile_cluster: Fragile) -> None:
    cluster, postgresql, _ = fragile_cluster
    postgresql.stop()
    server = cluster.server().launch()
    server.until_it_says("waiting for the database")
    begin = time.monotonic()
    server.until_it_says("(?s)waiting for the database.*waiting for the database")
    assert time.monotonic() - begin > 4.5


@pytest.mark.parametrize("what", ["database", "Redis"])
@pytest.mark.parametrize("how", ["stop", "freeze"])  # refused at once, or never answered
def test_startup_gives_up_after_its_time_with_one_line(fragile_cluster: Fragile, what: str, how: str) -> None:
    cluster, postgresql, redis = fragile_cluster
    part = postgresql if what == "database" else redis
    name = "the database" if what == "database" else what
    settings = {"DATABASE_URL": with_password(cluster.database_url)} if part is postgresql else {}
    getattr(part, how)()
    try:
        server = cluster.server(START_WAIT_SECONDS="1", **settings).launch()
        assert server.exit_code() == 1
    finally:
        if how == "freeze":
            part.thaw()
    *waiting, last = events(server.log)
    assert all(line.startswith(f"waiting for {name}: ") for line in waiting)
    assert waiting or how == "freeze"  # one attempt took all its time
    assert last.startswith(f"qader: {name} does not answer: ")
    assert "the-password" not in server.log


def test_a_wrong_password_and_a_missing_database_are_logged(fragile_cluster: Fragile) -> None:
    cluster, postgresql, redis = fragile_cluster
    missing = cluster.server(START_WAIT_SECONDS="1", DATABASE_URL=f"{postgresql.url}_that_is_missing").launch()
    refused = cluster.server(START_WAIT_SECONDS="1", REDIS_URL=with_password(redis.url)).launch()
    assert [server.exit_code() for server in (missing, refused)] == [1, 1]
    assert 'database "postgres_that_is_missing" does not exist' in events(missing.log)[0]
    assert events(refused.log)[0].startswith("waiting for Redis: ")
    assert "the-password" not in refused.log


def test_with_no_start_wait_it_serves_without_redis(fragile_cluster: Fragile) -> None:
    cluster, _, redis = fragile_cluster
    redis.stop()
    server = cluster.start(START_WAIT_SECONDS="0")
    answer = httpx.get(f"{server.url}/readyz", timeout=10, trust_env=False)
    assert (answer.status_code, answer.json()["database"], answer.json()["channel_layer"]) == (503, True, False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait_at_once(fragile_cluster: Fragile, number: signal.Signals) -> None:
    cluster, postgresql, _ = fragile_cluster
    postgresql.freeze()
    try:
        server = cluster.server().launch()
        server.until_it_says("waiting for the database")
        code, seconds = server.terminate(number)
    finally:
        postgresql.thaw()
    assert code == 0
    assert seconds < 10
    assert "Traceback" not in server.log
