"""`python -m bench.scale`: the arithmetic, and a table for each size."""

import subprocess
import sys
from dataclasses import astuple

import pytest

from bench.scale import Costs, Need, need
from tests.__main__ import ROOT

COSTS = Costs(
    message_ms=0.1,
    message_apart_ms=0.3,
    connect_ms=30,
    idle_ms=6,
    idle_kb=50,
    process_mb=100,
    database_ms=0.1,
    redis_ms=0.01,
    online=0.5,
    messages=36,
    process_sockets=1000,
    restart_seconds=10,
)


@pytest.mark.parametrize(
    "expected",
    [
        Need(1000, 500, 5, 1, 0.0505, 0.1215, 0.0005, 0.00005, 15.798),
        Need(4000, 2000, 20, 2, 0.204, 0.2907, 0.002, 0.0002, 16.704),  # half of the pairs are apart
        Need(0, 0, 0, 1, 0, 0.0977, 0, 0, 10),
    ],
)
def test_the_arithmetic(expected: Need) -> None:
    assert astuple(need(COSTS, expected.users)) == pytest.approx(astuple(expected), rel=1e-3)


def test_a_busy_platform_needs_more_processes_than_its_sockets_do() -> None:
    assert need(COSTS, 1_000_000).processes == 500
    busy = need(Costs(messages=3600, process_sockets=100_000), 100_000)
    assert busy.cores / busy.processes <= 0.6
    assert busy.processes > 1


def test_it_prints_a_row_for_each_size_or_for_one() -> None:
    def printed(*arguments: str) -> list[str]:
        command = [sys.executable, "-m", "bench.scale", *arguments]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
        return [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("|")][2:]

    assert printed() == ["10,000", "100,000", "1,000,000", "10,000,000"]
    assert printed("--users", "50000", "--online", "0.3") == ["50,000"]
