"""What waits for its commit while the database does not answer."""

import asyncio
import gc
import itertools
import threading
from collections.abc import Iterator

import pytest

from chat import writer
from chat.batch import Draft, Sent
from chat.database import WRITE_THREADS, write_threads
from chat.errors import UnavailableError
from chat.models import Message
from chat.writer import BATCH, MAX_STUCK, Writer
from tests.people import People
from tests.sockets import in_thread

UNDER_WAY = BATCH * (1 + MAX_STUCK)
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


async def given_up(results: "list[asyncio.Future[Sent]]") -> None:
    told = await asyncio.gather(*results, return_exceptions=True)
    assert [type(error) for error in told] == [UnavailableError] * len(results)


@pytest.mark.usefixtures("go_on", "transactional_db")
@pytest.mark.parametrize("conversations", [1, 50, BATCH * MAX_STUCK, 10_000])
async def test_what_was_given_up_is_not_kept(monkeypatch: pytest.MonkeyPatch, sender: int, conversations: int) -> None:
    monkeypatch.setattr(writer, "DRAFT_SECONDS", 0.5)
    stuck, results = Writer(), []
    for number in range(2 * UNDER_WAY):
        results.append(stuck.write(Draft(number % conversations, sender, str(number), None)))
        if number % BATCH == 0:
            await asyncio.sleep(0.02)  # stuck batches: their conversations are busy
    await given_up(results)
    assert drafts(sender) <= UNDER_WAY
    assert stuck._waiting == {}


@pytest.mark.usefixtures("go_on", "transactional_db")
async def test_what_nobody_waits_for_any_more_goes_with_what_is_given_up(
    monkeypatch: pytest.MonkeyPatch, sender: int
) -> None:
    monkeypatch.setattr(writer, "DRAFT_SECONDS", 0.3)
    stuck = Writer()
    results = [stuck.write(Draft(1, sender, "stuck", None))]
    await asyncio.sleep(0.05)
    cancelled = [stuck.write(Draft(1, sender, str(number), None)) for number in range(10)]
    results.append(stuck.write(Draft(1, sender, "last", None)))
    for result in cancelled:
        result.cancel()
    await given_up(results)
    assert drafts(sender) == 1


async def test_the_order_of_each_conversation_outlasts_a_database_that_hangs(
    live_people: People, go_on: threading.Event
) -> None:
    one, two = await in_thread(lambda: (live_people.conversation, live_people.other_conversation))
    stuck, sent = Writer(), []
    for number in range(3 * BATCH):
        first = Draft(one.pk, live_people.student.pk, str(number), None)
        second = Draft(two.pk, live_people.other_student.pk, str(number), None)
        sent += [stuck.write(first), stuck.write(second)]
        if number % 40 == 0:
            await asyncio.sleep(0.02)
    go_on.set()
    await asyncio.gather(*sent)
    for conversation in (one, two):
        rows = Message.objects.filter(conversation=conversation).order_by("seq")
        assert [int(text) async for text in rows.values_list("content", flat=True)] == list(range(3 * BATCH))


async def test_who_writes_much_lets_the_others_have_their_turn(live_people: People) -> None:
    one, two = await in_thread(lambda: (live_people.conversation, live_people.other_conversation))
    busy = Writer()
    many = [busy.write(Draft(one.pk, live_people.student.pk, str(number), None)) for number in range(5 * BATCH)]
    await busy.write(Draft(two.pk, live_people.other_student.pk, "single", None))
    assert [result.done() for result in many[BATCH - 1 :: BATCH]] == [True, False, False, False, False]
    await asyncio.gather(*many)
