"""Fixed statements in the event loop, without a thread; PostgreSQL only.

The connections are those of the process's pool, which makes, counts and replaces them as all others. Only the wait for
the answer differs: the event loop watches the connection, so that a statement takes no switch to a thread and back.
"""

import asyncio
import functools
import itertools
import re
import select
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import psycopg
from django.db import Error, connection
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus, TransactionStatus

from chat.runtime.database import distrust_connections, note_trouble, was_distrusted_since, write_threads
from chat.runtime.database_errors import trouble_of

ANSWER_SECONDS = 4.5  # PostgreSQL itself ends a statement after 4 (DATABASE_SERVER_OPTIONS)
KEPT = 2  # idle connections: for the batch, and for what is tried again beside it
MAX_AGE_SECONDS = 3600  # as old as the pool lets its other connections become

Parameters = Mapping[str, Any]

_idle: "list[LoopConnection]" = []
_numbers = itertools.count()


@functools.cache
def is_available() -> bool:
    """Whether the database is PostgreSQL. (Each new context of an event loop would make a new `connection`.)"""
    return connection.vendor == "postgresql"


async def fetch_in_loop(statement: str, parameters: Callable[[], Parameters | None]) -> list[tuple[Any, ...]]:
    """Return the rows of a fixed statement, as `fetch` does; it has an own transaction. Raises Django's errors.

    `parameters` is asked when the connection is there, which may take seconds; if it returns None, nothing is sent and
    there are no rows. A parameter is a number, a text, None, or a list of these. A call that is cancelled, or not
    answered in `ANSWER_SECONDS`, closes its connection.
    """
    sql, names = _positional(statement)
    is_usable = False
    taken = None
    try:
        taken = await _take(sql)
        rows = []
        if (values := parameters()) is not None:
            with taken.wrap_database_errors:
                rows = await taken.fetch(sql, [_text(values[name]) for name in names])
        is_usable = True
        return rows
    except Error as error:
        trouble = trouble_of(error)
        note_trouble(trouble)
        # Not after a migration has changed a column: "cached plan must not change result type".
        is_changed = isinstance(error.__cause__, psycopg.errors.FeatureNotSupported)
        is_usable = taken is not None and taken.is_idle and not is_changed and not (trouble and trouble.concerns_all)
        raise
    finally:
        if taken is not None:
            if is_usable and len(_idle) < KEPT:
                _idle.append(taken)
            else:
                taken.give_back(is_usable)


def give_back_idle() -> None:
    """Give the connections that wait for the next statement back to the pool."""
    while _idle:
        taken = _idle.pop()
        taken.give_back(taken.can_be_trusted)


async def _take(sql: str) -> "LoopConnection":
    """Take a connection that has planned the statement; one that comes after this was cancelled goes back."""
    taken = _take_idle()
    if taken is not None and sql in taken.planned:
        return taken
    taking = write_threads().submit(_planned, taken, sql)
    try:
        return await asyncio.shield(asyncio.wrap_future(taking))
    except asyncio.CancelledError:
        taking.add_done_callback(_give_back_taken)
        raise


def _take_idle() -> "LoopConnection | None":
    while _idle:
        taken = _idle.pop()
        is_usable = taken.can_be_trusted
        if is_usable and time.monotonic() - taken.taken_at < MAX_AGE_SECONDS:
            return taken
        taken.give_back(is_usable)  # the pool replaces one that is too old
    return None


def _planned(taken: "LoopConnection | None", sql: str) -> "LoopConnection":
    """Return this connection, or one from the pool, when it has planned the statement; for a thread."""
    taken = taken or LoopConnection()
    try:
        with taken.wrap_database_errors:
            taken.plan(sql)
    except BaseException:
        taken.give_back(is_usable=False)
        raise
    return taken


def _give_back_taken(taking: "Future[LoopConnection]") -> None:
    if taking.exception() is None:
        taking.result().give_back(is_usable=True)


