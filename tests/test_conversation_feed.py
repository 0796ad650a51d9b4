"""A conversation's feed sends every message once and in order for any events, or closes the socket."""

import asyncio
import random
from typing import Any

import pytest
from django.db import ProgrammingError

from chat.bus.events import MessagesRead
from chat.live import subscriber
from chat.models import Conversation, Message
from chat.store.history import messages_between
from chat.wire.server_frames import Pong
from tests.delivery_harness import DeliveryHarness, database_away, feed_of, handshake_of, write
from tests.people import People, say
from tests.queries import counted_queries, paused_after
from tests.sockets import in_thread, new_message

INTERNAL_ERROR, RESTARTING, TOO_SLOW = 1011, 1012, 1013


@pytest.fixture
async def harness(live_people: People, live_conversation: Conversation) -> Any:
    """A delivery that has not started."""
    harness = DeliveryHarness(live_conversation, live_people)
    yield harness
    harness.feed.stop()


async def test_events_are_sent_in_order_from_this_users_view(harness: DeliveryHarness, live_people: People) -> None:
    harness.start()
    theirs = (await in_thread(say, harness.conversation, live_people.teacher, "theirs"))[0]
    own = Message(conversation=harness.conversation, sender=live_people.student, content="own", client_id="1")
    await own.asave()
    harness.receive(*await in_thread(messages_between, harness.conversation.pk, 0, 2, 2))
    assert await harness.next() == await new_message(theirs, live_people.student)
    assert await harness.next() == await new_message(own, live_people.student, "1")
    await harness.nothing_more()


async def test_a_repeated_event_is_dropped(harness: DeliveryHarness) -> None:
    harness.start()
    one, two, three = await write(harness, 3)
    harness.receive(one, one, two, one, two, three, three, one)
    assert await harness.numbers(3) == [1, 2, 3]
    harness.receive(one, two, three)
    await harness.nothing_more()
    assert harness.feed._ahead == {}  # nor is it kept, in the place of what comes ahead of its turn


async def test_a_gap_is_filled_from_the_database(harness: DeliveryHarness) -> None:
    harness.start()
    events = await write(harness, 5)
    harness.receive(events[0], events[4])
    assert await harness.numbers(5) == [1, 2, 3, 4, 5]
    harness.receive(*events)
    await harness.nothing_more()


async def test_reordered_events_are_sent_in_order(harness: DeliveryHarness) -> None:
    harness.start()
    events = await write(harness, 3)
    harness.receive(events[2], events[1], events[0])
    assert await harness.numbers(3) == [1, 2, 3]
    await harness.nothing_more()


@pytest.mark.parametrize("seed", range(5))
async def test_lost_repeated_and_reordered_events_leave_every_message_once(harness: DeliveryHarness, seed: int) -> None:
    dice = random.Random(seed)
    harness.start()
    events = await write(harness, 60)
    script = [event for event in events for _ in range(dice.choice([0, 1, 1, 1, 2]))]
    script.sort(key=lambda event: event.seq + dice.uniform(0, 8))
    for event in script:
        harness.receive(event)
        if dice.random() < 0.3:
            await asyncio.sleep(0)
    harness.feed.catch_up(60, {})
    assert await harness.numbers(60) == list(range(1, 61))
    await harness.nothing_more()


async def test_a_gap_larger_than_one_page_is_filled(harness: DeliveryHarness) -> None:
    harness.start()
    events = await write(harness, 950)
    harness.receive(events[-1])
    assert await harness.numbers(950) == list(range(1, 951))
    await harness.nothing_more()


async def test_events_during_a_gap_fill_are_sent_after_it(harness: DeliveryHarness) -> None:
    harness.start()
    events = await write(harness, 300)
    harness.receive(events[250])
    for event in events[251:]:
        harness.receive(event)
        await asyncio.sleep(0)
    assert await harness.numbers(300) == list(range(1, 301))
    await harness.nothing_more()


async def test_events_during_a_gap_fill_that_close_the_gap_leave_nothing_behind(harness: DeliveryHarness) -> None:
    harness.start()
    events = await write(harness, 3)
    with paused_after('FROM "chat_message"') as (made, go_on):
        harness.receive(events[2])
        assert await asyncio.to_thread(made.wait, 5)
        harness.receive(events[0], events[1])
        assert await harness.numbers(3) == [1, 2, 3]
        reading = harness.feed._reading
        go_on.set()
        assert reading is not None
        await reading
    assert harness.feed._ahead == {}
    await harness.nothing_more()


