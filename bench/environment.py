"""What every section shares: servers, people, sizes, and the output."""

import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

from bench.chat_socket import Address
from bench.process import ROOT, Subject
from tests.e2e.cluster import Cluster, Person

KINDS = ("daphne", "uvicorn")
Row = Sequence[object]


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    kinds: tuple[str, ...] = KINDS
    seconds: float = 3  # of one sample
    warm_up_seconds: float = 1
    pairs: tuple[int, ...] = (1, 5, 50, 200)
    idle_pairs: int = 500  # for connects/s and memory
    messages: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    conversations: tuple[int, ...] = (10, 100, 1_000)
    repeats: int = 20
    process_pairs: int = 50  # on each process, of which there are four at the most
    idle_sockets: tuple[int, ...] = (100, 500, 1_000, 2_000)
    idle_seconds: int = 10
    storm_sockets: int = 1_000
    storm_senders: int = 20

    @property
    def most_pairs(self) -> int:
        """How many pairs of people any section needs."""
        idle, storm = max(self.idle_sockets) // 2, self.storm_sockets // 2 + self.storm_senders
        return max(*self.pairs, self.idle_pairs, 4 * self.process_pairs, idle, storm)


QUICK = Sizes(
    kinds=KINDS[:1],
    seconds=0.5,
    warm_up_seconds=0.2,
    pairs=(1, 10),
    idle_pairs=20,
    messages=(1_000,),
    conversations=(20,),
    repeats=5,
    process_pairs=10,
    idle_sockets=(20, 40),
    idle_seconds=2,
    storm_sockets=40,
    storm_senders=4,
)


@dataclass
class Environment:
    """PostgreSQL, Valkey and the project's database, while they run."""

    cluster: Cluster
    sizes: Sizes
    rounds: int
    peers: bool
    faults: list[str] = field(default_factory=list)
    _people: list[tuple[Address, Address]] = field(default_factory=list)

    @property
    def environment(self) -> Mapping[str, str]:
        """Of the project's processes: production's settings; the rate limiter is off unless the caller's has a rate."""
        return self.cluster.environment | {"CHAT_RATE_LIMIT": os.environ.get("CHAT_RATE_LIMIT", "0")}

    def project(self, kind: str, **settings: str) -> Subject:
        """The project, served by daphne or uvicorn as `make serve` does; `settings` are environment variables."""
        command = ["make", "-s", "serve", "PORT={port}", "HOST=127.0.0.1", f"SERVER={kind}"]
        return Subject(kind, command, {**self.environment, **settings}, self.people(self.sizes.most_pairs))

    def people(self, count: int) -> list[tuple[Address, Address]]:
        """So many students and their mentors, each pair in a conversation of its own."""
        missing = count - len(self._people)
        for pair in self.cluster.make_pairs(missing) if missing > 0 else []:
            pk = pair.conversation_id
            self._people.append((_address(pair.student, pk), _address(pair.teacher, pk)))
        return self._people[:count]

    def fault(self, where: str, what: Sequence[str]) -> None:
        """Remember what went wrong, and say it at once."""
        if what:
            self.faults.append(f"{where}: {len(what)} faults, the first: {what[0]}")
            sys.stderr.write(f"! {self.faults[-1]}\n")

    def machine(self) -> str:
        """One line about where this was measured."""
        with psycopg.connect(self.cluster.database_url) as connection:
            version, fsync = connection.execute(
                "SELECT current_setting('server_version'), current_setting('fsync')"
            ).fetchone() or ("?", "?")
        gigabytes = psutil.virtual_memory().total / 2**30
        return (
            f"{os.cpu_count()} cores ({_processor()}), {gigabytes:.0f} GB, {platform.system()}, "
            f"Python {platform.python_version()}, PostgreSQL {version.split()[0]} (fsync {fsync}), commit {_commit()}; "
            f"load average {os.getloadavg()[0]:.1f} at the start; servers and load share the machine"
        )


def _address(person: Person, conversation_id: int) -> Address:
    return Address(0, f"/ws/chat/{person.path}", person.cookie, conversation_id)


def on_port(port: int, people: Sequence[tuple[Address, Address]]) -> list[tuple[Address, Address]]:
    """These people, all on this port."""
    return [(student._replace(port=port), mentor._replace(port=port)) for student, mentor in people]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def say(line: str = "") -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def table(head: Row, rows: Sequence[Row]) -> None:
    """Print a table in Markdown, readable as it stands; the first column is text, the others are figures."""
    cells = [[_cell(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    for row in (cells[0], rule, *cells[1:]):
        padded = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        say(f"| {' | '.join(padded)} |")
    say()


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
