"""What a message costs with one, two and four server processes, and the database and Redis for it.

First both sides of each pair are on one process, then on two different ones.
"""

from collections import defaultdict
from contextlib import ExitStack

import psutil

from bench.chat_socket import Address
from bench.environment import Environment, Row, say, table
from bench.load import Sample, closed_loop, median
from bench.scale import Costs, message_ms

TOGETHER, APART = "together", "apart"
CASES = ((1, TOGETHER), (2, TOGETHER), (4, TOGETHER), (2, APART), (4, APART))
COLUMNS = ("messages/s", "p99, ms", "server CPU, ms a message", "PostgreSQL", "Redis")
Figures = dict[tuple[str, int, str], dict[str, list[float]]]


async def run(env: Environment) -> None:
    """Print the table, and what the arithmetic of `bench.scale` makes of its first rows."""
    figures: Figures = defaultdict(lambda: defaultdict(list))
    for _ in range(env.rounds):
        for kind in env.sizes.kinds:
            for count, where in CASES:
                await _measure(env, kind, count, where, figures[kind, count, where])
    pairs = env.sizes.process_pairs
    say(f"### One to four server processes: {pairs} pairs on each, median of {env.rounds}")
    say()
    rows: list[Row] = []
    for (kind, count, where), row in figures.items():
        together, apart = (_cost(figures, kind, case) for case in ((1, TOGETHER), (2, APART)))
        expected = message_ms(Costs(message_ms=together, message_apart_ms=apart), 0.0 if where == TOGETHER else 1.0)
        rows.append([f"{kind}, {count} {where}", *(median(row[column]) for column in COLUMNS), expected])
    table(["processes", *COLUMNS, "server CPU expected"], rows)


def _cost(figures: Figures, kind: str, case: tuple[int, str]) -> float:
    return median(figures[kind, *case]["server CPU, ms a message"])


async def _measure(env: Environment, kind: str, count: int, where: str, row: dict[str, list[float]]) -> None:
    subject = env.project(kind)
    with ExitStack() as stack:
        processes = [stack.enter_context(subject.serve()) for _ in range(count)]
        ports = [process.port for process in processes]
        shift = 1 if where == APART else 0
        people: list[tuple[Address, Address]] = [
            # As many students as mentors on each.
            (student._replace(port=ports[number % count]), mentor._replace(port=ports[(number + shift) % count]))
            for number, (student, mentor) in enumerate(subject.people[: count * env.sizes.process_pairs])
        ]

        def cpu() -> float:
            return sum(process.cpu_seconds() for process in processes)

        before = _cpu_of("postgres"), _cpu_of("valkey")
        sample, faults = await closed_loop(subject.socket_class, people, env.sizes, cpu)
        after = _cpu_of("postgres"), _cpu_of("valkey")
    env.fault(f"{kind}, {count} processes, {where}", faults)
    row["messages/s"].append(sample.per_second)
    row["p99, ms"].append(sample.ms(0.99))
    row["server CPU, ms a message"].append(sample.cpu_ms)
    for name, begin, end in zip(("PostgreSQL", "Redis"), before, after, strict=True):
        row[name].append(1000 * (end - begin) / _all_messages(sample, env))


def _all_messages(sample: Sample, env: Environment) -> float:
    """How many messages there were, those of the warm-up included, at the rate of the sample."""
    return max(1.0, sample.per_second * (env.sizes.seconds + env.sizes.warm_up_seconds))


def _cpu_of(name: str) -> float:
    """The processor time of the servers with this name that the benchmark has started."""
    found = [child for child in psutil.Process().children(recursive=True) if child.name().startswith(name)]
    return sum(sum(process.cpu_times()[:2]) for process in found)
