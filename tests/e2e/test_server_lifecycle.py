"""Start and stop of the real server: errors in one line, and no acknowledged message is lost at SIGTERM."""

import asyncio
import json
import re
import signal
import socket
import time
from contextlib import AsyncExitStack

import httpx
import pytest

from tests.e2e.chat_socket import ChatSocket
from tests.e2e.cluster import Cluster
from tests.servers import PostgreSQL, Redis
from tests.websocket_client import SocketClosedError

SERVERS = pytest.mark.parametrize("kind", ["daphne", "uvicorn"])


@SERVERS
def test_the_server_listens_at_the_logged_address(cluster: Cluster, kind: str) -> None:
    server = cluster.start(kind)
    assert server.log == f"Qader listens on http://127.0.0.1:{server.port}/ ({kind})\n"
    assert httpx.get(f"{server.url}/healthz", trust_env=False).status_code == 200


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"SECRET_KEY": ""}, "qader: SECRET_KEY is required when DEBUG=0: a random text of at least 50 characters."),
        ({"SECRET_KEY": "short"}, "qader: SECRET_KEY is too short: take a random text of at least 50 characters."),
        ({"ALLOWED_HOSTS": "*"}, 'qader: ALLOWED_HOSTS must name the hosts when DEBUG=0, not "*".'),
        ({"ALLOWED_HOSTS": ""}, "qader: ALLOWED_HOSTS is empty: every request would be refused. (qader.E001)"),
        (
            {"CSRF_TRUSTED_ORIGINS": "https://qader.vip"},
            "qader: The host of https://qader.vip in CSRF_TRUSTED_ORIGINS must be in ALLOWED_HOSTS, too. (qader.E002)",
        ),
        ({"CHAT_RATE_LIMT": "5/s"}, "qader: CHAT_RATE_LIMT is no setting; CHAT_RATE_LIMIT is one."),
        (
            {"TRUST_PROXY": "perhaps"},
            'qader: TRUST_PROXY must be the number of proxies in a row, such as 0, 1 or 2, not "perhaps".',
        ),
        (
            {"CHAT_RATE_LIMIT": "many"},
            'qader: CHAT_RATE_LIMIT must look like "5/s", "300/m burst 20" or "0", not "many".',
        ),
        ({"DATABASE_URL": "mysql://nowhere/x"}, "qader: DATABASE_URL must be a postgresql:// or a sqlite:// address."),
        (
            {"DATABASE_URL": "postgresql://somebody:the-password@127.0.0.1:1/x", "START_WAIT_SECONDS": "0"},
            "qader: the database does not answer: ",
        ),
        (
            {"DATABASE_URL": "sqlite:////nowhere/x.sqlite3", "START_WAIT_SECONDS": "0"},
            "qader: the database does not answer: ",
        ),
        ({"STOP_NOTICE_SECONDS": "3"}, "qader: STOP_NOTICE_SECONDS must be between 0 and 2.5, not 3."),
        ({"START_WAIT_SECONDS": "-1"}, "qader: START_WAIT_SECONDS must be at least 0, not -1."),
    ],
)
def test_a_bad_setting_stops_it_with_one_line(lone_cluster: Cluster, environment: dict[str, str], line: str) -> None:
    server = lone_cluster.server(**environment).launch()
    assert server.exit_code() == 1
    assert server.log.startswith(line)
    assert server.log.count("\n") == 1
    assert "the-password" not in server.log


def test_missing_migrations_stop_it_with_one_line(lone_cluster: Cluster) -> None:
    lone_cluster.run("manage.py", "migrate", "--verbosity", "0", "chat", "0001")
    server = lone_cluster.server().launch()
    assert server.exit_code() == 1
    line = r"qader: \d+ migrations are missing in the database: run manage.py migrate first.\n"
    assert re.fullmatch(line, server.log)


