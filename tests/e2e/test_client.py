"""The JavaScript client: its own tests run in Node against real servers."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.server import ROOT
from tests.node import JS, environment, installed, node

CLIENT = ROOT / "chat" / "static" / "chat" / "client.js"
# Compressed, with its comments, without which it is 2 kB less: each page with a chat loads it first. It is one file so
# that it can be copied; a third of it is for networks without WebSockets and for texts that are not sent yet.
MAX_BYTES = 14_500
PAIRS = 30
FILE_SECONDS = 280  # on a machine that is busy with other things, too; 50 otherwise
TEST_SECONDS = 100
SLOW = {"faults.test", "ends.test"}  # they end and start servers
FILES = [
    pytest.param(file, marks=pytest.mark.slow if file.stem in SLOW else ()) for file in sorted(JS.glob("*.test.js"))
]


def test_the_client_stays_small() -> None:
    assert len(gzip.compress(CLIENT.read_bytes())) <= MAX_BYTES


@pytest.mark.timeout(FILE_SECONDS + 20)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_clients_own_tests_pass_in_node(file: Path, cluster: Cluster) -> None:
    installed()
    pairs = json.loads(cluster.run("-m", "tests.e2e.seed", str(PAIRS)))
    given = {"python": sys.executable, "root": str(ROOT), "environment": cluster.environment, "pairs": pairs}
    done = subprocess.run(
        [node(), "--test", "--test-reporter=spec", f"--test-timeout={TEST_SECONDS * 1000}", file],
        check=False,
        env=environment() | {"QADER_TEST": json.dumps(given)},
        capture_output=True,
        text=True,
        timeout=FILE_SECONDS,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
