"""`python -m bench.scale`: how many processes, and how much of PostgreSQL and Redis, a platform of a given size needs.

Arithmetic on costs that `make bench` has measured, for the evening before an exam; each of them may be replaced:
`python -m bench.scale --users 50000 --online 0.3`.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from bench.environment import say, table

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
BUSY = 0.6  # of a core, at the most: what is above is for bursts, and for the time after a process has failed


@dataclass(frozen=True)
class Costs:
    """What things cost, and what people do; processor time in ms of one core of the machine in docs/benchmark.md."""

    message_ms: float = 0.18  # of the server, at 50 pairs, both sides on one process
    message_apart_ms: float = 0.26  # both sides on different processes
    connect_ms: float = 2.5  # of the server: a handshake with its first look at the database
    idle_ms: float = 2.7  # of the server: an open socket for a minute, with pings, healing and presence
    idle_kb: float = 43.0
    process_mb: float = 115.0  # of a process without sockets
    database_ms: float = 0.17  # of PostgreSQL: a message
    redis_ms: float = 0.015  # of Redis: a message
    users: int = 0  # 0: a table of sizes
    online: float = 0.2  # the share of the users with an open socket
    messages: float = 12.0  # that each of them writes in an hour
    process_sockets: int = 4_000  # at the most, so that a restart stays short
    restart_seconds: float = 30.0  # over which the clients of a process that restarts spread their connects


@dataclass(frozen=True)
class Need:
    """What a platform of a size needs at its peak."""

    users: int
    sockets: int
    per_second: float
    processes: int
    cores: float
    gigabytes: float
    database_cores: float
    redis_cores: float
    restart_seconds: float


def message_ms(costs: Costs, apart: float) -> float:
    """Return the processor time of a message of the servers, of whose pairs this share has its sides apart."""
    return costs.message_ms * (1 - apart) + costs.message_apart_ms * apart


def need(costs: Costs, users: int) -> Need:
    """Return what so many users need. With n processes, both sides of a pair are on one of them by chance: 1 / n."""
    sockets = math.ceil(users * costs.online)
    per_second = sockets * costs.messages / 3600
    processes, cores = 0, 0.0
    wanted = max(1, math.ceil(sockets / costs.process_sockets))
    while wanted > processes:  # more processes mean more pairs apart, which may mean more processes
        processes = wanted
        cores = (per_second * message_ms(costs, 1 - 1 / processes) + sockets * costs.idle_ms / 60) / 1000
        wanted = max(processes, math.ceil(cores / BUSY))
    each = math.ceil(sockets / processes)
    # While one restarts, the others take its sockets over, beside what they have to do: no faster than cores allow.
    free = max(0.05, processes * (1 - cores / processes))
    return Need(
        users=users,
        sockets=sockets,
        per_second=per_second,
        processes=processes,
        cores=cores,
        gigabytes=(processes * costs.process_mb * 1024 + sockets * costs.idle_kb) / 1024**2,
        database_cores=per_second * costs.database_ms / 1000,
        redis_cores=per_second * costs.redis_ms / 1000,
        restart_seconds=max(costs.restart_seconds, each * costs.connect_ms / 1000 / free),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="bench.scale", description=__doc__)
    for field in fields(Costs):
        kind = int if isinstance(field.default, int) else float
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    costs = replace(Costs(), **vars(parser.parse_args(arguments)))
    needs = [need(costs, users) for users in ([costs.users] if costs.users else SIZES)]
    head = ["users", "sockets", "messages/s", "processes", "their cores", "their GB", "PostgreSQL cores", "Redis cores"]
    rows = [
        [
            f"{n.users:,}",
            n.sockets,
            n.per_second,
            n.processes,
            n.cores,
            n.gigabytes,
            n.database_cores,
            n.redis_cores,
            n.restart_seconds,
        ]
        for n in needs
    ]
    say(f"{costs.online:.0%} of the users online; each of them writes {costs.messages:g} messages an hour.")
    say()
    table([*head, "a process restarts, s"], rows)


if __name__ == "__main__":
    main()
