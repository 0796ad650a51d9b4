"""Marking very many messages as read: in steps, in bounded time, one event for each step."""

from typing import Any

import pytest

from chat import services
from chat.bus.event_bus import event_bus
from chat.bus.events import MessagesRead
from chat.live import conversation_feed
from chat.models import Conversation, Message
from tests.conftest import Connect
from tests.delivery_harness import DeliveryHarness, write
from tests.people import People, client_of, fill
from tests.sockets import connected, http, in_thread, message_status

MANY = 6_000  # by both sides in turn
STEP = 1_000
MINE = "/api/v1/chat/my-conversation/messages/"


@pytest.fixture(autouse=True)
def _smaller_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MARKED_AT_ONCE", STEP)


@pytest.fixture
def _no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that marking may take is over when the first step is done."""
    monkeypatch.setattr(services, "MARK_SECONDS", -1.0)


@pytest.fixture
def many(live_conversation: Conversation) -> list[Message]:
    """So many messages, all unread."""
    return fill(live_conversation, MANY)


def stand(conversation: Conversation) -> tuple[int, int, int]:
    """Return how far the student has read, how far the teacher, and how many messages nobody has."""
    marks = Conversation.objects.values_list("student_read_seq", "teacher_read_seq").get(pk=conversation.pk)
    return *marks, conversation.messages.filter(is_read=False).count()


async def test_each_step_is_sent_as_its_own_event(
    live_people: People, live_conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "MARKED_AT_ONCE", 10)
    ids = [message.pk for message in await in_thread(fill, live_conversation, 50)]
    received: list[Any] = []
    event_bus().on(MessagesRead, received.append)
    read = {"conversation": live_conversation, "reader": live_people.teacher}
    assert await in_thread(services.mark_read, **read) == 25
    theirs = [(ids[seq - 1], seq) for seq in range(1, 51, 2)]  # the student's
    pk, reader = live_conversation.pk, live_people.teacher.pk
    assert received == [
        MessagesRead(pk, reader, 0, 19, theirs[:10]),
        MessagesRead(pk, reader, 19, 39, theirs[10:20]),
        MessagesRead(pk, reader, 39, 49, theirs[20:]),
    ]
    assert await in_thread(services.mark_read, **read) == 0
    assert len(received) == 3
    assert await in_thread(stand, live_conversation) == (0, 49, 25)


@pytest.mark.usefixtures("many")
def test_very_many_messages_are_all_marked_if_there_is_time(
    live_people: People, live_conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "MARK_SECONDS", 60.0)
    assert services.mark_read(conversation=live_conversation, reader=live_people.teacher) == MANY // 2
    assert stand(live_conversation) == (0, MANY - 1, MANY // 2)
    assert live_conversation.teacher_read_seq == MANY - 1


@pytest.mark.usefixtures("_no_time")
async def test_a_connect_that_runs_out_of_time_leaves_the_rest_to_the_next(
    connect: Connect, live_people: People, live_conversation: Conversation, many: list[Message]
) -> None:
    theirs = [message.pk for message in many if message.sender_id == live_people.student.pk]
    async with connected(connect, live_people.student, None, "?mark_read=false") as student:
        for number in range(2):
            async with connected(connect, live_people.teacher, live_conversation) as teacher:
                await teacher.silence()
            for start in range(number * STEP, (number + 1) * STEP, 500):
                expected = message_status(live_people.teacher, *theirs[start : start + 500])
                assert await student.receive_json() == expected
        await student.silence()
    assert await in_thread(stand, live_conversation) == (0, 4 * STEP - 1, MANY - 2 * STEP)


@pytest.mark.usefixtures("_no_time", "many")
def test_the_history_shows_as_read_what_was_marked_in_time(
    live_people: People, live_conversation: Conversation
) -> None:
    student = client_of(live_people.student)
    for query, read in [("?page=1&page_size=200", True), ("?limit=200", False)]:
        Message.objects.update(is_read=False)
        Conversation.objects.update(student_read_seq=0)
        results = student.get(MINE + query).json()["results"]
        theirs = [message["is_read"] for message in results if not message["is_own_message"]]
        assert theirs == [read] * 100
    assert stand(live_conversation) == (2 * STEP, 0, MANY - STEP)


@pytest.mark.usefixtures("_no_time", "many")
async def test_marking_over_rest_returns_the_number_marked(
    live_people: People, live_conversation: Conversation
) -> None:
    client = await http(live_people.student)
    for _ in range(2):
        answer = await client.post(f"/api/v1/chat/conversations/{live_conversation.pk}/mark-read/")
        assert (answer.status_code, answer.json()) == (200, {"detail": f"{STEP} messages marked as read."})


async def test_many_lost_reads_are_looked_up_in_steps(
    live_people: People, live_conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation_feed, "MAX_READS", 2)
    harness = DeliveryHarness(live_conversation, live_people)
    harness.start(5)
    await write(harness, 5)
    ids = [pk async for pk in Message.objects.order_by("seq").values_list("pk", flat=True)]
    await Message.objects.aupdate(is_read=True)
    assert harness.feed.catch_up(5, {live_people.student.pk: 5})
    for expected in (ids[:2], ids[2:4], ids[4:]):
        assert await harness.next() == message_status(live_people.student, *expected)
    assert not harness.feed.catch_up(5, {live_people.student.pk: 5})
    await harness.nothing_more()
    harness.feed.stop()