async def test_a_message_in_the_place_of_one_that_was_lost_closes_the_socket(harness: DeliveryHarness) -> None:
    """After a fail-over to a standby that did not have the newest message: its seq is given again."""
    harness.start()
    events = await write(harness, 2)
    harness.receive(*events)
    assert await harness.numbers(2) == [1, 2]
    await Message.objects.filter(seq=2).adelete()
    await Conversation.objects.aupdate(last_seq=1)
    again = await write(harness, 1)
    harness.feed.answer_repeat(events[1])  # nothing new
    assert harness.closed.empty()
    harness.receive(*again)
    assert harness.closed.get_nowait() == RESTARTING
    harness.feed.answer_repeat(*again)
    assert harness.closed.get_nowait() == RESTARTING


async def test_deleted_rows_are_skipped(harness: DeliveryHarness) -> None:
    harness.start()
    events = await write(harness, 6)
    await Message.objects.filter(seq__in=[2, 3, 6]).adelete()
    harness.receive(events[0], events[4])
    assert await harness.numbers(3) == [1, 4, 5]
    with counted_queries() as queries, paused_after('FROM "chat_message"') as (made, go_on):
        assert harness.feed.catch_up(6, {})  # which is gone, too
        assert await asyncio.to_thread(made.wait, 5)
        go_on.set()
        for _ in range(20):
            await in_thread(Conversation.objects.count)
    assert sum("chat_message" in sql for sql in queries) == 1  # and not looked for again and again
    seventh = await write(harness, 1)
    harness.receive(*seventh)
    assert await harness.numbers(1) == [7]
    await harness.nothing_more()


async def test_many_deleted_rows_in_a_row_are_skipped(harness: DeliveryHarness) -> None:
    harness.start()
    events = await write(harness, 700)
    await Message.objects.filter(seq__range=(2, 650)).adelete()
    harness.receive(events[699])
    assert await harness.numbers(51) == [1, *range(651, 701)]
    await harness.nothing_more()


async def test_nothing_is_sent_before_the_start_or_twice(harness: DeliveryHarness) -> None:
    events = await write(harness, 5)
    harness.receive(*events[:4], MessagesRead(harness.conversation.pk, harness.people.teacher.pk, 0, 1, [(1, 1)]))
    await asyncio.sleep(0)
    assert harness.sent.empty()
    harness.start(3, missed=events[1:3])
    assert await harness.numbers(3) == [2, 3, 4]
    harness.receive(*events)
    assert await harness.numbers(1) == [5]
    await harness.nothing_more()


async def test_events_reordered_before_the_start_are_completed(harness: DeliveryHarness) -> None:
    events = await write(harness, 9)
    harness.receive(events[8], events[5])
    harness.start(2)
    assert await harness.numbers(7) == [3, 4, 5, 6, 7, 8, 9]
    await harness.nothing_more()


async def test_catch_up_returns_whether_anything_was_missed(harness: DeliveryHarness) -> None:
    harness.start()
    assert not harness.feed.catch_up(0, {harness.people.teacher.pk: 0})
    await write(harness, 2)
    assert harness.feed.catch_up(2, {})
    assert await harness.numbers(2) == [1, 2]
    assert not harness.feed.catch_up(2, {})
    assert not harness.feed.catch_up(1, {})
    await harness.nothing_more()


async def test_a_failed_database_read_is_retried(harness: DeliveryHarness) -> None:
    harness.start()
    events = await write(harness, 4)
    with database_away() as tried:
        harness.receive(events[2])
        assert await asyncio.to_thread(tried.wait, 5)
    assert await harness.numbers(3) == [1, 2, 3]
    await harness.nothing_more()
    assert harness.closed.empty()


async def test_a_failing_database_delays_nothing_else(harness: DeliveryHarness) -> None:
    harness.start()
    events = await write(harness, 3)
    with database_away() as tried:
        harness.receive(events[2])
        await harness.nothing_more()
        assert await asyncio.to_thread(tried.wait, 5)
        await harness.nothing_more()
    assert await harness.numbers(3) == [1, 2, 3]


