"""Server processes on a database of their own, and the people who use them."""

import json
import os
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import psycopg

from tests.e2e.server import ROOT, Reachable, WebServer
from tests.servers import Redis

if TYPE_CHECKING:
    from tests.e2e.chat_socket import ChatSocket

CSRF = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Person:
    """Somebody who is signed in; `path` leads to their conversation."""

    user_id: int
    username: str
    session_key: str
    path: str

    @property
    def cookie(self) -> str:
        return f"sessionid={self.session_key}; csrftoken={CSRF}"

    def socket(self, server: Reachable, query: str = "", *, path: str | None = None, **options: Any) -> "ChatSocket":
        """`async with person.socket(server) as socket`; `options` are those of `WebSocket`."""
        from tests.e2e.chat_socket import ChatSocket  # here: it needs Django, which the benchmark has not set up

        url = f"{server.ws_url}/ws/chat/{path or self.path}{query}"
        headers = {"Cookie": self.cookie, "Origin": server.url}
        return ChatSocket(url, headers=headers, tls=server.tls, **options)

    def http(self, server: Reachable) -> httpx.AsyncClient:
        """`async with person.http(server) as http`; paths are relative to `/api/v1/`."""
        from tests.e2e.checked_http import Http

        headers = {"Cookie": self.cookie, "X-CSRFToken": CSRF, "Origin": server.url}
        return Http(base_url=f"{server.url}/api/v1/", headers=headers, timeout=20, trust_env=False)


@dataclass(frozen=True)
class Pair:
    """A student and their mentor, who are in no other conversation."""

    student: Person
    teacher: Person
    conversation_id: int


@dataclass(frozen=True)
class PageData:
    """What tests.e2e.page_data made: people by their part, and the ids of conversations."""

    people: dict[str, Person]
    ids: dict[str, int]  # of the busy mentor's, by the student's name
    closed: int
    history: int


class Cluster:
    """Any number of server processes on one database and, where they are several, one Redis.

    All that differs from a production's settings is given here: the key, the hosts, plain HTTP, and no notice before
    the end, since there is no proxy that would have to take it.
    """

    def __init__(self, database_url: str, redis: Redis | None) -> None:
        self.database_url, self.redis = database_url, redis
        self.servers: list[WebServer] = []
        self.environment = os.environ | {
            "DEBUG": "0",
            "SECURE_SSL": "0",
            "ALLOWED_HOSTS": "localhost,127.0.0.1",
            "CSRF_TRUSTED_ORIGINS": "",
            "SECRET_KEY": secrets.token_urlsafe(50),
            "DATABASE_URL": database_url,
            "REDIS_URL": redis.url if redis else "",
            "STOP_NOTICE_SECONDS": "0",
            # One person connects and reads as often as hundreds would.
            "CHAT_CONNECT_LIMIT": "1000/s",
            "CHAT_READ_LIMIT": "1000/s",
        }

    def server(self, kind: str = "daphne", *, module: str = "qader.serve", **settings: str) -> WebServer:
        """One more server process, not yet started; `settings` are environment variables."""
        server = WebServer(self.environment | settings, server=kind, module=module)
        self.servers.append(server)
        return server

    def start(self, kind: str = "daphne", **settings: str) -> WebServer:
        """One more server process that listens."""
        return self.server(kind, **settings).start()

    def run(self, *arguments: str) -> str:
        """Run a Python module or `manage.py ...` on the cluster's database; return what it printed."""
        return run(self.environment, *arguments)

    def make_pairs(self, pairs: int = 1) -> list[Pair]:
        """New pairs, each of a student and a mentor of their own, signed in."""
        made = json.loads(self.run("-m", "tests.e2e.seed", str(pairs)))
        return [Pair(Person(**pair["student"]), Person(**pair["teacher"]), pair["conversation_id"]) for pair in made]

    def close(self) -> None:
        for server in self.servers:
            server.close()


def run(environment: dict[str, str], *arguments: str) -> str:
    """Run Python with these arguments; fails with all that it printed."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}{done.stderr}"
    return done.stdout


class Databases:
    """Migrated, empty databases: copies of one template, beside the database that the tests were given."""

    def __init__(self, database_url: str, directory: Path) -> None:
        self._url, self._directory = database_url, directory
        self._made: list[str] = []
        self._template = self._create(None)
        run(os.environ | {"DATABASE_URL": self._template}, "manage.py", "migrate", "--verbosity", "0")

    def create(self) -> str:
        """The address of a new one."""
        return self._create(self._template)

    def _create(self, template: str | None) -> str:
        name = f"e2e_{secrets.token_hex(4)}"
        if not self._url.startswith("postgres"):
            path = self._directory / f"{name}.sqlite3"
            if template:
                shutil.copy(template.removeprefix("sqlite:///"), path)
            return f"sqlite:///{path}"
        of_template = f" TEMPLATE {urlsplit(template).path[1:]}" if template else ""
        self._execute(f"CREATE DATABASE {name}{of_template}")
        self._made.append(name)
        return urlsplit(self._url)._replace(path=f"/{name}").geturl()

    def close(self) -> None:
        """Drop them all."""
        for name in self._made:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(statement.encode())
