"""The cost of one call: milliseconds and SQL statements."""

import asyncio
import statistics
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import psycopg
import uvloop

from chat.runtime.loop_database import LoopConnection

LIMIT_SECONDS = 900

RECEIVE_SECONDS = 10

LOOKS_SECONDS = 1.3  # by then the look that follows a connect has been taken


@contextmanager
def statements() -> Iterator[list[str]]:
    """What this process has PostgreSQL do meanwhile, on any connection; not what begins transactions or connections."""
    made: list[str] = []
    execute = psycopg.Cursor.execute

    def counted(cursor: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        text = str(query).lstrip()
        if text and not text.startswith(("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "SELECT set_config")):
            made.append(text)
        return execute(cursor, query, *args, **kwargs)

    fetch = LoopConnection.fetch

    def fetch_counted(loop_connection: LoopConnection, statement: str, parameters: Any) -> Any:
        made.append(statement.lstrip())
        return fetch(loop_connection, statement, parameters)

    with (
        mock.patch.object(psycopg.Cursor, "execute", counted),
        mock.patch.object(LoopConnection, "fetch", fetch_counted),
    ):
        yield made


@dataclass(frozen=True)
class Cost:
    """Of one operation."""

    ms: float
    queries: int


@dataclass(frozen=True)
class Operation:
    """What is timed, many times; where that leaves work behind, what is counted is another call, which waits for it."""

    timed: Callable[[], object]
    counted: Callable[[], object] | None = None

    def time(self) -> float:
        """Return how many ms one call takes."""
        begin = time.perf_counter()
        self.timed()
        return 1000 * (time.perf_counter() - begin)

    def count(self) -> int:
        """Return the number of queries of one call."""
        with statements() as made:
            (self.counted or self.timed)()
        return len(made)


Operations = dict[str, Operation]

Costs = dict[str, list[Cost]]  # by operation: one for each size


def measure(operations: Sequence[Operations], repeats: int) -> Costs:
    """Measure each operation at all sizes in turn, so that what else the machine does meets them alike."""
    costs: Costs = {}
    for name in operations[0]:
        at_sizes = [by_name[name] for by_name in operations]
        for operation in at_sizes:
            operation.timed()  # leaves nothing unread, and opens what stays open
        if at_sizes[0].counted:
            time.sleep(LOOKS_SECONDS)
        counts = [operation.count() for operation in at_sizes]
        rounds = [[operation.time() for operation in at_sizes] for _ in range(repeats)]
        medians = [statistics.median(spans) for spans in zip(*rounds, strict=True)]
        costs[name] = [Cost(ms, count) for ms, count in zip(medians, counts, strict=True)]
    return costs


class Loop:
    """An event loop that never rests, in a thread: what a server process does beside each call goes on, too."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "Loop":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(RECEIVE_SECONDS)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run this in the loop and wait for it."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT_SECONDS)
