"""Messages and connects per second, latency, memory and processor time of one server process.

With `PEERS=1` also of alternatives, in turn (A B A B ...), with ratios.
"""

import asyncio
from collections import defaultdict

from bench.chat_socket import Address
from bench.environment import Environment, Row, on_port, say, table
from bench.load import closed_loop, median, open_sockets
from bench.process import Subject

SETTLE_SECONDS = 2.0
Figures = dict[str, dict[str, list[float]]]  # by row and subject: one value a round


async def run(env: Environment) -> None:
    """Print the table."""
    subjects = [env.project(kind) for kind in env.sizes.kinds]
    if env.peers:
        from bench.peers import subjects as peers

        subjects += peers(env)
    figures: Figures = defaultdict(lambda: defaultdict(list))
    # Sockets first: after messages, the first subject's connects would also mark unread messages as read.
    for _ in range(env.rounds):
        for subject in subjects:
            await _sockets(env, subject, figures)
    for _ in range(env.rounds):
        for subject in subjects:
            await _messages(env, subject, figures)
    say(f"### One server process: {env.sizes.seconds:g} s of closed loop each, median of {env.rounds}")
    say()
    names = [subject.name for subject in subjects]
    ours, peers_names = names[: len(env.sizes.kinds)], names[len(env.sizes.kinds) :]
    ratios = [(mine, peer) for peer in peers_names for mine in ours]
    rows: list[Row] = []
    for row, by_subject in figures.items():
        value = {name: median(by_subject[name]) for name in names}
        quotients = [f"{value[mine] / value[peer]:.2f}" for mine, peer in ratios]
        rows.append([row, *value.values(), *quotients])
    table(["", *names, *(f"{mine} : {peer}" for mine, peer in ratios)], rows)


async def _messages(env: Environment, subject: Subject, figures: Figures) -> None:
    with subject.serve() as process:
        for count in env.sizes.pairs:
            people = on_port(process.port, subject.people[:count])
            sample, faults = await closed_loop(subject.socket_class, people, env.sizes, process.cpu_seconds)
            env.fault(f"{subject.name}, {count} pairs", faults)
            pairs = "1 pair" if count == 1 else f"{count} pairs"
            figures[f"{pairs}: messages/s"][subject.name].append(sample.per_second)
            figures[f"{pairs}: p50, ms"][subject.name].append(sample.ms(0.5))
            figures[f"{pairs}: p99, ms"][subject.name].append(sample.ms(0.99))
            figures[f"{pairs}: server CPU, ms a message"][subject.name].append(sample.cpu_ms)


async def _sockets(env: Environment, subject: Subject, figures: Figures) -> None:
    """Connect them all, and let them sit: of a new process, so that nothing else has been allocated."""
    with subject.serve() as process:
        await asyncio.sleep(SETTLE_SECONDS / 2)
        before = process.kilobytes()
        addresses: list[Address] = [a for pair in on_port(process.port, subject.people) for a in pair]
        addresses = addresses[: 2 * env.sizes.idle_pairs]
        begin = asyncio.get_running_loop().time()
        sockets = await open_sockets(subject.socket_class, addresses)
        seconds = asyncio.get_running_loop().time() - begin
        await asyncio.sleep(SETTLE_SECONDS)
        grown = process.kilobytes() - before
        env.fault(subject.name, [f"closed with {s.close_code}" for s in sockets if s.close_code is not None])
        for socket in sockets:
            socket.leave()
        await asyncio.sleep(0.2)
    figures["connects/s"][subject.name].append(len(sockets) / seconds)
    figures[f"{len(sockets):,} idle sockets: kB each"][subject.name].append(grown / len(sockets))
