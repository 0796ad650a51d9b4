"""Marking as read: what becomes read in each way, and who receives the status."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.db import ProgrammingError

from chat.models import Conversation, Message
from tests.conftest import Connect, Socket
from tests.delivery_harness import database_away
from tests.other_process import ROUGH, OtherProcess, rough_layer
from tests.people import People, conversation_of, say
from tests.sockets import NO_MESSAGE, STUDENT_MESSAGES, connected, http, in_thread, message_status, new_message, settled


async def unread() -> list[int]:
    """Return the ids that nobody has read."""
    return [pk async for pk in Message.objects.filter(is_read=False).order_by("seq").values_list("pk", flat=True)]


@pytest.fixture
def written(live_people: People, live_conversation: Conversation) -> list[Message]:
    """Three messages of the teacher, the student's answer, and a fourth."""
    first = say(live_conversation, live_people.teacher, "one", "two", "three")
    return [
        *first,
        *say(live_conversation, live_people.student, "four"),
        *say(live_conversation, live_people.teacher, "5"),
    ]


async def background_tab(connect: Connect, stack: AsyncExitStack, *args: Any) -> Socket:
    """Return a socket that has not read anything by connecting."""
    args = args if len(args) > 1 else (*args, None)
    socket: Socket = await stack.enter_async_context(connected(connect, *args, "?mark_read=false"))
    return socket


@pytest.mark.parametrize("as_given", [int, str])
async def test_marking_up_to_a_message_is_told_to_every_socket_of_both_sides(
    connect: Connect,
    live_people: People,
    live_conversation: Conversation,
    written: list[Message],
    as_given: Callable[[int], Any],
) -> None:
    async with AsyncExitStack() as stack:
        reader = await background_tab(connect, stack, live_people.student)
        tab = await background_tab(connect, stack, live_people.student)
        teacher = await background_tab(connect, stack, live_people.teacher, live_conversation)
        await reader.send_json({"type": "mark_read", "message_id": as_given(written[1].pk)})
        expected = message_status(live_people.student, written[0].pk, written[1].pk)
        assert [await socket.receive_json() for socket in (reader, tab, teacher)] == [expected] * 3
        assert await unread() == [written[2].pk, written[3].pk, written[4].pk]
        await reader.send_json({"type": "mark_read", "message_id": as_given(written[4].pk)})
        expected = message_status(live_people.student, written[2].pk, written[4].pk)
        assert [await socket.receive_json() for socket in (reader, tab, teacher)] == [expected] * 3
        assert await unread() == [written[3].pk]
        for socket in (reader, tab, teacher):
            await socket.silence()


@pytest.mark.parametrize("frame", [{"type": "mark_read"}, {"type": "mark_read", "message_id": None}])
async def test_marking_without_an_id_marks_all(
    connect: Connect,
    live_people: People,
    live_conversation: Conversation,
    written: list[Message],
    frame: dict[str, Any],
) -> None:
    async with AsyncExitStack() as stack:
        reader = await background_tab(connect, stack, live_people.student)
        teacher = await background_tab(connect, stack, live_people.teacher, live_conversation)
        await reader.send_json(frame)
        expected = message_status(live_people.student, *(written[index].pk for index in (0, 1, 2, 4)))
        assert [await socket.receive_json() for socket in (reader, teacher)] == [expected] * 2
        assert await unread() == [written[3].pk]


async def test_a_mark_on_ones_own_message_reads_only_the_other_sides(
    connect: Connect, live_people: People, written: list[Message]
) -> None:
    async with AsyncExitStack() as stack:
        reader = await background_tab(connect, stack, live_people.student)
        await reader.send_json({"type": "mark_read", "message_id": written[3].pk})
        assert await reader.receive_json() == message_status(live_people.student, *(m.pk for m in written[:3]))
        assert await unread() == [written[3].pk, written[4].pk]