class LoopConnection:
    """A connection taken from the pool; to be created in a thread, since that may have to wait for the database."""

    def __init__(self) -> None:
        self.taken_at = time.monotonic()
        self._django = connection.copy()
        self._django.ensure_connection()
        self.wrap_database_errors = self._django.wrap_database_errors
        self._psycopg: psycopg.Connection[Any] = self._django.connection
        self._libpq = self._psycopg.pgconn
        self._transformer = Transformer(self._psycopg)
        # By statement, its name in the server; kept with the connection, which may come here again.
        self.planned: dict[str, bytes] = vars(self._psycopg).setdefault("planned_in_loop", {})
        self._is_known = not self.planned  # else psycopg, after a ROLLBACK of others, may have dropped all plans
        self._watched: int | None = None  # the socket, while an answer is awaited
        self._poll = select.poll()
        self._poll.register(self._libpq.socket, select.POLLIN)

    def plan(self, sql: str) -> None:
        """Have the server plan the statement; for a thread."""
        if not self._is_known:
            rows = self._psycopg.execute("SELECT name FROM pg_prepared_statements").fetchall()
            kept = {name.encode() for (name,) in rows}
            for dropped in [statement for statement, name in self.planned.items() if name not in kept]:
                del self.planned[dropped]
            self._is_known = True
        if sql not in self.planned:
            name = f"in_loop_{next(_numbers)}"
            self._psycopg.execute(f"PREPARE {name} AS {sql}".encode())
            self.planned[sql] = name.encode()

    @property
    def is_idle(self) -> bool:
        """Whether it waits for the next statement."""
        return bool(self._libpq.transaction_status == TransactionStatus.IDLE)

    @property
    def can_be_trusted(self) -> bool:
        """Whether the database has neither said goodbye nor failed since it was taken."""
        return not self._poll.poll(0) and not was_distrusted_since(self.taken_at)

    def give_back(self, is_usable: bool) -> None:
        """Give it back to the pool, which replaces one that is not usable."""
        if not is_usable:
            self._psycopg.close()
        self._django.pool.putconn(self._psycopg)  # type: ignore[attr-defined]

    async def fetch(self, sql: str, values: Sequence[bytes | None]) -> list[tuple[Any, ...]]:
        """Return the rows of a statement that is planned. Raises psycopg's errors."""
        result = await self._ask(self.planned[sql], values)
        if result is None or result.status != ExecStatus.TUPLES_OK:
            raise psycopg.errors.error_from_result(result) if result else psycopg.OperationalError("no answer")
        self._transformer.set_pgresult(result)
        return self._transformer.load_rows(0, result.ntuples, tuple)

    async def _ask(self, name: bytes, values: Sequence[bytes | None]) -> Any:
        loop, libpq = asyncio.get_running_loop(), self._libpq
        answer: asyncio.Future[Any] = loop.create_future()
        timer = loop.call_later(ANSWER_SECONDS, self._time_out, answer)
        self._watched = libpq.socket
        loop.add_reader(self._watched, self._read, loop, answer, [])
        try:
            libpq.send_query_prepared(name, values)
            if libpq.flush():  # the rest of it, when the network has taken the beginning
                loop.add_writer(self._watched, self._write, loop, answer)
            return await answer
        finally:
            timer.cancel()
            self._unwatch(loop)

    def _unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop watching the socket, once.

        libpq closes the socket of a connection that has ended, and the next one may get its number: the event loop
        must have forgotten it before it does anything else.
        """
        if (socket := self._watched) is not None:
            self._watched = None
            loop.remove_reader(socket)
            loop.remove_writer(socket)

    def _write(self, loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[Any]") -> None:
        try:
            if not self._libpq.flush() and self._watched is not None:
                loop.remove_writer(self._watched)
        except psycopg.Error as error:
            self._fail(loop, answer, error)

    def _read(self, loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[Any]", results: list[Any]) -> None:
        try:
            self._libpq.consume_input()
            while not answer.done() and not self._libpq.is_busy():
                if (result := self._libpq.get_result()) is None:
                    # What failed: the COMMIT, whose failure follows the rows, or the connection before it.
                    failed = [result for result in results if result.status != ExecStatus.TUPLES_OK]
                    answer.set_result((*failed, *results, None)[0])
                    self._unwatch(loop)
                else:
                    results.append(result)
        except psycopg.Error as error:
            self._fail(loop, answer, error)

    def _fail(self, loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[Any]", error: psycopg.Error) -> None:
        self._unwatch(loop)
        if not answer.done():
            answer.set_exception(error)

    @staticmethod
    def _time_out(answer: "asyncio.Future[Any]") -> None:
        if not answer.done():
            distrust_connections()
            answer.set_exception(psycopg.OperationalError("the database did not answer in time"))


@functools.cache
def _positional(statement: str) -> tuple[str, list[str]]:
    """Return a statement with $1, $2... instead of %(name)s, and the names in this order."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    return re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", statement), names


def _text(value: Any) -> bytes | None:
    """Return a parameter as PostgreSQL reads it. A text with NUL ends there: a list is then refused as malformed."""
    if isinstance(value, list):
        return f"{{{','.join(map(_element, value))}}}".encode()
    return None if value is None else str(value).encode()


def _element(value: str | int | None) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return "NULL" if value is None else str(value)
