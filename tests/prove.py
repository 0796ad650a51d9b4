"""`make prove`: the proofs of the promises, each by itself, with its seed, its counts and its time.

All but the last three run in `make test SLOW=1` too; here they are grouped by what they prove. SEED= repeats a run as
well as timing allows, and SECONDS= says how long the last one takes.
"""

import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.__main__ import ROOT, environment, say
from tests.servers import postgresql, redis

E2E = "tests/e2e/test_"
CONCURRENCY = f"{E2E}concurrency.py::test_"
PROOFS: Sequence[tuple[str, Sequence[str]]] = [
    ("processes killed under twenty pairs", [f"{E2E}kills.py"]),
    (
        "Redis and PostgreSQL killed, stopped, cut",
        [f"{E2E}faults.py", f"{E2E}stopped_database.py", f"{E2E}fail_over.py"],
    ),
    ("a layer that drops, repeats and reorders", ["tests/test_healing.py", "tests/test_conversation_feed.py"]),
    ("1,000 connects while the other side sends", [f"{CONCURRENCY}connecting_while"]),
    (
        "50 sends with one client_id",
        [f"{CONCURRENCY}fifty_sends", f"{CONCURRENCY}nobody_is_told", f"{CONCURRENCY}posts_at_once"],
    ),
    ("2,000 sends into one conversation", [f"{CONCURRENCY}two_thousand"]),
    ("readers that do not read, floods", [f"{E2E}slow_reader.py", f"{E2E}server_back_pressure.py"]),
    ("the mentor changes while all write", [f"{E2E}reassignment.py"]),
    ("who may see what", ["tests/test_access_matrix.py", f"{E2E}access_sockets.py"]),
    (
        "sessions and places that end",
        ["tests/test_signals.py", f"{E2E}sessions_across_processes.py", f"{E2E}sessions_without_layer.py"],
    ),
    ("a person erased while they write", ["tests/test_erasure.py", f"{E2E}erasure.py"]),
    ("every kind of frame", [f"{E2E}fuzz.py", "tests/test_socket_frames.py"]),
    ("old state and events equal a fresh fetch", [f"{E2E}convergence.py", f"{E2E}inbox.py"]),
    ("notices: killed at every step, three at once", [f"{E2E}notices.py"]),
    ("hostile clients", [f"{E2E}hostile_clients.py"]),
    ("docs/frontend.md leads to a chat in 5 minutes", [f"{E2E}fresh_application.py"]),
    ("everything fails at random and at once", [f"{E2E}nemesis.py"]),
]


def prove(tests: Sequence[str], seed: int, database_url: str, redis_url: str) -> tuple[bool, str]:
    """Run these tests; return whether all passed, and pytest's own count or, where one failed, its whole output."""
    files = [test.partition("::")[0] for test in tests]
    names = [test.partition("::test_")[2] for test in tests if "::" in test]
    command = [sys.executable, "-m", "pytest", "-q", f"--randomly-seed={seed}"]
    if names:
        command += ["-k", " or ".join(names)]
    settings = environment(database_url, redis_url) | {"PYTHONHASHSEED": str(seed)}
    done = subprocess.run(
        [*command, *dict.fromkeys(files)], cwd=ROOT, env=settings, check=False, capture_output=True, text=True
    )
    counts = re.findall(r"^(?:=+ )?(\d+ .*?) in [\d.]+s", done.stdout, re.MULTILINE)
    return done.returncode == 0, counts[-1] if done.returncode == 0 and counts else done.stdout + done.stderr


def main() -> int:
    """Run all proofs and print a line for each; 1 where one failed."""
    seed = int(os.environ.get("SEED") or secrets.randbelow(2**31))
    failed = 0
    begin = time.monotonic()
    for number, (title, tests) in enumerate(PROOFS, 1):
        with postgresql() as database, redis() as cache:
            start = time.monotonic()
            passed, told = prove(tests, seed, database.url, cache.url)
        seconds = time.monotonic() - start
        failed += not passed
        line = f"{number:2}  {title:44} {'held' if passed else 'BROKEN':6} {seconds:6.1f} s  seed {seed}  "
        say(line + (told if passed else f"\n{told}"))
    say(f"{len(PROOFS) - failed} passed, {failed} failed")
    say(f"{time.monotonic() - begin:.0f} s in all")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