async def test_marking_without_a_change_sends_nothing(
    connect: Connect, live_people: People, live_conversation: Conversation, written: list[Message]
) -> None:
    async with AsyncExitStack() as stack:
        reader = await background_tab(connect, stack, live_people.student)
        teacher = await background_tab(connect, stack, live_people.teacher, live_conversation)
        await reader.send_json({"type": "mark_read", "message_id": written[2].pk})
        expected = message_status(live_people.student, *(message.pk for message in written[:3]))
        assert [await socket.receive_json() for socket in (reader, teacher)] == [expected] * 2
        for message_id in (written[2].pk, written[0].pk, str(written[3].pk)):
            await reader.send_json({"type": "mark_read", "message_id": message_id})
        # When the status of the last mark has arrived, those before it would have, too.
        await reader.send_json({"type": "mark_read", "message_id": written[4].pk})
        expected = message_status(live_people.student, written[4].pk)
        assert [await socket.receive_json() for socket in (reader, teacher)] == [expected] * 2
        await reader.send_json({"type": "mark_read"})
        await reader.send_json({"type": "mark_read", "message_id": "junk"})
        assert await reader.receive_json() == NO_MESSAGE
        await reader.silence()
        await teacher.silence()
        assert await unread() == [written[3].pk]


async def test_a_message_of_another_conversation_is_not_found(
    connect: Connect, live_people: People, live_conversation: Conversation, written: list[Message]
) -> None:
    other = await in_thread(conversation_of, live_people.other_student, live_people.teacher)
    foreign = (await in_thread(say, other, live_people.other_student, "elsewhere"))[0]
    async with AsyncExitStack() as stack:
        reader = await background_tab(connect, stack, live_people.teacher, live_conversation)
        elsewhere = await background_tab(connect, stack, live_people.teacher, other)
        await reader.send_json({"type": "mark_read", "message_id": foreign.pk})
        assert await reader.receive_json() == NO_MESSAGE
        await elsewhere.silence()
    assert len(await unread()) == 6


async def test_reads_of_one_side_do_not_affect_the_other(
    connect: Connect, live_people: People, live_conversation: Conversation, written: list[Message]
) -> None:
    async with AsyncExitStack() as stack:
        student = await background_tab(connect, stack, live_people.student)
        teacher = await background_tab(connect, stack, live_people.teacher, live_conversation)
        await teacher.send_json({"type": "mark_read"})
        expected = message_status(live_people.teacher, written[3].pk)
        assert [await socket.receive_json() for socket in (student, teacher)] == [expected] * 2
        await student.send_json({"type": "mark_read"})
        expected = message_status(live_people.student, *(written[index].pk for index in (0, 1, 2, 4)))
        assert [await socket.receive_json() for socket in (student, teacher)] == [expected] * 2
        assert await unread() == []


