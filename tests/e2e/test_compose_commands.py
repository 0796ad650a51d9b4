"""The commands of docker-compose.yml run without Docker; only hosts, ports and PATH are changed."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import httpx
import psycopg
import pytest
from redis import Redis
from redis.exceptions import NoPermissionError, RedisError

from qader import settings
from tests.compose import ROOT, SECRETS, load_compose
from tests.e2e.caddy import proxy
from tests.e2e.chat_socket import ChatSocket
from tests.e2e.postgres_container import IN_POSTGRES, address, make_database, run_in_postgres, run_scripts
from tests.servers import free_port, postgresql, redis
from tests.websocket_client import HandshakeRefusedError

DEADLINE_SECONDS = 20
DEMO_PASSWORD = "qader-demo-2026"
# Without the caller's settings, as in a container.
HOST_ENVIRONMENT = {name: os.environ[name] for name in ("HOME", "TMPDIR", "LANG") if name in os.environ}
BIN = Path(sys.executable).parent


class Stack:
    """The compose file beside a PostgreSQL and a Redis of ours."""

    def __init__(self, database, cache):
        self.services = load_compose(SECRETS)["services"]
        self.database, self.cache = database, cache
        self.database_port, self.redis_port = database.port, cache.port

    def environment(self, service="web-1"):
        given = self.services[service]["environment"]
        here = {
            "DATABASE_URL": given["DATABASE_URL"].replace("@postgres:5432/", f"@127.0.0.1:{self.database_port}/"),
            "REDIS_URL": given["REDIS_URL"].replace("@redis:6379/", f"@127.0.0.1:{self.redis_port}/"),
        }
        assert all(here[name] != given[name] for name in here)
        return HOST_ENVIRONMENT | given | here | {"PATH": f"{BIN}:{os.environ['PATH']}"}

    def run(self, command, service="web-1"):
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment(service), check=False, timeout=60, capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr

    @contextmanager
    def web(self, **settings):
        """One process, with these settings from `.env`; yields its process and port."""
        port = free_port()
        command = [str(port) if word == "8000" else word for word in self.services["web-1"]["command"]]
        with running(command, env=self.environment() | settings) as process:
            wait_for(f"http://127.0.0.1:{port}/healthz", process)
            yield process, port


@contextmanager
def running(command, env):
    with subprocess.Popen(command, cwd=ROOT, env=env) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def wait_for(url, process, **options):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(url, **options).status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(f"{url} does not answer 200; exit code {process.poll()}")


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    config = load_compose(SECRETS)["configs"]["redis"]["content"]
    login = f"qader:{SECRETS['REDIS_PASSWORD']}@"
    with postgresql() as database, redis(config, login) as cache:
        make_database(database)
        run_scripts(database, tmp_path_factory.mktemp("new-volume"))
        yield Stack(database, cache)


def migrate(stack):
    code, output = stack.run(stack.services["migrate"]["command"], "migrate")
    assert code == 0, output
    return output


@pytest.fixture(scope="module")
def migrated(stack):
    migrate(stack)
    return stack


class Echo(BaseHTTPRequestHandler):
    """Answers with the headers that arrived."""

    posts: ClassVar[list[str]] = []  # their paths, of which each test has its own

    def do_GET(self):
        body = json.dumps(dict(self.headers.items())).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.posts.append(self.path)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "Transfer-Encoding" in self.headers:  # chunks, to their end: who answers before it is not cut off
            while size := int(self.rfile.readline() or b"0", 16):
                self.rfile.read(size + 2)
        self.do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def echo_port():
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_web_refuses_to_start_before_migrate_has_run(stack):
    with psycopg.connect(f"postgresql://postgres@127.0.0.1:{stack.database_port}/postgres", autocommit=True) as admin:
        admin.execute("CREATE DATABASE empty OWNER qader_web")
    environment = stack.environment()
    environment["DATABASE_URL"] = environment["DATABASE_URL"].removesuffix("/qader") + "/empty"
    command = [str(free_port()) if word == "8000" else word for word in stack.services["web-1"]["command"]]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, timeout=30, capture_output=True, text=True)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "migrat" in done.stderr


def test_migrate_can_run_again(migrated):
    assert "No migrations to apply" in migrate(migrated)


def as_web(stack):
    return psycopg.connect(address(stack.database, "qader_web"), autocommit=True)


REFUSED = {
    "a table is changed": "ALTER TABLE chat_message ADD COLUMN extra text",
    "a table is dropped": "DROP TABLE chat_message",
    "a table is emptied without a trace": "TRUNCATE chat_message CASCADE",
    "a table is made": "CREATE TABLE ours (id int)",
    "a temporary table is made": "CREATE TEMPORARY TABLE ours (id int)",
    "a trigger is switched off": "ALTER TABLE chat_message DISABLE TRIGGER ALL",
    "constraints are switched off": "SET session_replication_role = replica",
    "the owner's part is played": "SET ROLE qader_owner",
    "the superuser's part is played": "SET ROLE qader",
    "a role is made": "CREATE ROLE ours SUPERUSER",
    "a database is made": "CREATE DATABASE ours",
    "a file is read": "SELECT pg_read_file('/etc/passwd')",
    "a program is run": "COPY chat_message TO PROGRAM 'cat'",
    "passwords are read": "SELECT rolpassword FROM pg_authid",
    "a record of who looked is changed": "UPDATE chat_auditentry SET detail = ''",
    "a record of who looked is deleted": "DELETE FROM chat_auditentry",
    "records may be changed": "ALTER TABLE chat_auditentry DISABLE TRIGGER chat_auditentry_append_only",
    "ids are set back": "SELECT setval('chat_message_id_seq', 1)",
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_web_role_cannot_more_than_read_and_write_rows(migrated, what):
    with as_web(migrated) as web, pytest.raises(psycopg.errors.InsufficientPrivilege):
        web.execute(REFUSED[what])


def test_the_web_role_reads_and_adds_records_of_who_looked(migrated):
    with as_web(migrated) as web:
        web.execute("INSERT INTO chat_auditentry (action) VALUES ('opened')")
        assert web.execute("SELECT count(*) > 0 FROM chat_auditentry").fetchone() == (True,)


def test_the_roles_have_passwords(migrated):
    with psycopg.connect(migrated.database.url) as admin:
        stored = admin.execute("SELECT rolname, rolpassword FROM pg_authid WHERE rolname LIKE 'qader\\_%'").fetchall()
    assert {name for name, password in stored if password.startswith("SCRAM-SHA-256$")} == {"qader_owner", "qader_web"}


def test_redis_serves_only_who_has_the_password_and_only_what_the_chat_needs(stack):
    url = f"redis://127.0.0.1:{stack.redis_port}/0"
    for login in ("", "qader:wrong@", "default:@"):
        with Redis.from_url(url.replace("//", f"//{login}")) as client, pytest.raises(RedisError):
            client.ping()
    with Redis.from_url(url.replace("//", f"//qader:{SECRETS['REDIS_PASSWORD']}@")) as client:
        assert client.ping()
        assert client.set("qader:key", "value")
        for command in (
            "FLUSHALL",
            "CONFIG GET *",
            "KEYS *",
            "MONITOR",
            "SHUTDOWN",
            "ACL LIST",
            "GET other",
            "CLIENT LIST",
        ):
            with pytest.raises(NoPermissionError):
                client.execute_command(*command.split())
        with pytest.raises(NoPermissionError):
            client.publish("other", "text")


OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
OLDER_VOLUME = OPERATIONS.split("### An older volume")[1].split("```sh\n")[1].split("```")[0].splitlines()


def test_the_roles_come_to_an_older_volume_by_the_documented_command(stack, tmp_path):
    """Everything belongs to the superuser, as whom the application came; the chat goes on under its new roles."""
    with postgresql() as database:
        make_database(database)
        older = Stack(database, stack.cache)
        environment = older.environment("migrate") | {"DATABASE_URL": address(database, "qader")}
        command = older.services["migrate"]["command"]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=60, capture_output=True)
        with psycopg.connect(address(database, "qader"), autocommit=True) as superuser:
            superuser.execute("CREATE FUNCTION of_later() RETURNS int LANGUAGE SQL AS 'SELECT 1'")
        typed = [line.removeprefix(IN_POSTGRES) for line in OLDER_VOLUME if line.startswith(IN_POSTGRES)]
        assert len(typed) == 1
        for _ in range(2):  # it may be repeated
            run_in_postgres(database, typed[0], tmp_path)
        migrate(older)
        assert older.run(["python", "manage.py", "seed_demo", "--force"])[0] == 0
        with psycopg.connect(address(database, "qader_owner"), autocommit=True) as owner:
            owner.execute("ALTER TABLE chat_message ADD COLUMN extra text")
            owner.execute("CREATE TABLE chat_later (id bigserial)")
            owner.execute("DROP FUNCTION of_later()")
        with as_web(older) as web:
            assert web.execute("INSERT INTO chat_later DEFAULT VALUES RETURNING id").fetchone() == (1,)
            for statement in ("DROP TABLE chat_message", "DELETE FROM chat_auditentry"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    web.execute(statement)


def test_two_processes_are_alive_ready_and_healthy_and_stop_in_time(migrated):
    grace = int(migrated.services["web-1"]["stop_grace_period"].removesuffix("s"))
    with ExitStack() as stack:
        processes = [stack.enter_context(migrated.web()) for _ in range(2)]
        for _, port in processes:
            assert httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
            check = [word.replace(":8000/", f":{port}/") for word in migrated.services["web-1"]["healthcheck"]["test"]]
            assert check[0] == "CMD"
            code, output = migrated.run(check[1:])
            assert code == 0, output
        for process, _ in processes:
            process.terminate()
        assert [process.wait(timeout=grace) for process, _ in processes] == [0, 0]


def test_the_health_check_fails_where_nobody_listens(migrated):
    check = [word.replace(":8000/", f":{free_port()}/") for word in migrated.services["web-1"]["healthcheck"]["test"]]
    assert migrated.run(check[1:])[0] == 1


def test_the_proxy_overwrites_what_clients_claim_about_themselves(echo_port, tmp_path):
    claims = {"X-Real-IP": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}
    claims["X-Request-ID"] = "claimed"
    with proxy(echo_port, folder=tmp_path) as caddy:
        address = caddy.url
        seen = {name.lower(): value for name, value in httpx.get(address, headers=claims).json().items()}
    assert seen["x-real-ip"] in {"127.0.0.1", "::1"}
    assert seen["x-forwarded-proto"] == "http"
    assert re.fullmatch(r"[0-9a-f-]{36}", seen["x-request-id"])
    assert "203.0.113.9" not in seen.values()
    assert seen["host"] == address.removeprefix("http://")


def test_a_body_over_the_limit_never_reaches_a_process(echo_port, tmp_path):
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    with proxy(echo_port, folder=tmp_path) as caddy:
        assert httpx.post(f"{caddy.url}/just-right", content=b" " * limit).status_code == 200
        assert httpx.post(f"{caddy.url}/too-large", content=b" " * (limit + 1)).status_code == 413
        assert ("/just-right" in Echo.posts, "/too-large" in Echo.posts) == (True, False)
        unannounced = iter([b" " * limit, b" "])
        assert httpx.post(caddy.url, content=unannounced).status_code == 413


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/METRICS", "//metrics", "/%6Detrics", "/x/../metrics"])
def test_nobody_reads_metrics_through_the_proxy_with_a_token_or_without(migrated, tmp_path, path):
    token = "a-token-of-many-characters"
    with migrated.web(METRICS_TOKEN=token) as (_, port), proxy(port, folder=tmp_path) as caddy:
        direct = httpx.get(f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {token}"})
        assert (direct.status_code, "qader_messages_total" in direct.text) == (200, True)
        for headers in ({}, {"Authorization": f"Bearer {token}"}):
            seen = raw_get(caddy.url, path, headers)
            assert seen.startswith("HTTP/1.1 404 "), seen
            assert "qader_" not in seen


def raw_get(address, path, headers):
    """Ask for a path as it is written, which clients would tidy up; return all of the answer."""
    host = address.removeprefix("http://")
    with socket.create_connection((host.split(":")[0], int(host.split(":")[1])), timeout=10) as connection:
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


async def test_a_student_chats_through_the_proxy(migrated, tmp_path):
    code, output = migrated.run(["python", "manage.py", "seed_demo", "--force"])
    assert code == 0, output
    with migrated.web() as (_, port), proxy(port, folder=tmp_path) as caddy:
        address = caddy.url
        http = httpx.AsyncClient(base_url=address)
        token = (await http.get("/api/v1/auth/csrf/")).json()["csrfToken"]
        login = {"username": "student1", "password": DEMO_PASSWORD}
        headers = {"X-CSRFToken": token, "Origin": address}
        answer = await http.post("/api/v1/auth/login/", json=login, headers=headers)
        assert answer.status_code == 200, answer.text
        socket_address = address.replace("http://", "ws://") + "/ws/chat/my-conversation/"
        origin = {"Origin": address}
        cookie = {"Cookie": f"sessionid={http.cookies['sessionid']}"}
        async with ChatSocket(socket_address, headers=origin | cookie) as socket:
            assert (await socket.receive_json())["type"] == "connection_established"
            await socket.send_json({"message": "through the proxy"})
            frame = await socket.receive_json()
            assert (frame["type"], frame["message"]["content"]) == ("new_message", "through the proxy")
        with pytest.raises(HandshakeRefusedError) as refused:
            await ChatSocket(socket_address, headers=origin).connect()
        await http.aclose()
        assert refused.value.status == 403
