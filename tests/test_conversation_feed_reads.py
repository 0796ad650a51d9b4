"""A conversation's feed sends each read once, and only forward."""

import asyncio
from typing import Any

import pytest

from chat.bus.events import MessagesRead
from chat.models import Conversation, Message
from tests.delivery_harness import DeliveryHarness, database_away, write
from tests.people import People
from tests.queries import paused_after
from tests.sockets import message_status


@pytest.fixture
async def harness(live_people: People, live_conversation: Conversation) -> Any:
    """A delivery that has not started."""
    harness = DeliveryHarness(live_conversation, live_people)
    yield harness
    harness.feed.stop()


def read(harness: DeliveryHarness, after: int, *seqs: int, up_to: int | None = None) -> MessagesRead:
    """Return the event that the student has read these; the ids are the seqs and 1,000."""
    pairs = [(seq + 1000, seq) for seq in seqs]
    return MessagesRead(harness.conversation.pk, harness.people.student.pk, after, up_to or seqs[-1], pairs)


async def test_reads_are_sent_once_and_only_forward(harness: DeliveryHarness) -> None:
    harness.start()
    reader = harness.people.student
    harness.receive(read(harness, 0, 1, 2), read(harness, 0, 1, 2), read(harness, 0, 1))
    assert await harness.next() == message_status(reader, 1001, 1002)
    harness.receive(read(harness, 0, 1, 2, 3))
    assert await harness.next() == message_status(reader, 1003)
    harness.receive(read(harness, 3, 5), read(harness, 3, 4, 5))
    assert await harness.next() == message_status(reader, 1005)
    await harness.nothing_more()


async def test_each_sides_read_position_is_kept_separately(harness: DeliveryHarness) -> None:
    harness.start()
    harness.receive(read(harness, 0, 1, 5))
    assert await harness.next() == message_status(harness.people.student, 1001, 1005)
    harness.receive(MessagesRead(harness.conversation.pk, harness.people.teacher.pk, 0, 2, [(1002, 2)]))
    assert await harness.next() == message_status(harness.people.teacher, 1002)
    await harness.nothing_more()


async def test_a_lost_read_event_is_recovered_from_the_database(harness: DeliveryHarness, live_people: People) -> None:
    harness.start(6)
    await write(harness, 6)
    ids = [pk async for pk in Message.objects.order_by("seq").values_list("pk", flat=True)]
    await Message.objects.filter(seq__lte=4).aupdate(is_read=True)
    harness.receive(read(harness, 2, 3, 4))  # of which 1 and 2 are lost
    assert await harness.next() == message_status(live_people.student, *ids[:4])
    await Message.objects.filter(seq__lte=6).aupdate(is_read=True)
    assert harness.feed.catch_up(6, {live_people.student.pk: 6, live_people.teacher.pk: 0})
    assert await harness.next() == message_status(live_people.student, *ids[4:])
    assert not harness.feed.catch_up(6, {live_people.student.pk: 6, live_people.teacher.pk: 0})
    harness.receive(read(harness, 0, 1, 2), read(harness, 4, 5, 6))
    await harness.nothing_more()


async def test_an_event_during_a_read_lookup_sends_nothing_twice(harness: DeliveryHarness, live_people: People) -> None:
    harness.start(6)
    await write(harness, 6)
    ids = [pk async for pk in Message.objects.order_by("seq").values_list("pk", flat=True)]
    await Message.objects.aupdate(is_read=True)
    pairs = list(zip(ids, range(1, 7), strict=True))
    pk, reader = harness.conversation.pk, live_people.student.pk
    harness.receive(MessagesRead(pk, reader, 4, 6, pairs[4:]))  # the look-up begins
    for _ in range(8):  # turns of the loop: to write, to fill, to ask the thread
        await asyncio.sleep(0)
    harness.receive(MessagesRead(pk, reader, 0, 2, pairs[:2]))  # and what was lost comes late
    told: list[int] = []
    while len(told) < 6:
        told += (await harness.next())["message_ids"]
    assert sorted(told) == ids
    await harness.nothing_more()


async def test_a_message_reported_as_read_is_never_sent_as_unread(
    harness: DeliveryHarness, live_people: People
) -> None:
    harness.start()
    one, two, three = await write(harness, 3)
    with paused_after('FROM "chat_message"') as (made, go_on):
        harness.receive(two)  # the hole before it is looked up
        assert await asyncio.to_thread(made.wait, 5)
        harness.receive(three)
        pairs = [(event.message.id, event.seq) for event in (one, two)]
        await Message.objects.filter(seq__lte=2).aupdate(is_read=True)
        harness.receive(MessagesRead(harness.conversation.pk, live_people.student.pk, 0, 2, pairs))
        assert await harness.next() == message_status(live_people.student, one.message.id, two.message.id)
        go_on.set()
    messages = [(await harness.next())["message"] for _ in range(3)]
    assert [(message["id"], message["is_read"]) for message in messages] == [
        (one.message.id, True),
        (two.message.id, True),
        (three.message.id, False),
    ]
    await harness.nothing_more()


async def test_a_senders_own_reads_do_not_mark_their_messages(harness: DeliveryHarness) -> None:
    harness.start()
    (one,) = await write(harness, 1)
    harness.receive(MessagesRead(harness.conversation.pk, harness.people.teacher.pk, 0, 1, []))
    harness.receive(one)
    assert (await harness.next())["message"]["is_read"] is False


async def test_a_failed_lookup_of_reads_is_retried(harness: DeliveryHarness, live_people: People) -> None:
    harness.start(2)
    await write(harness, 2)
    ids = [pk async for pk in Message.objects.order_by("seq").values_list("pk", flat=True)]
    await Message.objects.aupdate(is_read=True)
    with database_away() as tried:
        harness.feed.catch_up(2, {live_people.student.pk: 2})
        assert await asyncio.to_thread(tried.wait, 5)
    assert await harness.next() == message_status(live_people.student, *ids)
    await harness.nothing_more()


async def test_at_most_five_hundred_reads_are_in_a_frame(harness: DeliveryHarness) -> None:
    harness.start(1001)
    harness.receive(read(harness, 0, *range(1, 1002)))
    frames = [await harness.next() for _ in range(3)]
    ids = list(range(1001, 2002))
    assert frames == [message_status(harness.people.student, *ids[n : n + 500]) for n in (0, 500, 1000)]
    await harness.nothing_more()
