"""Installs, builds and serves the Next.js application in `examples/nextjs/`, or another one, in front of a backend."""

import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.server import WebServer
from tests.node import environment, installed, node, npm

logger = logging.getLogger(__name__)

APPLICATION = Path(__file__).resolve().parents[2] / "examples" / "nextjs"
BUILD_SECONDS = 120
START_SECONDS = 60
STOP_SECONDS = 10


def settings(backend: WebServer, **for_browsers: str) -> dict[str, str]:
    """Where the backend is: for the servers of Next.js, and in further variables for browsers."""
    return {**environment(), "CHAT_BACKEND_URL": backend.url, "NEXT_TELEMETRY_DISABLED": "1", **for_browsers}


def run(script: str, env: dict[str, str] | None = None) -> None:
    """Run a script of its package.json; fails with all that it printed."""
    code, said = tried(script, env)
    assert code == 0, f"npm run {script}\n{said}"


def tried(script: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a script of its package.json; return its exit code and all that it printed."""
    done = subprocess.run(
        [*npm(), "run", script],
        check=False,
        cwd=APPLICATION,
        env=env or environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_SECONDS,
    )
    return done.returncode, done.stdout


def prepare() -> None:
    """Install what its lock says."""
    installed(APPLICATION)


@contextmanager
def served(command: str, port: int, env: dict[str, str], application: Path = APPLICATION) -> Iterator[None]:
    """`next start`, after a `run("build", env)`, or `next dev`, meanwhile on this port of the loopback."""
    program = [
        node(),
        str(application / "node_modules/next/dist/bin/next"),
        command,
        "-H",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    with tempfile.TemporaryFile() as log:
        # A session of its own: Ctrl-C in the terminal must end the tests first.
        process = subprocess.Popen(program, cwd=application, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_until_ready(process, log.fileno())
            yield
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            logger.info("next %s:\n%s", command, _text(log.fileno()))


def _wait_until_ready(process: subprocess.Popen[bytes], log: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while "Ready in" not in (said := _text(log)):
        assert process.poll() is None, f"ended with {process.returncode}:\n{said}"
        assert time.monotonic() < deadline, f"is not ready:\n{said}"
        time.sleep(0.05)


def _text(log: int) -> str:
    """Not read(): the process writes at the same position in the file."""
    return os.pread(log, os.fstat(log).st_size, 0).decode(errors="replace")
