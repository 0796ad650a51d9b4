"""`make bench` at its smallest: it measures, prints its tables, and leaves no process behind."""

import os
import secrets
import subprocess
import sys

import psutil
import pytest

from tests.e2e.server import ROOT

SECONDS = 100  # on a machine that is busy with other tests; alone it takes a fifth of that
ROWS = ("10 pairs: messages/s", "connects/s", "middle page", "list, last 5", "send")


@pytest.mark.slow
def test_a_quick_run_prints_its_tables_and_leaves_nothing_behind() -> None:
    command = [sys.executable, "-m", "bench", "throughput", "growth"]
    mark = secrets.token_hex(8)  # which every process that it starts has in its environment
    environment = os.environ | {"QUICK": "1", "ROUNDS": "", "PEERS": "", "BENCH_MARK": mark}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {cells[1].strip(): cells[2:-1] for line in done.stdout.splitlines() if len(cells := line.split("|")) > 3}
    for row in ROWS:
        assert all(float(cell.strip().replace(",", "")) > 0 for cell in rows[row]), rows[row]
    assert int(rows["send"][0]) == 1
    left = {process.pid: process.name() for process in psutil.process_iter(["environ"]) if mark in str(process.info)}
    assert not left


def test_an_unknown_section_is_reported_in_one_line() -> None:
    command = [sys.executable, "-m", "bench", "speed"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 2
    assert "no such section: speed; there are throughput," in done.stderr.splitlines()[-1]
