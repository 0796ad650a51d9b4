"""What one socket is told of messages becoming read: each once, and only forward."""

import asyncio
from typing import Any

import pytest

from chat.bus.events import MessagesRead
from chat.models import Conversation, Message
from tests.delivery_harness import Outside, database_away, write
from tests.people import Cast
from tests.queries import held_up_after
from tests.sockets import message_status


@pytest.fixture
async def outside(live_cast: Cast, live_conversation: Conversation) -> Any:
    """A delivery that has not started."""
    outside = Outside(live_conversation, live_cast)
    yield outside
    outside.feed.stop()


def read(outside: Outside, after: int, *seqs: int, up_to: int | None = None) -> MessagesRead:
    """Return the event that the student has read these; the ids are the seqs and 1,000."""
    pairs = [(seq + 1000, seq) for seq in seqs]
    return MessagesRead(outside.conversation.pk, outside.cast.student.pk, after, up_to or seqs[-1], pairs)


async def test_reads_are_told_once_and_only_forward(outside: Outside) -> None:
    outside.start()
    reader = outside.cast.student
    outside.receive(read(outside, 0, 1, 2), read(outside, 0, 1, 2), read(outside, 0, 1))
    assert await outside.next() == message_status(reader, 1001, 1002)
    outside.receive(read(outside, 0, 1, 2, 3))
    assert await outside.next() == message_status(reader, 1003)
    outside.receive(read(outside, 3, 5), read(outside, 3, 4, 5))
    assert await outside.next() == message_status(reader, 1005)
    await outside.nothing_more()


async def test_what_each_side_has_read_is_counted_for_itself(outside: Outside) -> None:
    outside.start()
    outside.receive(read(outside, 0, 1, 5))
    assert await outside.next() == message_status(outside.cast.student, 1001, 1005)
    outside.receive(MessagesRead(outside.conversation.pk, outside.cast.teacher.pk, 0, 2, [(1002, 2)]))
    assert await outside.next() == message_status(outside.cast.teacher, 1002)
    await outside.nothing_more()


async def test_a_read_that_was_not_heard_is_read_from_the_database(outside: Outside, live_cast: Cast) -> None:
    outside.start(6)
    await write(outside, 6)
    ids = [pk async for pk in Message.objects.order_by("seq").values_list("pk", flat=True)]
    await Message.objects.filter(seq__lte=4).aupdate(is_read=True)
    outside.receive(read(outside, 2, 3, 4))  # of which 1 and 2 are lost
    assert await outside.next() == message_status(live_cast.student, *ids[:4])
    await Message.objects.filter(seq__lte=6).aupdate(is_read=True)
    assert outside.feed.catch_up(6, {live_cast.student.pk: 6, live_cast.teacher.pk: 0})
    assert await outside.next() == message_status(live_cast.student, *ids[4:])
    assert not outside.feed.catch_up(6, {live_cast.student.pk: 6, live_cast.teacher.pk: 0})
    outside.receive(read(outside, 0, 1, 2), read(outside, 4, 5, 6))
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
    outside.receive(MessagesRead(pk, reader, 4, 6, pairs[4:]))  # the look-up begins
    for _ in range(8):  # turns of the loop: to write, to fill, to ask the thread
        await asyncio.sleep(0)
    outside.receive(MessagesRead(pk, reader, 0, 2, pairs[:2]))  # and what was lost comes late
    told: list[int] = []
    while len(told) < 6:
        told += (await outside.next())["message_ids"]
    assert sorted(told) == ids
    await outside.nothing_more()


async def test_what_was_told_to_be_read_is_never_shown_unread_afterwards(outside: Outside, live_cast: Cast) -> None:
    outside.start()
    one, two, three = await write(outside, 3)
    with held_up_after('FROM "chat_message"') as (made, go_on):
        outside.receive(two)  # the hole before it is looked up
        assert await asyncio.to_thread(made.wait, 5)
        outside.receive(three)
        pairs = [(event.message.id, event.seq) for event in (one, two)]
        await Message.objects.filter(seq__lte=2).aupdate(is_read=True)
        outside.receive(MessagesRead(outside.conversation.pk, live_cast.student.pk, 0, 2, pairs))
        assert await outside.next() == message_status(live_cast.student, one.message.id, two.message.id)
        go_on.set()
    messages = [(await outside.next())["message"] for _ in range(3)]
    assert [(message["id"], message["is_read"]) for message in messages] == [
        (one.message.id, True),
        (two.message.id, True),
        (three.message.id, False),
    ]
    await outside.nothing_more()


async def test_what_the_sender_has_read_themselves_says_nothing_of_their_own_messages(outside: Outside) -> None:
    outside.start()
    (one,) = await write(outside, 1)
    outside.receive(MessagesRead(outside.conversation.pk, outside.cast.teacher.pk, 0, 1, []))
    outside.receive(one)
    assert (await outside.next())["message"]["is_read"] is False


async def test_a_look_up_of_reads_that_fails_is_made_again(outside: Outside, live_cast: Cast) -> None:
    outside.start(2)
    await write(outside, 2)
    ids = [pk async for pk in Message.objects.order_by("seq").values_list("pk", flat=True)]
    await Message.objects.aupdate(is_read=True)
    with database_away() as tried:
        outside.feed.catch_up(2, {live_cast.student.pk: 2})
        assert await asyncio.to_thread(tried.wait, 5)
    assert await outside.next() == message_status(live_cast.student, *ids)
    await outside.nothing_more()


async def test_at_most_five_hundred_reads_are_in_a_frame(outside: Outside) -> None:
    outside.start(1001)
    outside.receive(read(outside, 0, *range(1, 1002)))
    frames = [await outside.next() for _ in range(3)]
    ids = list(range(1001, 2002))
    assert frames == [message_status(outside.cast.student, *ids[n : n + 500]) for n in (0, 500, 1000)]
    await outside.nothing_more()
