"""Messages per second with one and with two server processes; with two, each pair is split between them."""

from collections import defaultdict
from contextlib import ExitStack

from bench.chat_socket import Address
from bench.environment import Environment, Row, say, table
from bench.load import closed_loop, median


async def run(env: Environment) -> None:
    """Print the table."""
    figures: dict[tuple[str, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _ in range(env.rounds):
        for kind in env.sizes.kinds:
            for count in (1, 2):
                await _measure(env, kind, count, figures[kind, count])
    pairs = env.sizes.process_pairs
    say(f"### One and two server processes: {pairs} pairs, median of {env.rounds}")
    say()
    rows: list[Row] = [
        [f"{kind}, {count}", *(median(values) for values in row.values())] for (kind, count), row in figures.items()
    ]
    table(["processes", "messages/s", "p50, ms", "p99, ms", "server CPU, ms a message"], rows)


async def _measure(env: Environment, kind: str, count: int, row: dict[str, list[float]]) -> None:
    subject = env.project(kind)
    with ExitStack() as stack:
        processes = [stack.enter_context(subject.serve()) for _ in range(count)]
        ports = [process.port for process in processes]
        people: list[tuple[Address, Address]] = [
            # As many students as mentors on each; with two processes every message goes from one to the other.
            (student._replace(port=ports[number % count]), mentor._replace(port=ports[(number + 1) % count]))
            for number, (student, mentor) in enumerate(subject.people[: env.sizes.process_pairs])
        ]

        def cpu() -> float:
            return sum(process.cpu_seconds() for process in processes)

        sample, faults = await closed_loop(subject.socket_class, people, env.sizes, cpu)
    env.fault(f"{kind}, {count} processes", faults)
    row["messages/s"].append(sample.per_second)
    row["p50"].append(sample.ms(0.5))
    row["p99"].append(sample.ms(0.99))
    row["cpu"].append(sample.cpu_ms)
