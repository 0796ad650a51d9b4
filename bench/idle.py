"""Memory and processor time of idle sockets in one process."""

import asyncio
from contextlib import ExitStack

from bench.chat_socket import ChatSocket
from bench.environment import Environment, Row, on_port, say, table
from bench.load import open_sockets

SETTLE_SECONDS = 2.0


async def run(env: Environment) -> None:
    """Print the table. Both servers are watched at the same time: neither has anything to do."""
    seconds = env.sizes.idle_seconds
    subjects = [env.project(kind, CHAT_HEAL_SECONDS=str(seconds)) for kind in env.sizes.kinds]
    rows: list[Row] = []
    with ExitStack() as stack:
        processes = [stack.enter_context(subject.serve()) for subject in subjects]
        sockets: list[list[ChatSocket]] = [[] for _ in subjects]
        await asyncio.sleep(SETTLE_SECONDS)
        empty = [process.kilobytes() for process in processes]
        for count in env.sizes.idle_sockets:
            for subject, process, mine in zip(subjects, processes, sockets, strict=True):
                addresses = [address for pair in on_port(process.port, subject.people) for address in pair]
                mine.extend(await open_sockets(subject.socket_class, addresses[len(mine) : count]))
            await asyncio.sleep(SETTLE_SECONDS)
            before = [process.cpu_seconds() for process in processes]
            await asyncio.sleep(seconds)
            row: list[object] = [count]
            for process, cpu, base in zip(processes, before, empty, strict=True):
                used = process.cpu_seconds() - cpu
                memory = process.kilobytes()
                row += [f"{memory / 1024:.0f}", (memory - base) / count, f"{100 * used / seconds:.1f}"]
            rows.append(row)
        for subject, mine in zip(subjects, sockets, strict=True):
            env.fault(
                f"{subject.name}, idle", [f"closed with {s.close_code}" for s in mine if s.close_code is not None]
            )
            for socket in mine:
                socket.leave()
    say(f"### Idle sockets in one process (watched for {seconds} s, and healed once in that time; 30 s by default)")
    say()
    columns = ("MB", "kB a socket", "CPU, %")
    table(["sockets", *(f"{kind}: {column}" for kind in env.sizes.kinds for column in columns)], rows)
