"""`make test`: pytest on SQLite and the in-memory layer, then on PostgreSQL and Redis, with `tests/e2e/` there.

Arguments go on to pytest. FAST=1 leaves `tests/e2e/` out. TEST_DATABASE_URL and TEST_REDIS_URL replace the servers
that are started here otherwise.
"""

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers import postgresql, redis

ROOT = Path(__file__).resolve().parent.parent
WITHOUT_E2E = ["--ignore=tests/e2e", "--deselect=tests/e2e/"]  # the second for files that ARGS names
# As in production, over plain HTTP: what only DEBUG hides must fail here.
SETTINGS = {"DEBUG": "0", "SECURE_SSL": "0", "ALLOWED_HOSTS": "localhost,127.0.0.1,testserver"}


def environment(database_url: str, redis_url: str) -> dict[str, str]:
    """The caller's environment with every setting of ours replaced, so that no shell changes what the tests see."""
    ours = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    theirs = {name: value for name, value in os.environ.items() if name not in ours}
    addresses = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    return theirs | SETTINGS | addresses | {"SECRET_KEY": secrets.token_urlsafe(50)}


def say(line: str) -> None:
    """Print at once: pytest's own lines follow."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run_pytest(title: str, arguments: list[str], database_url: str, redis_url: str) -> int:
    """Run it in a process of its own, print how long it took and return its exit code."""
    say(f"\n=== {title}")
    begin = time.monotonic()
    command = [sys.executable, "-m", "pytest", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(database_url, redis_url))
    try:
        code = process.wait()
    except KeyboardInterrupt:  # the terminal has told pytest too: let it clean up
        process.wait()
        raise
    except SystemExit:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise
    say(f"=== {title}: {time.monotonic() - begin:.1f} s, exit code {code}")
    return code


def run_both(arguments: list[str], fast: bool) -> list[int]:
    """Both runs, the second even if the first fails."""
    codes = [run_pytest("SQLite + in-memory", [*WITHOUT_E2E, *arguments], "", "")]
    with ExitStack() as stack:
        database_url = os.environ.get("TEST_DATABASE_URL") or stack.enter_context(postgresql()).url
        redis_url = os.environ.get("TEST_REDIS_URL") or stack.enter_context(redis()).url
        arguments = [*(WITHOUT_E2E if fast else []), *arguments]
        codes.append(run_pytest("PostgreSQL + Redis", arguments, database_url, redis_url))
    return codes


def exit_code(codes: list[int]) -> int:
    """0 if all passed. What ARGS selects may be nothing in one of the runs, but not in both."""
    if set(codes) <= {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED} and pytest.ExitCode.OK in codes:
        return 0
    return 1


def end(*_: object) -> None:
    """SIGTERM: leave by way of every `finally`."""
    sys.exit(143)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end)
    try:
        sys.exit(exit_code(run_both(sys.argv[1:], fast=os.environ.get("FAST", "") not in {"", "0"})))
    except KeyboardInterrupt:
        sys.exit(130)
