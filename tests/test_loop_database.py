"""Statements in the event loop: their parameters, their connections, and a database that fails; PostgreSQL only."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import DataError, IntegrityError, OperationalError, connection

from chat.errors import UnavailableError
from chat.models import Conversation, Message
from chat.runtime import loop_database
from chat.runtime.database import WRITE_THREADS, write_threads
from chat.runtime.loop_database import fetch_in_loop, give_back_idle
from chat.store.batch import STATEMENT, store
from chat.store.drafts import Draft, Sent
from tests.people import People
from tests.queries import counted_queries
from tests.service_results import entry, stored
from tests.sockets import in_thread

pytestmark = [
    pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL has statements in the event loop"),
    pytest.mark.django_db(transaction=True),
]

TEXTS = [
    "",
    " ",
    '"',
    "\\",
    '\\"',
    "{a,b}",
    "NULL",
    "null",
    "'",
    "%s",
    "$1",
    "a\nb\tc",
    "مرحبا",
    "🙂",
    None,
    "x" * 4000,
]
PID = "SELECT pg_backend_pid(), %(n)s::int"


@pytest.fixture(autouse=True)
async def _own_connections() -> AsyncIterator[None]:
    """Each test begins and ends without a connection."""
    give_back_idle()
    yield
    give_back_idle()


async def fetch(statement: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    return await fetch_in_loop(statement, lambda: parameters)


async def pid() -> int:
    """Return the server process of the connection that is used now."""
    [(found, _)] = await fetch(PID, {"n": 1})
    return int(found)


def execute(statement: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


async def test_parameters_arrive_as_they_are() -> None:
    statement = "SELECT * FROM unnest(%(texts)s::text[]), (VALUES (%(n)s::bigint, %(text)s::text)) AS one"
    rows = await fetch(statement, {"texts": TEXTS, "n": -7, "text": 'one\\"'})
    assert rows == [(text, -7, 'one\\"') for text in TEXTS]
    numbers = [0, -1, 2**62, None]
    assert await fetch("SELECT unnest(%(n)s::bigint[])", {"n": numbers}) == [(number,) for number in numbers]


async def test_a_text_with_nul_is_refused_and_the_connection_stays() -> None:
    before = await pid()
    with pytest.raises(DataError):
        await fetch("SELECT unnest(%(texts)s::text[])", {"texts": ["good", "bad\0", "good"]})
    assert await pid() == before


async def test_one_connection_serves_statement_after_statement_and_plans_each_once() -> None:
    plans = "SELECT generic_plans FROM pg_prepared_statements WHERE statement LIKE %(like)s"
    first = await pid()
    [(planned,)] = await fetch(plans, {"like": "%pg_backend_pid(), $1%"})
    assert {await pid() for _ in range(5)} == {first}
    assert await fetch(plans, {"like": "%pg_backend_pid(), $1%"}) == [(planned + 5,)]


async def test_messages_are_stored_by_a_statement_that_is_planned_once(
    live_people: People, live_conversation: Conversation
) -> None:
    plans = "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE %(like)s"
    like = {"like": f"%{STATEMENT.strip().partition('%')[0]}%"}
    await store([entry(live_conversation, live_people.student, "hello")])
    [(before, custom)] = await fetch(plans, like)
    for _ in range(10):
        await store([entry(live_conversation, live_people.student, "hello")])
    assert await fetch(plans, like) == [(before + 10, custom)]
    assert custom == 0


async def test_a_look_at_the_plans_that_fails_leaves_the_pool_its_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise psycopg.OperationalError("the server has gone")

    await pid()
    with monkeypatch.context() as failing:
        failing.setattr(loop_database.LoopConnection, "plan", fail)
        for _ in range(settings.DATABASE_POOL_SIZE + 1):
            give_back_idle()
            with pytest.raises(OperationalError):
                await pid()
    assert await pid()


async def test_an_old_connection_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    old = await pid()
    monkeypatch.setattr(loop_database, "MAX_AGE_SECONDS", 0)
    loop_database._idle[0]._psycopg._expire_at = 0  # as the pool notes for itself
    assert await pid() != old


async def test_what_is_given_up_while_a_connection_is_awaited_is_not_stored(
    live_people: People, live_conversation: Conversation
) -> None:
    go_on = threading.Event()
    busy = [write_threads().submit(go_on.wait, 10) for _ in range(WRITE_THREADS)]
    drafts = [entry(live_conversation, live_people.student, text) for text in ("given up", "wanted")]
    alone = entry(live_conversation, live_people.student, "alone and given up")
    storing = [asyncio.create_task(store(batch)) for batch in (drafts, [alone])]
    await asyncio.sleep(0)  # they have begun
    drafts[0].given_up = alone.given_up = True
    go_on.set()
    (given_up, sent), [also] = await asyncio.gather(*storing)
    assert [type(outcome) for outcome in (given_up, sent, also)] == [UnavailableError, Sent, UnavailableError]
    assert [row[2] for row in await in_thread(stored, live_conversation)] == ["wanted"]
    assert all(future.result() for future in busy)


async def test_a_call_that_is_cancelled_while_its_statement_is_planned_keeps_the_connection_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan, states = loop_database.LoopConnection.plan, queue.Queue[bool]()
    planning, go_on = threading.Event(), threading.Event()

    def plan_slowly(taken: Any, sql: str) -> None:
        planning.set()
        go_on.wait(10)
        plan(taken, sql)
        states.put(taken.is_idle)

    monkeypatch.setattr(loop_database.LoopConnection, "plan", plan_slowly)
    asking = asyncio.create_task(pid())
    await asyncio.to_thread(planning.wait, 10)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    go_on.set()
    assert await asyncio.to_thread(states.get, timeout=10)
    assert await pid()


async def test_a_connection_that_the_server_has_ended_is_replaced_before_its_next_use() -> None:
    ended = await pid()
    await in_thread(execute, "SELECT pg_terminate_backend(%s, 5000)", ended)
    assert await pid() != ended


async def test_a_connection_that_ends_during_a_statement_is_told_and_replaced() -> None:
    ended = await pid()
    slow = asyncio.create_task(fetch("SELECT pg_sleep(%(seconds)s::int)", {"seconds": 20}))
    with counted_queries() as queries:
        while not queries:  # until it runs there
            await in_thread(execute, "SELECT pg_terminate_backend(%s, 5000)", ended)
    with pytest.raises(OperationalError):
        await asyncio.wait_for(slow, 5)
    assert await pid() != ended


AT_COMMIT = """
CREATE TABLE written (n int UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.n < 0 THEN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1); END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON written
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit();
"""


@pytest.mark.parametrize(("numbers", "error"), [([1, 1], IntegrityError), ([-1, -2], OperationalError)])
async def test_rows_whose_commit_fails_are_not_returned(numbers: list[int], error: type[Exception]) -> None:
    """The rows arrive before the COMMIT: it may break a constraint, or the connection may end there."""
    await in_thread(execute, AT_COMMIT)
    insert = "INSERT INTO written SELECT unnest(%(numbers)s::int[]) RETURNING n"
    try:
        assert await fetch(insert, {"numbers": [3, 4]}) == [(3,), (4,)]
        with pytest.raises(error):
            await fetch(insert, {"numbers": numbers})
        assert await fetch("SELECT n FROM written WHERE n <> %(n)s::int", {"n": 0}) == [(3,), (4,)]
    finally:
        await in_thread(execute, "DROP TABLE written; DROP FUNCTION at_commit")


async def test_a_statement_without_an_answer_is_given_up_with_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    before = await pid()
    monkeypatch.setattr(loop_database, "ANSWER_SECONDS", 0.1)
    with pytest.raises(OperationalError):
        await fetch("SELECT pg_sleep(%(seconds)s::int)", {"seconds": 2})
    monkeypatch.undo()
    assert await pid() != before


async def test_a_cancelled_statement_leaves_nothing_to_the_next_one() -> None:
    before = await pid()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await fetch("SELECT pg_sleep(%(seconds)s::int)", {"seconds": 2})
    assert await pid() != before


async def test_a_connection_that_comes_after_its_statement_was_cancelled_is_not_lost() -> None:
    for _ in range(settings.DATABASE_POOL_SIZE + 1):
        asking = asyncio.create_task(pid())
        await asyncio.sleep(0)  # it has begun to take one
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert await pid()


async def test_a_plan_that_somebody_else_has_dropped_meanwhile_is_made_again() -> None:
    before = await pid()
    await in_thread(loop_database._idle[0]._psycopg.execute, "DEALLOCATE ALL")  # as psycopg does after a ROLLBACK
    for _ in range(settings.DATABASE_POOL_SIZE):
        give_back_idle()
        if await pid() == before:
            return
    pytest.fail("the pool has not given it out again")


async def test_a_changed_column_is_read_as_it_is_then() -> None:
    await in_thread(execute, "CREATE TABLE changing (word varchar(3))")
    try:
        await in_thread(execute, "INSERT INTO changing VALUES ('one')")
        assert await fetch("SELECT word FROM changing", {}) == [("one",)]
        await in_thread(execute, "ALTER TABLE changing ALTER COLUMN word TYPE varchar(5)")
        with pytest.raises(Exception, match="cached plan"):
            await fetch("SELECT word FROM changing", {})
        assert await fetch("SELECT word FROM changing", {}) == [("one",)]
    finally:
        await in_thread(execute, "DROP TABLE changing")


async def test_a_batch_larger_than_the_networks_buffers_is_stored(
    live_people: People, live_conversation: Conversation
) -> None:
    texts = [f"{number} {'🙂' * 20_000}" for number in range(100)]
    batch = [entry(live_conversation, live_people.student, text) for text in texts]
    outcomes = await store(batch)
    assert [outcome.event.seq for outcome in outcomes if isinstance(outcome, Sent)] == list(range(1, 101))
    assert [row[2] for row in await in_thread(stored, live_conversation)] == texts


async def test_batches_at_once_have_a_connection_each_and_leave_two(live_people: People) -> None:
    slow = "SELECT pg_backend_pid(), pg_sleep(%(seconds)s::int)"
    rows = await asyncio.gather(*[fetch(slow, {"seconds": 1}) for _ in range(3)])
    pids = {found for [(found, _)] in rows}
    assert len(pids) == 3
    assert await pid() in pids
    assert len(loop_database._idle) == 2


async def test_only_what_the_statement_leaves_out_needs_a_thread(
    live_people: People, live_conversation: Conversation
) -> None:
    conversation, student = live_conversation, live_people.student
    first, again = Draft(conversation.pk, student.pk, "one", "a"), Draft(conversation.pk, student.pk, "one", "a")
    with counted_queries() as queries:
        assert [type(outcome) for outcome in await store([first])] == [Sent]
    assert len(queries) == 1
    batch = [Draft(conversation.pk, student.pk, "two", "b"), again, entry(conversation, student, None)]
    sent, repeated, bad = await store(batch)
    assert isinstance(sent, Sent)
    assert isinstance(repeated, Sent)
    assert (sent.created, repeated.created, type(bad)) == (True, False, UnavailableError)
    assert await Message.objects.acount() == 2
