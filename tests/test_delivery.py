"""What one socket is sent, whatever it hears: every message once, in order, or it is closed."""

import asyncio
import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from django.db import OperationalError
from django.db.backends.utils import CursorWrapper

from chat import delivery as delivery_module
from chat.delivery import Delivery, messages_between
from chat.events import MessagePosted, MessagesRead
from chat.models import Conversation, Message
from chat.serializers import Pong, encode
from tests.conftest import Cast, counted_queries, say
from tests.sockets import in_thread, message_status, new_message

TOO_SLOW = 1013
PONG = encode(Pong())


class Outside:
    """A delivery to the student, and what it wrote; `gate` closed stands for a client that takes nothing."""

    def __init__(self, conversation: Conversation, cast: Cast) -> None:
        self.conversation, self.cast = conversation, cast
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.closed: asyncio.Queue[int] = asyncio.Queue()
        self.gate = asyncio.Event()
        self.gate.set()
        self.delivery = Delivery(conversation.pk, cast.student.pk, self.send, self.closed.put_nowait)

    async def send(self, text: str) -> None:
        await self.gate.wait()
        self.sent.put_nowait(json.loads(text))

    def start(self, last: int = 0, *, first: int | None = None, frames: Any = ()) -> None:
        """Begin where the client has everything up to the seq `last`."""
        reads = {self.cast.student.pk: 0, self.cast.teacher.pk: 0}
        self.delivery.start(first=last if first is None else first, last=last, reads=reads, frames=frames)

    def hear(self, *events: MessagePosted | MessagesRead) -> None:
        for event in events:
            self.delivery.hear(event)

    async def next(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.sent.get(), 5)

    async def numbers(self, count: int) -> list[int]:
        """Return the contents of the next messages, which are numbers."""
        return [int((await self.next())["message"]["content"]) for _ in range(count)]

    async def nothing_more(self) -> None:
        """Check that all is told: what is said now comes next."""
        self.delivery.say(PONG)
        assert await self.next() == {"type": "pong"}


@pytest.fixture
async def outside(live_cast: Cast, live_conversation: Conversation) -> Any:
    """A delivery that has not started."""
    outside = Outside(live_conversation, live_cast)
    yield outside
    outside.delivery.stop()


async def write(outside: Outside, count: int) -> list[MessagePosted]:
    """Store more messages of the teacher, whose contents are their seqs; return the events that tell of them."""
    pk = outside.conversation.pk

    def rows() -> list[MessagePosted]:
        conversation = Conversation.objects.get(pk=pk)
        last = conversation.last_seq
        numbers = range(last + 1, last + count + 1)
        fields = {"conversation": conversation, "sender": outside.cast.teacher}
        Message.objects.bulk_create(Message(**fields, content=str(seq), seq=seq) for seq in numbers)
        Conversation.objects.filter(pk=pk).update(last_seq=last + count)
        return messages_between(pk, last, last + count, count)

    return await in_thread(rows)


@contextmanager
def database_away() -> Iterator[threading.Event]:
    """Every statement fails, in whatever thread; yields what is set when one has."""
    tried = threading.Event()

    def fail(*_: Any) -> None:
        tried.set()
        raise OperationalError("server closed the connection unexpectedly")

    with patch.object(CursorWrapper, "execute", fail):
        yield tried


async def test_events_are_told_in_order_each_as_this_user_sees_it(outside: Outside, live_cast: Cast) -> None:
    outside.start()
    theirs = (await in_thread(say, outside.conversation, live_cast.teacher, "theirs"))[0]
    own = Message(conversation=outside.conversation, sender=live_cast.student, content="own", client_id="1")
    await own.asave()
    outside.hear(*await in_thread(messages_between, outside.conversation.pk, 0, 2, 2))
    assert await outside.next() == await new_message(theirs, live_cast.student)
    assert await outside.next() == await new_message(own, live_cast.student, "1")
    await outside.nothing_more()


async def test_an_event_that_comes_again_is_dropped(outside: Outside) -> None:
    outside.start()
    one, two, three = await write(outside, 3)
    outside.hear(one, one, two, one, two, three, three, one)
    assert await outside.numbers(3) == [1, 2, 3]
    outside.hear(one, two, three)
    await outside.nothing_more()


