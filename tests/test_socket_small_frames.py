"""Small frames on many sockets of one user: they share one budget of what they make the server do."""

import time
from contextlib import AsyncExitStack

from chat.models import Conversation, Message
from tests.conftest import Connect
from tests.people import People, say
from tests.queries import counted_queries
from tests.sockets import NO_MESSAGE, connected, in_thread, message_status

SOCKETS, FRAMES = 8, 30  # fewer frames on each than a socket may send at once
BURST, PER_SECOND = 40, 20


async def test_marks_of_many_sockets_are_answered_by_few_calls_of_the_database(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    (message,) = await in_thread(say, live_conversation, live_people.teacher, "one")
    unknown = message.pk + 1
    async with AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(connected(connect, live_people.student, None, "?mark_read=false"))
            for _ in range(SOCKETS)
        ]
        begin = time.monotonic()
        with counted_queries() as queries:
            for _ in range(FRAMES):
                for socket in sockets:
                    await socket.send_json({"type": "mark_read", "message_id": unknown})
            for socket in sockets:
                assert [await socket.receive_json() for _ in range(FRAMES)] == [NO_MESSAGE] * FRAMES
        assert len(queries) <= BURST + PER_SECOND * (time.monotonic() - begin) + 1
        await sockets[0].send_json({"type": "mark_read", "message_id": message.pk})
        assert await sockets[1].receive_json() == message_status(live_people.student, message.pk)
    assert not await Message.objects.filter(is_read=False).aexists()


async def test_typing_on_many_sockets_is_published_within_one_budget(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    async with AsyncExitStack() as stack:
        teacher = await stack.enter_async_context(connected(connect, live_people.teacher, live_conversation))
        sockets = [await stack.enter_async_context(connected(connect, live_people.student)) for _ in range(SOCKETS)]
        begin = time.monotonic()
        for number in range(FRAMES // 2):
            for socket in sockets:
                await socket.send_json({"type": "typing", "is_typing": number % 2 == 0})
                await socket.silence()
        budget = BURST + PER_SECOND * (time.monotonic() - begin) + 1
        await teacher.send_json({"type": "ping"})
        published = 0
        while (await teacher.receive_json())["type"] == "typing":
            published += 1
        assert BURST <= published <= budget