async def test_at_most_five_hundred_ids_are_in_a_frame(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    def fill() -> list[int]:
        fields = {"conversation": live_conversation, "sender": live_people.teacher, "content": "x"}
        rows = Message.objects.bulk_create(Message(**fields, seq=seq) for seq in range(1, 1202))
        Conversation.objects.update(last_seq=1201)
        return [row.pk for row in rows]

    ids = await in_thread(fill)
    async with AsyncExitStack() as stack:
        reader = await background_tab(connect, stack, live_people.student)
        teacher = await background_tab(connect, stack, live_people.teacher, live_conversation)
        await reader.send_json({"type": "mark_read"})
        expected = [message_status(live_people.student, *ids[start : start + 500]) for start in (0, 500, 1000)]
        for socket in (reader, teacher):
            assert [await socket.receive_json() for _ in range(3)] == expected
            await socket.silence()


async def test_marking_over_rest_reaches_sockets(
    connect: Connect, live_people: People, live_conversation: Conversation, written: list[Message]
) -> None:
    client = await http(live_people.student)
    path = f"/api/v1/chat/conversations/{live_conversation.pk}/mark-read/"
    async with AsyncExitStack() as stack:
        student = await background_tab(connect, stack, live_people.student)
        teacher = await background_tab(connect, stack, live_people.teacher, live_conversation)
        answer = await client.post(path)
        assert (answer.status_code, answer.json()) == (200, {"detail": "4 messages marked as read."})
        expected = message_status(live_people.student, *(written[index].pk for index in (0, 1, 2, 4)))
        assert [await socket.receive_json() for socket in (student, teacher)] == [expected] * 2
        assert (await client.post(path)).json() == {"detail": "0 messages marked as read."}
        await student.silence()
        await teacher.silence()


async def test_reading_the_history_over_rest_reaches_sockets(
    connect: Connect, live_people: People, live_conversation: Conversation, written: list[Message]
) -> None:
    client = await http(live_people.student)
    async with AsyncExitStack() as stack:
        student = await background_tab(connect, stack, live_people.student)
        teacher = await background_tab(connect, stack, live_people.teacher, live_conversation)
        assert (await client.get(f"{STUDENT_MESSAGES}?mark_read=false")).status_code == 200
        await student.silence()
        await teacher.silence()
        assert (await client.get(STUDENT_MESSAGES)).status_code == 200
        expected = message_status(live_people.student, *(written[index].pk for index in (0, 1, 2, 4)))
        assert [await socket.receive_json() for socket in (student, teacher)] == [expected] * 2


async def test_concurrent_marks_of_many_tabs_send_each_message_once(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    messages = await in_thread(say, live_conversation, live_people.teacher, *map(str, range(20)))
    async with AsyncExitStack() as stack:
        tabs = [await background_tab(connect, stack, live_people.student) for _ in range(4)]
        teacher = await background_tab(connect, stack, live_people.teacher, live_conversation)
        marks = [{"type": "mark_read", "message_id": message.pk} for message in messages]
        await asyncio.gather(*(tab.send_json(mark) for mark in reversed(marks) for tab in tabs[:1]))
        await asyncio.gather(*(tab.send_json(mark) for tab, mark in zip(tabs[1:], marks[5:], strict=False)))
        told: list[int] = []
        while len(told) < 20:
            frame = await teacher.receive_json()
            told += frame["message_ids"]
            assert frame == message_status(live_people.student, *frame["message_ids"])
        assert sorted(told) == [message.pk for message in messages]
        assert await unread() == []
        await teacher.silence()


async def test_a_message_that_comes_after_a_mark_is_unread_on_arrival(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    async with (
        connected(connect, live_people.student) as student,
        connected(connect, live_people.teacher, live_conversation) as teacher,
    ):
        await teacher.send_json({"message": "one"})
        first = await Message.objects.aget(pk=(await student.receive_json())["message"]["id"])
        await teacher.receive_json()
        await student.send_json({"type": "mark_read", "message_id": first.pk})
        expected = message_status(live_people.student, first.pk)
        assert [await socket.receive_json() for socket in (student, teacher)] == [expected] * 2
        await teacher.send_json({"message": "two"})
        second = await student.receive_json()
        assert second == await new_message(await Message.objects.aget(content="two"), live_people.student)
        assert second["message"]["is_read"] is False


async def test_a_lost_read_event_is_repaired_by_the_next(
    connect: Connect, live_people: People, live_conversation: Conversation, written: list[Message], settings: Any
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH}}
    settings.CHAT_HEAL_SECONDS = 1000
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(OtherProcess())
        reader = await other.connect(live_people.student, None, "?mark_read=false")
        teacher = await background_tab(connect, stack, live_people.teacher, live_conversation)
        await settled()
        await other.run(settled())
        rough_layer().drop = 1
        await reader.send_json({"type": "mark_read", "message_id": written[1].pk})
        assert await reader.receive_json() == message_status(live_people.student, written[0].pk, written[1].pk)
        rough_layer().drop = 0
        await reader.send_json({"type": "mark_read", "message_id": written[2].pk})
        assert await reader.receive_json() == message_status(live_people.student, written[2].pk)
        expected = message_status(live_people.student, *(message.pk for message in written[:3]))
        assert await teacher.receive_json() == expected
        await teacher.silence()


async def test_what_a_socket_reads_is_published_from_its_own_event_loop(
    connect: Connect, live_people: People, written: list[Message], settings: Any
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH}}
    async with AsyncExitStack() as stack:
        reader = await background_tab(connect, stack, live_people.student)
        await reader.send_json({"type": "mark_read", "message_id": written[0].pk})
        await reader.receive_json()
        await stack.enter_async_context(connected(connect, live_people.student))
        assert await reader.receive_json() == message_status(
            live_people.student, *(written[index].pk for index in (1, 2, 4))
        )
        await reader.silence()
    loops = {loop for call, loop in rough_layer().calls}
    assert loops == {asyncio.get_running_loop()}


async def test_a_mark_that_fails_unexpectedly_closes_the_socket_and_is_logged(
    connect: Connect, live_people: People, written: list[Message], caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncExitStack() as stack:
        reader = await background_tab(connect, stack, live_people.student)
        await settled()
        with database_away(ProgrammingError("no such column")):
            await reader.send_json({"type": "mark_read"})
            assert await reader.close_code() == 1011
    (record,) = (record for record in caplog.records if record.levelno >= logging.ERROR)
    assert record.message == "a socket failed"
    assert "no such column" in caplog.text
