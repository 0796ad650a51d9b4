"""Log, metrics and Sentry reports of a real server, without message text."""

import asyncio
import json
import time
from collections import Counter
from typing import Any

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import servers
from tests.e2e.chat_socket import connected
from tests.e2e.cluster import CSRF, Cluster
from tests.e2e.server import WebServer, start_together
from tests.sentry_server import sentry_server

SERVERS = pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
SECRET = "what nobody else may read"
TOKEN = "a-token-of-many-characters"


def lines(server: WebServer) -> list[dict[str, Any]]:
    """Return what the server logged; fails where any of it is no JSON."""
    first, *rest = server.log.splitlines()
    assert first.startswith("Qader listens on http://")
    return [json.loads(line) for line in rest]


@SERVERS
async def test_every_log_line_is_json_without_message_text(cluster: Cluster, kind: str) -> None:
    (pair,) = cluster.make_pairs()
    student, token = pair.student, "the-token-of-metrics"
    with sentry_server() as reported:
        server = cluster.start(kind, SENTRY_DSN=reported.dsn, METRICS_TOKEN=token)
        async with connected(student, server) as socket, student.http(server) as http:
            await socket.send_json({"message": SECRET})
            assert (await socket.receive_json())["message"]["content"] == SECRET
            with psycopg.connect(cluster.database_url, autocommit=True) as database:
                database.execute("ALTER TABLE chat_message ADD CHECK (content NOT LIKE 'what %') NOT VALID")
            await socket.send_json({"message": SECRET})
            assert (await socket.receive_json())["code"] == "temporarily_unavailable"
            path = "chat/my-conversation/messages/"
            assert (await http.post(path, json={"content": SECRET})).status_code == 503
            assert (await http.get(path, params={"q": SECRET})).status_code == 200
            assert (await http.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {token}"})).is_success
            assert (await http.get(f"{server.url}/{student.username}@example.com")).status_code == 404
        event = await asyncio.to_thread(reported.event)
        code, _ = await asyncio.to_thread(server.terminate)
        received = reported.received
    assert code == 0

    told = lines(server)
    failures = [line for line in told if line["logger"] == "chat.store.portable_batch"]
    assert Counter((line["event"], line.get("route")) for line in told if line not in failures) == {
        ("socket opened", None): 1,
        ("request", "api:v1:chat:student-my-conversation-messages"): 2,
        ("request", "unmatched"): 1,
        ("socket closed", None): 1,
    }
    assert {(line["event"], line["level"], line["error"]) for line in failures} == {
        ("a batch failed", "ERROR", "CheckViolation > IntegrityError")
    }
    opened, closed = (line for line in told if line["logger"] == "chat.live.socket_lifecycle")
    assert opened["connection"] == closed["connection"]
    assert (closed["user"], closed["code"], closed["frames_in"]) == (student.user_id, 1000, 2)

    assert event["logentry"] == {"message": "a batch failed"}
    assert [value["type"] for value in event["exception"]["values"]] == ["CheckViolation", "IntegrityError"]
    for hidden in (SECRET, student.session_key, CSRF, f"{student.username}@example.com", token):
        assert hidden not in server.log
        assert hidden not in received


def scraped_values(server: WebServer, **headers: str) -> dict[str, float]:
    """Scrape a server; return what has no label, or one, by name and value of that."""
    answer = httpx.get(f"{server.url}/metrics", headers=headers, trust_env=False, timeout=5)
    assert answer.status_code == 200, answer.text
    families = text_string_to_metric_families(answer.text)
    return {" ".join([s.name, *s.labels.values()]): s.value for family in families for s in family.samples}


async def test_each_process_reports_only_its_own_metrics(cluster: Cluster) -> None:
    (pair,) = cluster.make_pairs()
    here, there = await asyncio.to_thread(start_together, cluster.server("daphne"), cluster.server("uvicorn"))
    async with connected(pair.student, here) as student, connected(pair.teacher, there) as teacher:
        await asyncio.sleep(1.3)  # the layer confirms no subscription
        await student.send_json({"message": "hello"})
        assert await student.receive_json()
        assert await teacher.receive_json()
        told = [await asyncio.to_thread(scraped_values, server) for server in (here, there)]
    for name, expected in {
        "qader_sockets conversation": [1, 1],
        "qader_messages_total": [1, 0],
        "qader_commit_seconds_count": [1, 0],
        "qader_delivery_seconds_count": [1, 1],
        "qader_layer_seconds_count": [0, 1],
        "qader_layer_up": [1, 1],
    }.items():
        assert [one[name] for one in told] == expected, name
    for one in told:
        assert 0 < one["process_open_fds"] < one["process_max_fds"]
        assert one["process_resident_memory_bytes"] > 2**20
        assert one["process_cpu_seconds_total"] > 0
        assert one["qader_database_pool_max"] == 20


async def test_a_scrape_is_answered_while_the_database_is_stopped(
    fragile_cluster: tuple[Cluster, servers.PostgreSQL, servers.Redis],
) -> None:
    cluster, postgresql, _ = fragile_cluster
    (pair,) = cluster.make_pairs()
    server = cluster.start()
    async with connected(pair.student, server) as student:
        postgresql.freeze()
        try:
            await student.send_json({"message": "nobody home", "client_id": "one"})
            assert (await student.receive_json())["code"] == "temporarily_unavailable"
            begin = time.monotonic()
            told = await asyncio.to_thread(scraped_values, server)
            assert time.monotonic() - begin < 2
        finally:
            postgresql.thaw()
    assert told["qader_database_errors_total writer gone"] >= 1
    assert told["qader_errors_told_total temporarily_unavailable socket"] == 1


@SERVERS
def test_metrics_with_a_token_need_the_token(lone_cluster: Cluster, kind: str) -> None:
    server = lone_cluster.start(kind, METRICS_TOKEN=TOKEN)
    assert scraped_values(server, Authorization=f"Bearer {TOKEN}")["qader_layer_up"] == 1
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert httpx.get(f"{server.url}/metrics", headers=headers, trust_env=False).status_code == 404


@SERVERS
def test_metrics_without_a_token_are_for_direct_local_requests(lone_cluster: Cluster, kind: str) -> None:
    server = lone_cluster.start(kind, TRUST_PROXY="1")
    assert scraped_values(server)["qader_layer_up"] == 1
    for headers in ({"X-Real-IP": "127.0.0.1"}, {"X-Forwarded-For": "127.0.0.1"}):
        assert httpx.get(f"{server.url}/metrics", headers=headers, trust_env=False).status_code == 404