async def test_a_gap_is_filled_from_the_database(outside: Outside) -> None:
    outside.start()
    events = await write(outside, 5)
    outside.hear(events[0], events[4])
    assert await outside.numbers(5) == [1, 2, 3, 4, 5]
    outside.hear(*events)
    await outside.nothing_more()


async def test_events_in_any_order_are_told_in_theirs(outside: Outside) -> None:
    outside.start()
    events = await write(outside, 3)
    outside.hear(events[2], events[1], events[0])
    assert await outside.numbers(3) == [1, 2, 3]
    await outside.nothing_more()


@pytest.mark.parametrize("seed", range(5))
async def test_losing_doubling_and_shuffling_leaves_every_message_once(outside: Outside, seed: int) -> None:
    dice = random.Random(seed)
    outside.start()
    events = await write(outside, 60)
    script = [event for event in events for _ in range(dice.choice([0, 1, 1, 1, 2]))]
    script.sort(key=lambda event: event.seq + dice.uniform(0, 8))
    for event in script:
        outside.hear(event)
        if dice.random() < 0.3:
            await asyncio.sleep(0)
    outside.delivery.catch_up(60, {})
    assert await outside.numbers(60) == list(range(1, 61))
    await outside.nothing_more()


async def test_a_gap_larger_than_one_reading_is_filled(outside: Outside) -> None:
    outside.start()
    events = await write(outside, 950)
    outside.hear(events[-1])
    assert await outside.numbers(950) == list(range(1, 951))
    await outside.nothing_more()


async def test_what_comes_while_a_gap_is_filled_comes_behind_it(outside: Outside) -> None:
    outside.start()
    events = await write(outside, 300)
    outside.hear(events[250])
    for event in events[251:]:
        outside.hear(event)
        await asyncio.sleep(0)
    assert await outside.numbers(300) == list(range(1, 301))
    await outside.nothing_more()


async def test_rows_that_vanished_are_skipped(outside: Outside) -> None:
    outside.start()
    events = await write(outside, 6)
    await Message.objects.filter(seq__in=[2, 3, 6]).adelete()
    outside.hear(events[0], events[4])
    assert await outside.numbers(3) == [1, 4, 5]
    with counted_queries() as queries:
        assert outside.delivery.catch_up(6, {})  # which is gone, too
        for _ in range(20):
            await in_thread(Conversation.objects.count)
    assert sum("chat_message" in sql for sql in queries) == 1  # and not looked for again and again
    seventh = await write(outside, 1)
    outside.hear(*seventh)
    assert await outside.numbers(1) == [7]
    await outside.nothing_more()


async def test_many_vanished_rows_in_a_row_are_skipped(outside: Outside) -> None:
    outside.start()
    events = await write(outside, 700)
    await Message.objects.filter(seq__range=(2, 650)).adelete()
    outside.hear(events[699])
    assert await outside.numbers(51) == [1, *range(651, 701)]
    await outside.nothing_more()


async def test_nothing_is_written_before_the_start_and_nothing_of_it_twice(outside: Outside) -> None:
    events = await write(outside, 5)
    outside.hear(*events[:4], MessagesRead(outside.conversation.pk, outside.cast.teacher.pk, 0, 1, [(1, 1)]))
    await asyncio.sleep(0)
    assert outside.sent.empty()
    outside.start(3, first=1, frames=[outside.delivery.frame(event) for event in events[1:3]])
    assert await outside.numbers(3) == [2, 3, 4]
    outside.hear(*events)
    assert await outside.numbers(1) == [5]
    await outside.nothing_more()


async def test_what_was_heard_out_of_order_before_the_start_is_made_whole(outside: Outside) -> None:
    events = await write(outside, 9)
    outside.hear(events[8], events[5])
    outside.start(2)
    assert await outside.numbers(7) == [3, 4, 5, 6, 7, 8, 9]
    await outside.nothing_more()


async def test_catching_up_says_whether_something_was_missed(outside: Outside) -> None:
    outside.start()
    assert not outside.delivery.catch_up(0, {outside.cast.teacher.pk: 0})
    await write(outside, 2)
    assert outside.delivery.catch_up(2, {})
    assert await outside.numbers(2) == [1, 2]
    assert not outside.delivery.catch_up(2, {})
    assert not outside.delivery.catch_up(1, {})
    await outside.nothing_more()


