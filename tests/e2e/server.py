"""One server process, started as a user would, which tests can kill, freeze, stop and read the log of."""

import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import httpx
import psutil

from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
STOP_SECONDS = 20


def start_together(*servers: "WebServer") -> tuple["WebServer", ...]:
    """Start them all at once: most of the time a start takes is spent in imports."""
    with ThreadPoolExecutor() as threads:
        return tuple(threads.map(WebServer.start, servers))


def wait_until(condition: Callable[[], object], failure: str, seconds: float = 30) -> None:
    """Check again and again until this is true of other processes; if it never is, fail with these words."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, failure
        time.sleep(0.1)


class Reachable(Protocol):
    """What clients need to know of a server or of the proxy before it."""

    @property
    def url(self) -> str: ...

    @property
    def ws_url(self) -> str: ...

    @property
    def tls(self) -> ssl.SSLContext | None: ...


class Front(Reachable, Protocol):
    """A proxy: it has clients at chosen addresses of the loopback."""

    def client(self, address: str = ...) -> httpx.Client: ...


class WebServer:
    """`python -m qader.serve`, or another command that says "listens on http://...", in the given environment.

    It keeps its port over restarts. `log` is all that it wrote, its former lives included.
    """

    tls: ssl.SSLContext | None = None  # its clients speak in the clear; those of a proxy may not

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        server: str = "daphne",
        module: str = "qader.serve",
        command: list[str] | None = None,
    ) -> None:
        self.environment = dict(os.environ if environment is None else environment)
        self.command = command or [module, "--server", server]
        self._fixed_port = command is None
        self.port = 0
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process, "not started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        number = self._log.fileno()
        # Not read(): the process writes at the same position in the file.
        return os.pread(number, os.fstat(number).st_size, 0).decode(errors="replace")

    @property
    def failures(self) -> list[str]:
        """The lines that tell of what failed in it; a traceback in the raw is one too."""
        marks = ('"level": "ERROR"', '"level": "CRITICAL"', '"error": "', "Traceback")
        return [line for line in self.log.splitlines() if any(mark in line for mark in marks)]

    @property
    def megabytes(self) -> float:
        """The memory that the process holds."""
        return psutil.Process(self.pid).memory_info().rss / 2**20

    @property
    def processor_seconds(self) -> float:
        """The processor time that the process has used."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def launch(self) -> "WebServer":
        """Start it without waiting; for what is expected to fail, see `exit_code`."""
        port = ["--port", str(self.port)] if self._fixed_port else []
        command = [sys.executable, "-m", *self.command, *port]
        # A session of its own: Ctrl-C in the terminal must end the tests first.
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdout=self._log, stderr=self._log, start_new_session=True
        )
        return self

    def make(self) -> "WebServer":
        """Start it by `make serve`, without waiting."""
        server = self.command[-1]
        command = ["make", "serve", f"PORT={free_port()}", f"SERVER={server}"]
        settings = {name: value for name, value in self.environment.items() if not name.startswith("MAKE")}
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=settings, stdout=self._log, stderr=self._log, start_new_session=True
        )
        return self

    def start(self) -> "WebServer":
        """Start it and return when it listens."""
        before = len(self.log)
        self.launch().until_it_listens(before)
        return self

    def until_it_listens(self, before: int = 0) -> None:
        """Wait until it listens, by what it wrote behind this place of its log."""
        self.port = int(self.until_it_says(r"listens on http://\S*:(\d+)/", before)[1])

    def until_it_says(self, pattern: str, before: int = 0) -> re.Match[str]:
        """Wait for these words in its log, behind this place."""
        deadline = time.monotonic() + START_SECONDS
        while not (found := re.search(pattern, self.log[before:])):
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.log[before:]}"
            assert time.monotonic() < deadline, f"does not say {pattern}:\n{self.log[before:]}"
            time.sleep(0.02)
        return found

    def exit_code(self) -> int:
        """Wait for its end."""
        return self.process.wait(START_SECONDS)

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Tell it to end; return its exit code and the seconds that it took."""
        begin = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS), time.monotonic() - begin

    def kill(self) -> None:
        """End it as a failing machine would."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> "WebServer":
        """Start it again on its port, however it ended."""
        if self.process.poll() is None:
            self.terminate()
        return self.start()

    def stop(self) -> None:
        """Freeze it until `cont`: its connections stay open and nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Let it go on after `stop`."""
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it, in whatever state it is."""
        if self._process and self._process.poll() is None:
            self.cont()
            try:
                self.terminate()
            except subprocess.TimeoutExpired:
                self.kill()
        self._log.close()
