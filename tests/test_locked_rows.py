"""Rows that somebody else has locked: only those who need them wait, and nobody waits for ever."""

import asyncio
import time
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import RoleChoices
from accounts.names import search_text
from chat import services
from chat.errors import UnavailableError
from chat.models import Conversation, Message
from chat.runtime.database import WRITE_THREADS, in_database, threads
from chat.store import drafts, writer
from chat.store.drafts import Draft, Sent
from chat.store.last_seen import load_last_seen, save_last_seen
from chat.store.writer import Writer
from tests.conftest import Connect, Post
from tests.holder import Holder
from tests.people import People, conversation_of, make_user, say
from tests.queries import recorded_queries
from tests.service_results import store, stored
from tests.sockets import connected, in_thread

pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite locks no rows")

AT_ONCE_SECONDS = 3.0  # takes milliseconds; a wait for a lock would last until the end of the test
MANY = max(threads()._max_workers, WRITE_THREADS) + 2  # more than there are threads that could wait


def make_conversations(people: People, count: int) -> list[Conversation]:
    """Return conversations of as many students with the teacher, each with an unread message."""
    students = [make_user(f"pupil{number}", RoleChoices.STUDENT, mentor=people.teacher) for number in range(count)]
    conversations = [conversation_of(student, people.teacher) for student in students]
    for conversation in conversations:
        say(conversation, people.teacher, "unread")
    return conversations


def write(writer: Writer, conversation: Conversation, text: str) -> "asyncio.Future[Any]":
    """Queue a message of the student; the future brings what became of it."""
    result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    writer.write(Draft(conversation.pk, conversation.student.user_id, text, None), result.set_result)
    return result


@pytest.mark.parametrize("locked", ["conversation", "sender"])
async def test_the_messages_of_others_do_not_wait(live_people: People, holder: Holder, locked: str) -> None:
    *waiting, free = await in_thread(make_conversations, live_people, MANY + 1)
    rows = waiting if locked == "conversation" else [conversation.student.user for conversation in waiting]
    await in_thread(holder.lock, *rows)
    busy = Writer()
    late = [write(busy, conversation, text) for text in ("one", "two") for conversation in waiting]
    for number in range(50):
        async with asyncio.timeout(AT_ONCE_SECONDS):
            assert isinstance(await write(busy, free, str(number)), Sent)
    assert not any(result.done() for result in late)
    late += [write(busy, conversation, "three") for conversation in waiting]
    await in_thread(holder.commit)
    async with asyncio.timeout(AT_ONCE_SECONDS):
        assert all(isinstance(outcome, Sent) for outcome in await asyncio.gather(*late))
    for conversation in waiting:
        assert [row[2] for row in await in_thread(stored, conversation)] == ["unread", "one", "two", "three"]
    await asyncio.wait_for(busy.settle(), AT_ONCE_SECONDS)


def test_a_locked_conversation_costs_a_batch_no_statement_of_its_own(live_people: People, holder: Holder) -> None:
    waiting, free = make_conversations(live_people, 2)
    batch = [Draft(one.pk, one.student.user_id, "text", key) for one in (waiting, free) for key in (None, "a", "a")]
    store(batch[3:4])  # the connection exists, and has the statement
    holder.lock(waiting)
    with recorded_queries() as queries:
        outcomes = store(batch[:4])
    assert (outcomes[:3], type(outcomes[3]), queries) == ([None] * 3, Sent, [])
    holder.commit()
    assert [type(outcome) for outcome in store(batch[:3])] == [Sent] * 3