async def test_a_database_that_fails_is_asked_again(outside: Outside) -> None:
    outside.start()
    events = await write(outside, 4)
    with database_away() as tried:
        outside.hear(events[2])
        assert await asyncio.to_thread(tried.wait, 5)
    assert await outside.numbers(3) == [1, 2, 3]
    await outside.nothing_more()
    assert outside.closed.empty()


async def test_a_database_that_fails_holds_up_nothing_else(outside: Outside) -> None:
    outside.start()
    events = await write(outside, 3)
    with database_away() as tried:
        outside.hear(events[2])
        await outside.nothing_more()
        assert await asyncio.to_thread(tried.wait, 5)
        await outside.nothing_more()
    assert await outside.numbers(3) == [1, 2, 3]


async def test_while_the_database_fails_what_fits_without_it_is_told(outside: Outside) -> None:
    outside.start()
    events = await write(outside, 4)
    with database_away():
        outside.hear(events[2])
        outside.hear(events[1], events[0])
        assert await outside.numbers(3) == [1, 2, 3]
        outside.hear(events[3])
        assert await outside.numbers(1) == [4]
    await outside.nothing_more()


async def test_a_client_that_takes_nothing_costs_a_bounded_number_of_messages(outside: Outside) -> None:
    outside.gate.clear()
    outside.start()
    events = await write(outside, 1500)
    for event in events:
        outside.hear(event)
    await asyncio.sleep(0)
    assert len(outside.delivery._ahead) <= 201
    assert outside.closed.empty()
    outside.gate.set()  # and it catches up
    assert await outside.numbers(1500) == list(range(1, 1501))
    await outside.nothing_more()


async def test_a_client_that_takes_nothing_is_closed_when_its_queue_is_full(outside: Outside) -> None:
    outside.gate.clear()
    outside.start()
    for _ in range(1000):
        outside.delivery.say(PONG)
    assert outside.closed.empty()
    outside.delivery.say(PONG)
    assert await outside.closed.get() == TOO_SLOW


async def test_a_client_that_takes_nothing_for_long_is_closed(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "SEND_SECONDS", 0.05)
    outside.gate.clear()
    outside.start()
    outside.delivery.say(PONG)
    assert await asyncio.wait_for(outside.closed.get(), 5) == TOO_SLOW


async def test_a_client_that_is_gone_under_a_frame_is_closed(live_conversation: Conversation, live_cast: Cast) -> None:
    closed: asyncio.Queue[int] = asyncio.Queue()

    async def send(text: str) -> None:
        raise ConnectionResetError

    delivery = Delivery(live_conversation.pk, live_cast.student.pk, send, closed.put_nowait)
    delivery.start(first=0, last=0, reads={}, frames=[Pong()])
    assert await asyncio.wait_for(closed.get(), 5) == TOO_SLOW
    delivery.stop()


async def test_after_the_stop_nothing_is_written(outside: Outside) -> None:
    outside.start()
    events = await write(outside, 3)
    outside.hear(events[0])
    assert await outside.numbers(1) == [1]
    outside.hear(events[2])
    outside.delivery.stop()
    outside.hear(events[1], events[2])
    outside.delivery.say(PONG)
    outside.delivery.catch_up(3, {outside.cast.student.pk: 3})
    await asyncio.sleep(0.05)  # there is nothing to wait for
    assert outside.sent.empty()
    assert outside.closed.empty()


async def test_a_repeat_is_answered_where_the_client_has_not_had_the_message(outside: Outside) -> None:
    events = await write(outside, 6)
    outside.start(4, first=2, frames=[outside.delivery.frame(event) for event in events[2:4]])
    assert await outside.numbers(2) == [3, 4]
    outside.delivery.repeat(events[3])  # was replayed
    outside.delivery.repeat(events[0])  # is older than the socket
    outside.delivery.repeat(events[0])
    outside.delivery.repeat(events[5])  # has not come yet, nor what is before it
    assert await outside.numbers(3) == [1, 5, 6]
    outside.delivery.repeat(events[5])
    await outside.nothing_more()


