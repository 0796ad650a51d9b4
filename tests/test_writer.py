"""Messages that wait to be stored while the database does not answer."""

import asyncio
import gc
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from chat.errors import UnavailableError
from chat.models import Conversation, Message
from chat.runtime.database import WRITE_THREADS, write_threads
from chat.store import writer
from chat.store.drafts import Draft
from chat.store.writer import BATCH, MAX_BATCHES, Writer
from tests.people import People
from tests.sockets import in_thread

UNDER_WAY = BATCH * MAX_BATCHES
SENDERS = itertools.count(1_000_000)


@pytest.fixture
def go_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """All of the writer's threads are taken until this is set."""
    monkeypatch.setattr(writer, "STUCK_SECONDS", 0.01)
    go_on = threading.Event()
    taken = [write_threads().submit(go_on.wait, 10) for _ in range(WRITE_THREADS)]
    yield go_on
    go_on.set()
    for call in taken:
        call.result()


@pytest.fixture
def sender() -> int:
    """Somebody who writes in this test alone."""
    return next(SENDERS)


def drafts(sender: int) -> int:
    """How many messages of theirs are kept."""
    gc.collect()
    return sum(type(kept) is Draft and kept.sender_id == sender for kept in gc.get_objects())


def write(writer: Writer, draft: Draft) -> "asyncio.Future[object]":
    """Queue a message; the future brings what became of it."""
    result: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    writer.write(draft, result.set_result)
    return result


async def given_up(results: "list[asyncio.Future[object]]") -> None:
    told = await asyncio.gather(*results)
    assert [type(error) for error in told] == [UnavailableError] * len(results)


@pytest.mark.usefixtures("go_on", "transactional_db")
@pytest.mark.parametrize("conversations", [1, 50, BATCH * (MAX_BATCHES - 1), 10_000])
async def test_timed_out_messages_are_not_kept_in_memory(
    monkeypatch: pytest.MonkeyPatch, sender: int, conversations: int
) -> None:
    monkeypatch.setattr(writer, "DRAFT_SECONDS", 0.5)
    stuck, results = Writer(), []
    for number in range(2 * UNDER_WAY):
        results.append(write(stuck, Draft(number % conversations, sender, str(number), None)))
        if number % BATCH == 0:
            await asyncio.sleep(0.02)  # stuck batches: their conversations are busy
    await given_up(results)
    assert drafts(sender) <= UNDER_WAY
    assert stuck._waiting == {}


async def test_the_order_of_each_conversation_survives_a_hanging_database(
    live_people: People, go_on: threading.Event
) -> None:
    one, two = await in_thread(lambda: (live_people.conversation, live_people.other_conversation))
    stuck, sent = Writer(), []
    for number in range(3 * BATCH):
        first = Draft(one.pk, live_people.student.pk, str(number), None)
        second = Draft(two.pk, live_people.other_student.pk, str(number), None)
        sent += [write(stuck, first), write(stuck, second)]
        if number % 40 == 0:
            await asyncio.sleep(0.02)
    go_on.set()
    await asyncio.gather(*sent)
    for conversation in (one, two):
        rows = Message.objects.filter(conversation=conversation).order_by("seq")
        assert [int(text) async for text in rows.values_list("content", flat=True)] == list(range(3 * BATCH))


@pytest.mark.usefixtures("go_on")
async def test_the_senders_of_a_batch_that_the_stop_cancels_are_told(
    live_conversation: Conversation, sender: int
) -> None:
    busy = Writer()
    told = write(busy, Draft(live_conversation.pk, sender, "text", None))
    await asyncio.sleep(0)
    [batch] = busy._under_way
    batch.cancel()
    await given_up([told])
    await busy.settle()
    assert not busy._under_way


@pytest.mark.parametrize("make_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_what_others_have_locked_is_set_aside_twice_in_a_moment(make_loop: Callable[[], Any]) -> None:
    """uvloop's timers of half a millisecond are no timers, and do not say when they are due."""

    async def set_aside() -> None:
        busy = Writer()
        for number, seconds in enumerate([writer.FIRST_LOCKED_SECONDS, writer.LOCKED_SECONDS, 0.0]):
            busy._set_aside([number], seconds)
        await asyncio.wait_for(busy.settle(), 5)
        assert (busy._busy, busy._locked) == (set(), {})

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(set_aside())


async def test_a_busy_sender_does_not_starve_the_others(live_people: People) -> None:
    one, two = await in_thread(lambda: (live_people.conversation, live_people.other_conversation))
    busy = Writer()
    many = [write(busy, Draft(one.pk, live_people.student.pk, str(number), None)) for number in range(5 * BATCH)]
    await write(busy, Draft(two.pk, live_people.other_student.pk, "single", None))
    assert sum(result.done() for result in many) <= 2 * BATCH
    await asyncio.gather(*many)