@SERVERS
def test_a_taken_port_stops_it_with_one_line(lone_cluster: Cluster, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = lone_cluster.server(kind)
        server.port = taken.getsockname()[1]
        assert server.launch().exit_code() == 1
    assert server.log == f"qader: cannot listen on 127.0.0.1 port {server.port}: Address already in use.\n"


def test_a_second_process_without_redis_is_refused(lone_cluster: Cluster) -> None:
    first = lone_cluster.start()
    second = lone_cluster.server("uvicorn").launch()
    assert second.exit_code() == 1
    assert second.log == (
        "qader: another server process uses this database; two processes need REDIS_URL to exchange events.\n"
    )
    first.kill()
    assert second.start().process.poll() is None  # the lock went with its owner


def test_a_second_process_with_redis_starts(cluster: Cluster) -> None:
    cluster.start()
    cluster.start()


@SERVERS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_sigterm_closes_sockets_with_1012(cluster: Cluster, kind: str, number: signal.Signals) -> None:
    (pair,) = cluster.make_pairs()
    server = cluster.start(kind, LOG_LEVEL="WARNING")
    async with pair.student.socket(server) as student, pair.teacher.socket(server) as teacher:
        for one in (student, teacher):
            assert json.loads(await one.recv())["type"] == "connection_established"
        code, seconds = await asyncio.to_thread(server.terminate, number)
        for one in (student, teacher):
            with pytest.raises(SocketClosedError):
                await one.recv()
            assert one.close_code == 1012
    assert (code, server.log.count("\n")) == (0, 1), server.log
    assert seconds < 5


@SERVERS
async def test_messages_acknowledged_before_sigterm_are_stored(cluster: Cluster, kind: str) -> None:
    pairs = cluster.make_pairs(5)
    server = cluster.start(kind, CHAT_RATE_LIMIT="0")
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(pair.student.socket(server)) for pair in pairs]
        talks = [asyncio.create_task(talk(one)) for one in sockets]
        await asyncio.sleep(1)
        code, _ = await asyncio.to_thread(server.terminate)
        acknowledged = await asyncio.gather(*talks)
        assert {one.close_code for one in sockets} == {1012}
    assert code == 0
    assert server.failures == []
    server.restart()
    for pair, contents in zip(pairs, acknowledged, strict=True):
        async with pair.student.http(server) as http:
            answer = await http.get("chat/my-conversation/messages/?limit=200")
        stored = [message["content"] for message in answer.json()["results"]]
        assert len(contents) > 3
        assert stored[: len(contents)] == contents
        assert len(stored) <= len(contents) + 1  # the last one's acknowledgement may have been cut off


async def talk(one: ChatSocket) -> list[str]:
    """Send one message after the other until the end; return what was acknowledged."""
    acknowledged: list[str] = []
    try:
        await one.recv()
        for number in range(150):
            await one.send(json.dumps({"message": f"number {number}"}))
            acknowledged.append(json.loads(await one.recv())["message"]["content"])
            await asyncio.sleep(0.01)
        await one.recv()
    except SocketClosedError:
        pass
    return acknowledged


@pytest.mark.slow
@SERVERS
async def test_sigterm_works_in_time_while_the_database_hangs(
    fragile_cluster: tuple[Cluster, PostgreSQL, Redis], kind: str
) -> None:
    cluster, postgresql, _ = fragile_cluster
    (pair,) = cluster.make_pairs()
    server = cluster.start(kind, STOP_NOTICE_SECONDS="1.5")
    async with pair.student.socket(server) as student:
        await student.recv()
        postgresql.freeze()
        await student.send(json.dumps({"message": "into the void"}))
        await asyncio.sleep(0.3)
        code, seconds = await asyncio.to_thread(server.terminate)
        postgresql.thaw()
        with pytest.raises(SocketClosedError):
            await student.recv()
        assert student.close_code == 1012
    assert code == 0
    assert seconds < 10


def test_clients_notice_a_frozen_server(cluster: Cluster) -> None:
    """The helper itself: `stop` and `cont`."""
    server = cluster.start()
    server.stop()
    with pytest.raises(httpx.TimeoutException):
        httpx.get(f"{server.url}/healthz", timeout=0.5, trust_env=False)
    server.cont()
    begin = time.monotonic()
    assert httpx.get(f"{server.url}/healthz", timeout=5, trust_env=False).status_code == 200
    assert time.monotonic() - begin < 2