def read(outside: Outside, after: int, *seqs: int, up_to: int | None = None) -> MessagesRead:
    """Return the event that the student has read these; the ids are the seqs and 1,000."""
    pairs = [(seq + 1000, seq) for seq in seqs]
    return MessagesRead(outside.conversation.pk, outside.cast.student.pk, after, up_to or seqs[-1], pairs)


async def test_reads_are_told_once_and_only_forward(outside: Outside) -> None:
    outside.start()
    reader = outside.cast.student
    outside.hear(read(outside, 0, 1, 2), read(outside, 0, 1, 2), read(outside, 0, 1))
    assert await outside.next() == message_status(reader, 1001, 1002)
    outside.hear(read(outside, 0, 1, 2, 3))
    assert await outside.next() == message_status(reader, 1003)
    outside.hear(read(outside, 3, 5), read(outside, 3, 4, 5))
    assert await outside.next() == message_status(reader, 1005)
    await outside.nothing_more()


async def test_what_each_side_has_read_is_counted_for_itself(outside: Outside) -> None:
    outside.start()
    outside.hear(read(outside, 0, 1, 5))
    assert await outside.next() == message_status(outside.cast.student, 1001, 1005)
    outside.hear(MessagesRead(outside.conversation.pk, outside.cast.teacher.pk, 0, 2, [(1002, 2)]))
    assert await outside.next() == message_status(outside.cast.teacher, 1002)
    await outside.nothing_more()


async def test_a_read_that_was_not_heard_is_read_from_the_database(outside: Outside, live_cast: Cast) -> None:
    outside.start(6)
    await write(outside, 6)
    ids = [pk async for pk in Message.objects.order_by("seq").values_list("pk", flat=True)]
    await Message.objects.filter(seq__lte=4).aupdate(is_read=True)
    outside.hear(read(outside, 2, 3, 4))  # of which 1 and 2 are lost
    assert await outside.next() == message_status(live_cast.student, *ids[:4])
    await Message.objects.filter(seq__lte=6).aupdate(is_read=True)
    assert outside.delivery.catch_up(6, {live_cast.student.pk: 6, live_cast.teacher.pk: 0})
    assert await outside.next() == message_status(live_cast.student, *ids[4:])
    assert not outside.delivery.catch_up(6, {live_cast.student.pk: 6, live_cast.teacher.pk: 0})
    outside.hear(read(outside, 0, 1, 2), read(outside, 4, 5, 6))
    await outside.nothing_more()


async def test_an_event_that_comes_while_reads_are_looked_up_tells_nothing_twice(
    outside: Outside, live_cast: Cast
) -> None:
    outside.start(6)
    await write(outside, 6)
    ids = [pk async for pk in Message.objects.order_by("seq").values_list("pk", flat=True)]
    await Message.objects.aupdate(is_read=True)
    pairs = list(zip(ids, range(1, 7), strict=True))
    pk, reader = outside.conversation.pk, live_cast.student.pk
    outside.hear(MessagesRead(pk, reader, 4, 6, pairs[4:]))  # the look-up begins
    await asyncio.sleep(0)
    outside.hear(MessagesRead(pk, reader, 0, 2, pairs[:2]))  # and what was lost comes late
    told: list[int] = []
    while len(told) < 6:
        told += (await outside.next())["message_ids"]
    assert sorted(told) == ids
    await outside.nothing_more()


async def test_a_look_up_of_reads_that_fails_is_made_again(outside: Outside, live_cast: Cast) -> None:
    outside.start(2)
    await write(outside, 2)
    ids = [pk async for pk in Message.objects.order_by("seq").values_list("pk", flat=True)]
    await Message.objects.aupdate(is_read=True)
    with database_away() as tried:
        outside.delivery.catch_up(2, {live_cast.student.pk: 2})
        assert await asyncio.to_thread(tried.wait, 5)
    assert await outside.next() == message_status(live_cast.student, *ids)
    await outside.nothing_more()


async def test_at_most_five_hundred_reads_are_in_a_frame(outside: Outside) -> None:
    outside.start(1001)
    outside.hear(read(outside, 0, *range(1, 1002)))
    frames = [await outside.next() for _ in range(3)]
    ids = list(range(1001, 2002))
    assert frames == [message_status(outside.cast.student, *ids[n : n + 500]) for n in (0, 500, 1000)]
    await outside.nothing_more()