async def test_a_gap_that_cannot_be_filled_closes_the_socket(
    harness: DeliveryHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.start()
    events = await write(harness, 3)
    with database_away(ProgrammingError("no such table")):
        harness.receive(events[2])
        assert await asyncio.wait_for(harness.closed.get(), 5) == INTERNAL_ERROR
    assert [record.message for record in caplog.records] == ["what a socket misses could not be read"]


async def test_events_that_need_no_database_are_sent_while_it_fails(harness: DeliveryHarness) -> None:
    harness.start()
    events = await write(harness, 4)
    with database_away():
        harness.receive(events[2])
        harness.receive(events[1], events[0])
        assert await harness.numbers(3) == [1, 2, 3]
        harness.receive(events[3])
        assert await harness.numbers(1) == [4]
    await harness.nothing_more()


async def test_a_client_that_does_not_read_costs_bounded_memory(harness: DeliveryHarness) -> None:
    harness.gate.clear()
    harness.start()
    events = await write(harness, 1500)
    for event in events:
        harness.receive(event)
    await asyncio.sleep(0)
    assert len(harness.feed._ahead) <= 201
    assert harness.closed.empty()
    harness.gate.set()  # and it catches up
    assert await harness.numbers(1500) == list(range(1, 1501))
    await harness.nothing_more()


async def test_a_client_that_does_not_read_is_closed_when_its_queue_is_full(harness: DeliveryHarness) -> None:
    harness.gate.clear()
    harness.start()
    await asyncio.sleep(0)  # the first frame is being written now
    for _ in range(1000):
        harness.feed.send(Pong())
    assert harness.closed.empty()
    harness.feed.send(Pong())
    assert await harness.closed.get() == TOO_SLOW


async def test_a_client_that_does_not_read_for_long_is_closed(
    harness: DeliveryHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber, "SEND_SECONDS", 0.05)
    harness.gate.clear()
    harness.start()
    harness.feed.send(Pong())
    assert await asyncio.wait_for(harness.closed.get(), 5) == TOO_SLOW


async def test_a_slow_client_stays_until_it_does_not_take_a_frame(
    live_conversation: Conversation, live_people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long all of them take: what counts is the time of one."""
    monkeypatch.setattr(subscriber, "SEND_SECONDS", 1.0)
    taken = asyncio.Semaphore(0)
    closed: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def send(text: str) -> None:
        await taken.acquire()

    feed = feed_of(live_conversation, live_people.student.pk, send, closed.put_nowait)
    feed.start(handshake_of(live_conversation, live_people.student, 0, [], {}))
    for _ in range(15):
        feed.send(Pong())
    for _ in range(15):
        await asyncio.sleep(0.1)  # a slow client; the first frame's second ends among these
        last = loop.time()
        taken.release()
    assert closed.empty()
    assert await asyncio.wait_for(closed.get(), 5) == TOO_SLOW
    assert loop.time() - last >= 0.95
    feed.stop()


async def test_a_client_that_disconnects_during_a_send_is_closed(
    live_conversation: Conversation, live_people: People
) -> None:
    closed: asyncio.Queue[int] = asyncio.Queue()

    async def send(text: str) -> None:
        raise ConnectionResetError

    feed = feed_of(live_conversation, live_people.student.pk, send, closed.put_nowait)
    feed.start(handshake_of(live_conversation, live_people.student, 0, [], {}))
    assert await asyncio.wait_for(closed.get(), 5) == TOO_SLOW
    feed.stop()


async def test_nothing_is_sent_after_the_stop(harness: DeliveryHarness) -> None:
    harness.start()
    events = await write(harness, 3)
    harness.receive(events[0])
    assert await harness.numbers(1) == [1]
    harness.receive(events[2])
    harness.feed.stop()
    harness.receive(events[1], events[2])
    harness.feed.send(Pong())
    harness.feed.catch_up(3, {harness.people.student.pk: 3})
    await asyncio.sleep(0.05)  # there is nothing to wait for
    assert harness.sent.empty()
    assert harness.closed.empty()


async def test_a_repeat_is_answered_if_the_client_has_not_received_the_message(harness: DeliveryHarness) -> None:
    events = await write(harness, 6)
    harness.start(4, missed=events[2:4])
    assert await harness.numbers(2) == [3, 4]
    harness.feed.answer_repeat(events[3])  # was replayed
    harness.feed.answer_repeat(events[0])  # is older than the socket
    harness.feed.answer_repeat(events[0])
    harness.feed.answer_repeat(events[5])  # has not come yet, nor what is before it
    assert await harness.numbers(3) == [1, 5, 6]
    harness.feed.answer_repeat(events[5])
    await harness.nothing_more()
