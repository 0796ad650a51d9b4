"""`make test`: the tests in lanes, then those that need the machine to themselves.

One lane runs everything but `tests/e2e/` on SQLite and the in-memory layer. Beside it one runs what touches a database
on PostgreSQL and Redis. After them `tests/e2e/` runs there. Each worker has a database and a Redis of its own.

Arguments go on to pytest. FAST=1 runs the first lane alone. SLOW=1 adds a lane with the tests that keep a processor
busy for many seconds, on PostgreSQL and Redis. TEST_DATABASE_URL and TEST_REDIS_URL replace the servers
that are started here otherwise; then the lanes run one after the other, with one worker each.
"""

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.servers import postgresql, redis

ROOT = Path(__file__).resolve().parent.parent
WITHOUT_E2E = ["--ignore=tests/e2e", "--deselect=tests/e2e/"]  # the second for files that ARGS names
STOP_SECONDS = 60  # for cleaning up after an interrupt
# More than processors: most tests wait, for processes, time-outs and the loop's next round.
FAST_WORKERS, DATABASE_WORKERS, E2E_WORKERS, SLOW_WORKERS = 4, 3, 5, 3
FAILURE = re.compile(r"^(?:FAILED|ERROR) .*", re.MULTILINE)  # of pytest's short summary
OTHERS = "not slow and not quiet and not proof"
# As in production, over plain HTTP: what only DEBUG hides must fail here.
SETTINGS = {"DEBUG": "0", "SECURE_SSL": "0", "ALLOWED_HOSTS": "localhost,127.0.0.1,testserver"}


def environment(database_url: str, redis_url: str) -> dict[str, str]:
    """Return the caller's environment with every setting of ours replaced: no shell changes what the tests see."""
    ours = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    theirs = {name: value for name, value in os.environ.items() if name not in ours}
    addresses = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    # Hundreds of server processes are started: each compiles our modules anew where bytecode is not kept.
    keep = {"PYTHONDONTWRITEBYTECODE": "", "SECRET_KEY": secrets.token_urlsafe(50)}
    return theirs | SETTINGS | addresses | keep


def say(line: str) -> None:
    """Print at once: the output of pytest follows."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@dataclass
class Lane:
    """One run of pytest; `redis_urls` are as many as it has workers, or none."""

    title: str
    arguments: Sequence[str]
    database_url: str = ""
    redis_urls: Sequence[str] = ()
    workers: int = 1
    summary: Sequence[str] = ()  # once it has ended: how, and what failed

    def start(self) -> None:
        """Start it; its output is kept until it has ended."""
        self._began = time.monotonic()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        settings = environment(self.database_url, self.redis_urls[0] if self.redis_urls else "")
        settings |= {"PYTEST_PLUGINS": "tests.worker", "TEST_REDIS_URLS": ",".join(self.redis_urls)}
        command = [sys.executable, "-m", "pytest", *self.arguments]
        if self.workers > 1:
            command += ["--numprocesses", str(self.workers), "--dist", "loadfile"]
        # A session of its own: an interrupt of the terminal reaches it by us, once.
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=settings, stdout=self._output, stderr=subprocess.STDOUT, start_new_session=True
        )

    def finish(self) -> int:
        """Wait for its end, print what it said, and return pytest's exit code."""
        code = self._process.wait()
        self._output.seek(0)
        said = self._output.read().decode(errors="replace").rstrip()
        ending = f"=== {self.title}: {time.monotonic() - self._began:.1f} s, exit code {code}"
        self.summary = [ending, *FAILURE.findall(said)]
        say(f"\n=== {self.title}\n{said}\n{ending}")
        return code

    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return hasattr(self, "_process") and self._process.poll() is None

    def stop(self) -> None:
        """Interrupt it, so that it cleans up."""
        if self.is_running():
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)


def run(lanes: Sequence[Lane]) -> list[int]:
    """Run the lanes side by side and return their exit codes; each is printed when it has ended."""
    try:
        for lane in lanes:
            lane.start()
        waiting, codes = list(lanes), []
        while waiting:
            ended = [lane for lane in waiting if not lane.is_running()]
            codes += [lane.finish() for lane in ended]
            waiting = [lane for lane in waiting if lane not in ended]
            time.sleep(0.1)
        return codes
    finally:
        for lane in lanes:
            lane.stop()


def run_all(arguments: list[str], fast: bool, slow: bool) -> list[int]:
    """Run the lanes, and then, alone, what is marked `quiet`."""
    sqlite = Lane("SQLite + in-memory", [*WITHOUT_E2E, "-m", OTHERS, *arguments], workers=DATABASE_WORKERS)
    if fast:
        return run([replace(sqlite, workers=FAST_WORKERS)])
    database, cache = os.environ.get("TEST_DATABASE_URL"), os.environ.get("TEST_REDIS_URL")
    is_shared = bool(database or cache)
    with ExitStack() as stack:

        def lane(title: str, own: Sequence[str], workers: int = 1) -> Lane:
            workers = 1 if is_shared else workers
            url = database or stack.enter_context(postgresql()).url
            redis_urls = [cache or stack.enter_context(redis()).url for _ in range(workers)]
            return Lane(title, [*own, *arguments], url, redis_urls, workers)

        on_postgresql = lane("PostgreSQL + Redis", [*WITHOUT_E2E, "-m", OTHERS, "--databases-only"], DATABASE_WORKERS)
        end_to_end = lane("end to end", ["-m", OTHERS, "--e2e-only"], E2E_WORKERS)
        last = [lane("alone", ["-m", "quiet and not proof"])]
        if slow:
            last.insert(0, lane("slow", ["-m", "slow and not quiet and not proof"], SLOW_WORKERS))
        together = [[sqlite], [on_postgresql]] if is_shared else [[sqlite, on_postgresql]]
        steps = [*together, [end_to_end], *([one] for one in last)]
        codes = [code for lanes in steps for code in run(lanes)]
    # What failed in an early lane is pages above: all of it again, last.
    for finished in [sqlite, on_postgresql, end_to_end, *last]:
        say("\n".join(finished.summary))
    return codes


def exit_code(codes: list[int]) -> int:
    """Return 0 if all passed. What ARGS selects may be nothing in some of the runs, but not in all."""
    if set(codes) <= {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED} and pytest.ExitCode.OK in codes:
        return 0
    return 1


def end(*_: object) -> None:
    """SIGTERM: leave by way of every `finally`."""
    sys.exit(143)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end)
    try:
        fast, slow = (os.environ.get(name, "") not in {"", "0"} for name in ("FAST", "SLOW"))
        sys.exit(exit_code(run_all(sys.argv[1:], fast, slow)))
    except KeyboardInterrupt:
        sys.exit(130)