async def test_a_message_that_waits_for_a_row_is_folded_once(
    live_conversation: Conversation, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folded: list[str] = []

    def fold(text: str) -> str:
        folded.append(text)
        return search_text(text)

    monkeypatch.setattr(drafts, "search_text", fold)
    conversation = live_conversation
    texts = [str(number) for number in range(20)]
    busy = Writer()
    await in_thread(holder.lock, conversation)
    results = [write(busy, conversation, text) for text in texts]
    done, _ = await asyncio.wait(results, timeout=0.2)  # it is tried again every 10 ms
    assert not done
    await in_thread(holder.commit)
    assert [type(outcome) for outcome in await asyncio.gather(*results)] == [Sent] * len(texts)
    assert folded == texts


@pytest.mark.parametrize("locked", ["conversation", "sender"])
async def test_no_message_overtakes_while_its_row_is_locked_again_and_again(
    live_people: People, holder: Holder, locked: str
) -> None:
    conversation = (await in_thread(make_conversations, live_people, 1))[0]
    row, busy, is_done = conversation if locked == "conversation" else conversation.student.user, Writer(), False

    def lock_often() -> None:
        while not is_done:
            holder.lock(row)
            holder.commit()

    locking = asyncio.create_task(asyncio.to_thread(lock_often))
    texts = [str(number) for number in range(400)]
    sent = []
    for text in texts:
        sent.append(write(busy, conversation, text))
        await asyncio.sleep(0)
    assert all(isinstance(outcome, Sent) for outcome in await asyncio.gather(*sent))
    is_done = True
    await locking
    assert [found[2] for found in await in_thread(stored, conversation)] == ["unread", *texts]


async def test_a_message_that_waits_too_long_is_given_up_and_forgotten(
    live_people: People, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "DRAFT_SECONDS", 0.3)
    await in_thread(lambda: holder.lock(live_people.conversation))
    busy, begin = Writer(), time.monotonic()
    conversation = await in_thread(lambda: Conversation.objects.with_people().get())
    told = await asyncio.gather(*[write(busy, conversation, str(number)) for number in range(3)])
    assert [type(outcome) for outcome in told] == [UnavailableError] * 3
    assert time.monotonic() - begin < 0.3 + AT_ONCE_SECONDS
    await asyncio.wait_for(busy.settle(), AT_ONCE_SECONDS)
    assert (busy._waiting, busy._locked, busy._busy) == ({}, {}, set())
    await in_thread(holder.commit)
    assert isinstance(await write(busy, conversation, "again"), Sent)
    assert [row[2] for row in await in_thread(stored, conversation)] == ["again"]


async def test_when_others_were_last_online_is_stored(live_people: People, holder: Holder) -> None:
    student, teacher, now = live_people.student.pk, live_people.teacher.pk, timezone.now()
    await in_thread(holder.lock, live_people.student)
    async with asyncio.timeout(AT_ONCE_SECONDS):
        assert await in_database(save_last_seen, {student: now, teacher: now, 10**6: now}) == {student}
    assert await in_thread(load_last_seen, [student, teacher]) == {teacher: now}
    await in_thread(holder.commit)
    assert await in_database(save_last_seen, {student: now}) == set()
    assert await in_thread(load_last_seen, [student]) == {student: now}


async def test_those_who_mark_as_read_take_no_threads_from_others(
    connect: Connect, live_people: People, holder: Holder
) -> None:
    waiting = await in_thread(make_conversations, live_people, MANY)
    await in_thread(holder.lock, *waiting)
    marking = [
        asyncio.create_task(in_database(services.mark_read, conversation=row, reader=row.student.user))
        for row in waiting
    ]
    await asyncio.sleep(0.3)  # each of them has met its lock by then
    for _ in range(5):
        async with asyncio.timeout(AT_ONCE_SECONDS), connected(connect, live_people.student):
            pass
    assert not any(task.done() for task in marking)
    await in_thread(holder.commit)
    async with asyncio.timeout(AT_ONCE_SECONDS):
        assert await asyncio.gather(*marking) == [1] * MANY


@pytest.mark.parametrize("locked", ["conversation", "message"])
async def test_a_request_waits_for_a_row_that_is_let_go_in_time(
    live_people: People, live_conversation: Conversation, holder: Holder, post: Post, locked: str
) -> None:
    message = (await in_thread(say, live_conversation, live_people.teacher, "unread"))[0]
    row: Conversation | Message = live_conversation if locked == "conversation" else message
    await in_thread(holder.lock, row)
    path = f"/api/v1/chat/conversations/{live_conversation.pk}/mark-read/"
    request = asyncio.ensure_future(post(live_people.student, path))
    await asyncio.sleep(0.5)
    assert not request.done()
    await asyncio.to_thread(holder.commit)  # the thread of requests is taken
    assert (await request).json() == {"detail": "1 messages marked as read."}
