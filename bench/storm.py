"""A reconnect storm after a restart, and the latency of pairs on another process meanwhile."""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Sequence

import psycopg

from bench.chat_socket import Address, ChatSocket
from bench.environment import Environment, Row, on_port, say, table
from bench.load import Load, Sample, open_sockets
from bench.process import Process, Subject
from tests.websocket_client import HandshakeRefusedError

PAUSE_SECONDS = 0.1  # between a message that arrived and the sender's next one
TRY_SECONDS = 10.0
RETRY_SECONDS = 0.5
STORM_SECONDS = 60.0

# One message in each conversation, for the clients to resume behind.
STORE_ONE_MESSAGE_EACH = """
WITH grown AS (
    UPDATE chat_conversation SET last_seq = last_seq + 1, updated_at = now() WHERE id = ANY(%s)
    RETURNING id, last_seq, student_id
)
INSERT INTO chat_message (conversation_id, sender_id, content, timestamp, is_read, seq)
SELECT grown.id, profile.user_id, 'Hello.', now(), true, last_seq
FROM grown JOIN accounts_userprofile profile ON profile.id = student_id
RETURNING conversation_id, id
"""


async def run(env: Environment) -> None:
    """Print the table."""
    columns = [await _measure(env, kind) for kind in env.sizes.kinds]
    sizes = env.sizes
    say(f"### A reconnect storm: {sizes.storm_sockets:,} sockets at once, after the restart of their process")
    say()
    say(f"{sizes.storm_senders} pairs write on a second process meanwhile, a message each 0.1 s.")
    say()
    rows: list[Row] = [[name, *(column[name] for column in columns)] for name in columns[0]]
    table(["", *sizes.kinds], rows)


async def _measure(env: Environment, kind: str) -> dict[str, object]:
    subject = env.project(kind)
    sizes = env.sizes
    writers, others = subject.people[: sizes.storm_senders], subject.people[sizes.storm_senders :]
    after = _store_one_message_each(env, others[: sizes.storm_sockets // 2])
    with subject.serve() as first, subject.serve() as second:
        here = [address for pair in on_port(first.port, others) for address in pair][: sizes.storm_sockets]
        sockets = await open_sockets(subject.socket_class, here)
        back = [address._replace(path=f"{address.path}?after={after[address.conversation_id]}") for address in here]
        async with Load(subject.socket_class, on_port(second.port, writers), PAUSE_SECONDS) as load:
            load.begin()
            await asyncio.sleep(sizes.warm_up_seconds)
            calm = await load.sample(sizes.seconds)
            away = await _restart(first)
            codes = Counter(socket.close_code for socket in sockets)
            cpu = second.cpu_seconds()
            load.reset()
            begin = time.perf_counter()
            returned, times, tries = await _storm(subject, back, env)
            meanwhile = load.taken(begin, cpu, second.cpu_seconds)
            env.fault(f"{kind}, storm", await load.end())
        for socket in returned:
            socket.leave()
        await asyncio.sleep(0.2)
    return {
        "closed with 1012": f"{codes[1012]:,}",
        "from SIGTERM to listening again, s": away,
        "half are back after, s": statistics.median(times),
        "the last is back after, s": max(times),
        "handshakes, tries included": f"{tries:,}",
        **_latencies("senders before", calm),
        **_latencies("senders meanwhile", meanwhile),
    }


def _latencies(who: str, sample: Sample) -> dict[str, object]:
    return {f"{who}: {name}, ms": sample.ms(share) for name, share in (("p50", 0.5), ("p99", 0.99), ("worst", 1))}


def _store_one_message_each(env: Environment, people: Sequence[tuple[Address, Address]]) -> dict[int, int]:
    """Return a message's id by conversation."""
    with psycopg.connect(env.cluster.database_url) as connection:
        return dict(
            connection.execute(STORE_ONE_MESSAGE_EACH, [[student.conversation_id for student, _ in people]]).fetchall()
        )


async def _restart(process: Process) -> float:
    """Restart it beside the load; returns the seconds from the signal, which spreads its closes, until it listens."""
    begin = time.perf_counter()
    await asyncio.to_thread(process.stop)
    await asyncio.to_thread(process.start)
    return time.perf_counter() - begin


async def _storm(
    subject: Subject, addresses: Sequence[Address], env: Environment
) -> tuple[list[ChatSocket], list[float], int]:
    """Connect to all at once, each as often as it takes; returns the sockets, the seconds each took, and the tries."""
    begin, tries = time.perf_counter(), 0
    times: list[float] = []

    async def come_back(address: Address) -> ChatSocket:
        nonlocal tries
        while True:
            tries += 1
            try:
                socket = await subject.socket_class(address).connect(TRY_SECONDS)
            except (OSError, HandshakeRefusedError, TimeoutError):
                await asyncio.sleep(RETRY_SECONDS)
            else:
                times.append(time.perf_counter() - begin)
                return socket

    tasks = [asyncio.create_task(come_back(address)) for address in addresses]
    done, pending = await asyncio.wait(tasks, timeout=STORM_SECONDS)
    for task in pending:
        task.cancel()
    env.fault(f"{subject.name}, storm", [f"not back after {STORM_SECONDS:g} s"] * len(pending))
    return [task.result() for task in done], times or [float("nan")], tries
