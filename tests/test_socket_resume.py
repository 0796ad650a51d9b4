"""Reconnecting with `?after=`: no gap, no duplicate, and an answer to every id."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.db import transaction

from chat.models import Conversation, Message
from tests.conftest import Connect
from tests.people import People, conversation_of, say
from tests.sockets import (
    connected,
    established,
    http,
    in_thread,
    message_status,
    new_message,
    receive_many,
    resume_complete,
)


def bulk(conversation: Conversation, people: People, count: int) -> list[Message]:
    """Store many messages: every third is the student's own, with a client_id."""
    first = conversation.last_seq + 1
    senders = [people.student if seq % 3 == 0 else people.teacher for seq in range(first, first + count)]
    rows = [
        Message(
            conversation=conversation,
            sender=sender,
            content=f"message {seq}",
            seq=seq,
            client_id=f"c{seq}" if sender == people.student else None,
        )
        for seq, sender in enumerate(senders, first)
    ]
    Message.objects.bulk_create(rows)
    conversation.last_seq += count
    Conversation.objects.filter(pk=conversation.pk).update(last_seq=conversation.last_seq)
    return rows


async def shown(messages: list[Message], people: People) -> list[dict[str, Any]]:
    """Return the frames that show these messages to the student."""
    return [await new_message(message, people.student, message.client_id) for message in messages]


async def test_resuming_with_nothing_missed_says_so(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    messages = await in_thread(bulk, live_conversation, live_people, 4)
    async with connect(live_people.student, None, f"?after={messages[-1].pk}") as socket:
        assert await receive_many(socket, 2) == [established(live_conversation), resume_complete(0)]
        await socket.silence()


async def test_missed_messages_are_replayed_in_order_own_ones_with_client_id(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    messages = await in_thread(bulk, live_conversation, live_people, 10)
    async with connect(live_people.student, None, f"?after={messages[1].pk}") as socket:
        expected = [established(live_conversation), *await shown(messages[2:], live_people), resume_complete(8)]
        assert await receive_many(socket, 10) == expected
        await socket.silence()
    async with connect(live_people.teacher, live_conversation, f"?after={messages[1].pk}") as socket:
        replayed = [await new_message(message, live_people.teacher) for message in messages[2:]]
        newest_read = max(message.pk for message in messages if message.sender_id == live_people.teacher.pk)
        expected = [established(live_conversation), *replayed, resume_complete(8, newest_read)]
        assert await receive_many(socket, 10) == expected
        await socket.silence()


async def test_replayed_messages_are_marked_read_except_in_a_background_tab(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    messages = await in_thread(say, live_conversation, live_people.teacher, "one", "two")
    query = f"?mark_read=false&after={messages[0].pk}"
    async with connected(connect, live_people.student, None, query) as socket:
        expected = await new_message(messages[1], live_people.student, is_read=False)
        assert await receive_many(socket, 2) == [expected, resume_complete(1)]
    async with connected(connect, live_people.student, None, f"?after={messages[0].pk}") as socket:
        expected = await new_message(messages[1], live_people.student, is_read=True)
        assert await receive_many(socket, 2) == [expected, resume_complete(1)]


async def test_five_hundred_missed_are_replayed(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    messages = await in_thread(bulk, live_conversation, live_people, 501)
    async with connected(connect, live_people.student, None, f"?after={messages[0].pk}") as socket:
        frames = await receive_many(socket, 501)
        assert [frame["message"]["id"] for frame in frames[:-1]] == [message.pk for message in messages[1:]]
        assert frames[250:252] == await shown(messages[251:253], live_people)
        assert frames[-1] == resume_complete(500)
        await socket.silence()


async def test_more_than_five_hundred_missed_are_left_to_the_history(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    messages = await in_thread(bulk, live_conversation, live_people, 502)
    async with connect(live_people.student, None, f"?after={messages[0].pk}") as socket:
        assert await receive_many(socket, 2) == [established(live_conversation), resume_complete(0, recovered=False)]
        await socket.send_json({"message": "usable", "client_id": "1"})
        own = await socket.receive_json()
        assert own == await new_message(await Message.objects.alatest("seq"), live_people.student, "1")
        await socket.silence()


@pytest.mark.parametrize(
    "after",
    [
        "",
        "00",
        "-1",
        "x",
        "1.0",
        "1e3",
        " 1",
        "9223372036854775808",
        "9" * 5000,
        "999999",
        "%00",
        "%ff",
        "٣",
        "foreign",
    ],
)
async def test_an_unknown_message_id_recovers_nothing_and_the_socket_works(
    connect: Connect, live_people: People, live_conversation: Conversation, after: str
) -> None:
    await in_thread(say, live_conversation, live_people.teacher, "one", "two")
    if after == "foreign":
        other = await in_thread(lambda: live_people.other_conversation)
        after = str((await in_thread(say, other, live_people.trainer, "elsewhere"))[0].pk)
    async with connect(live_people.student, None, f"?after={after}") as socket:
        assert await receive_many(socket, 2) == [established(live_conversation), resume_complete(0, recovered=False)]
        await socket.send_json({"message": "usable"})
        own = await socket.receive_json()
        assert own == await new_message(await Message.objects.aget(content="usable"), live_people.student)
        await socket.silence()


async def test_after_0_replays_from_the_beginning(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    """As a client asks for whom the conversation was empty when it was cut off."""
    async with connected(connect, live_people.student, None, "?after=0") as socket:
        assert await socket.receive_json() == resume_complete(0)
        await socket.silence()
    messages = await in_thread(bulk, live_conversation, live_people, 500)
    await Message.objects.filter(pk=messages[0].pk).adelete()
    async with connected(connect, live_people.student, None, "?after=0") as socket:
        frames = await receive_many(socket, 500)
        assert [frame["message"]["id"] for frame in frames[:-1]] == [message.pk for message in messages[1:]]
        assert frames[-1] == resume_complete(499)
    await in_thread(bulk, live_conversation, live_people, 1)
    async with connected(connect, live_people.student, None, "?after=0") as socket:
        assert await socket.receive_json() == resume_complete(0, recovered=False)


async def test_resuming_after_an_erased_message_continues_where_it_stood(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    messages = await in_thread(bulk, live_conversation, live_people, 9)
    erased = [messages[n] for n in (0, 3, 4, 8)]
    await Message.objects.filter(pk__in=[message.pk for message in erased]).adelete()
    left = [messages[n] for n in (1, 2, 5, 6, 7)]
    for message, skipped in zip(erased, (0, 2, 2, 5), strict=True):
        query = f"?mark_read=false&after={message.pk}"
        async with connected(connect, live_people.student, None, query) as socket:
            replayed = await shown(left[skipped:], live_people)
            assert await receive_many(socket, len(replayed) + 1) == [*replayed, resume_complete(len(replayed))]
            await socket.silence()


async def test_without_after_nothing_is_replayed(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    await in_thread(bulk, live_conversation, live_people, 3)
    async with connect(live_people.student) as socket:
        assert await socket.receive_json() == established(live_conversation)
        await socket.silence()


async def test_read_up_to_is_the_newest_own_message_that_the_other_side_has_read(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    own = await in_thread(say, live_conversation, live_people.student, "one", "two")
    await in_thread(say, live_conversation, live_people.teacher, "three")
    later = await in_thread(say, live_conversation, live_people.student, "four", "five")

    async def resumed() -> Any:
        async with connected(connect, live_people.student, None, f"?after={later[-1].pk}") as socket:
            return await socket.receive_json()

    async with connected(connect, live_people.teacher, live_conversation, "?mark_read=false") as teacher:
        assert await resumed() == resume_complete(0, None)
        await teacher.receive_json()  # the student has read "three" by connecting
        for message, newest in ((own[0], own[0]), (own[1], own[1]), (later[0], later[0])):
            await teacher.send_json({"type": "mark_read", "message_id": message.pk})
            await teacher.receive_json()
            assert await resumed() == resume_complete(0, newest.pk)
    # Of another's, and where nothing is recovered, too.
    async with connected(connect, live_people.student, None, "?after=junk") as socket:
        assert await socket.receive_json() == resume_complete(0, later[0].pk, recovered=False)


async def test_reads_during_the_absence_are_sent_only_as_read_up_to(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    own = await in_thread(say, live_conversation, live_people.student, "one", "two")
    async with connected(connect, live_people.teacher, live_conversation):
        pass
    async with connected(connect, live_people.student, None, f"?after={own[0].pk}") as socket:
        expected = [await new_message(own[1], live_people.student, is_read=True), resume_complete(1, own[1].pk)]
        assert await receive_many(socket, 2) == expected
        await socket.silence()
        async with connected(connect, live_people.student) as tab:
            await tab.send_json({"message": "three"})
            await socket.receive_json()
            third = await Message.objects.alatest("seq")
        async with connected(connect, live_people.teacher, live_conversation):
            assert await socket.receive_json() == message_status(live_people.teacher, third.pk)


def write_and_erase(conversation: Conversation, people: People) -> None:
    """Store two messages of which the second is gone when others see them."""
    with transaction.atomic():
        say(conversation, people.teacher, "untold", "vanished")[1].delete()


async def test_deleted_rows_are_skipped(connect: Connect, live_people: People, live_conversation: Conversation) -> None:
    messages = await in_thread(bulk, live_conversation, live_people, 8)
    await Message.objects.filter(pk__in=[messages[n].pk for n in (3, 4, 7)]).adelete()
    async with connected(connect, live_people.student, None, f"?after={messages[1].pk}") as socket:
        left = [messages[2], messages[5], messages[6]]
        assert await receive_many(socket, 4) == [*await shown(left, live_people), resume_complete(3)]
        await socket.silence()
        # The missing numbers after them are not a gap.
        await in_thread(write_and_erase, live_conversation, live_people)
        await socket.send_json({"message": "last"})
        frames = await receive_many(socket, 2)
        assert frames == await shown([m async for m in Message.objects.order_by("seq")][-2:], live_people)


async def test_messages_that_arrive_while_replaying_come_once_and_in_order(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHAT_RATE_LIMIT = None
    missed = await in_thread(bulk, live_conversation, live_people, 401)
    async with connected(connect, live_people.teacher, live_conversation, "?mark_read=false") as teacher:

        async def talk() -> None:
            for number in range(60):
                await teacher.send_json({"message": f"live {number}"})
                await asyncio.sleep(0)

        async def resume() -> list[int]:
            async with connected(
                connect, live_people.student, None, f"?mark_read=false&after={missed[0].pk}"
            ) as socket:
                frames = await receive_many(socket, 461)
                ids = [frame["message"]["id"] for frame in frames if frame["type"] == "new_message"]
                (end,) = [index for index, frame in enumerate(frames) if frame["type"] == "resume_complete"]
                assert end >= 400
                assert frames[end] == resume_complete(end)
                await socket.silence()
                return ids

        _, *received = await asyncio.gather(talk(), *(resume() for _ in range(5)))
    stored = [pk async for pk in Message.objects.order_by("seq").values_list("pk", flat=True)]
    assert received == [stored[1:]] * 5


async def test_many_reconnects_give_the_same_messages_as_the_history(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHAT_RATE_LIMIT = None
    seen: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        teacher = await stack.enter_async_context(connected(connect, live_people.teacher, live_conversation))
        for life in range(20):
            query = f"?after={seen[-1]['id']}" if seen else ""
            talking = asyncio.gather(*(teacher.send_json({"message": f"{life} {number}"}) for number in range(5)))
            async with connected(connect, live_people.student, None, query) as socket:
                await socket.send_json({"message": f"own {life}"})
                own = None
                while own != f"own {life}":
                    frame = await socket.receive_json()
                    if frame["type"] == "new_message":
                        seen.append(frame["message"])
                        own = frame["message"]["content"]
            await talking
        async with connected(connect, live_people.student, None, f"?after={seen[-1]['id']}") as socket:
            while (frame := await socket.receive_json())["type"] == "new_message":
                seen.append(frame["message"])
            assert frame["recovered"] is True
    client = await http(live_people.student)
    answer = await client.get("/api/v1/chat/my-conversation/messages/?limit=200")
    history = [message for message in answer.json()["results"] if message["id"] >= seen[0]["id"]]
    assert [message["id"] for message in seen] == [message["id"] for message in history]
    assert [message | {"is_read": True} for message in seen] == [message | {"is_read": True} for message in history]


async def test_a_former_mentor_resumes_too(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    messages = await in_thread(say, live_conversation, live_people.student, "one", "two")
    live_people.student.profile.assigned_mentor = None
    await live_people.student.profile.asave()
    async with connected(connect, live_people.teacher, live_conversation, f"?after={messages[0].pk}") as socket:
        expected = [await new_message(messages[1], live_people.teacher), resume_complete(1)]
        assert await receive_many(socket, 2) == expected


async def test_the_messages_of_a_trainer_and_of_a_teacher_do_not_mix(connect: Connect, live_people: People) -> None:
    both = await in_thread(conversation_of, live_people.other_student, live_people.teacher)
    here = await in_thread(lambda: live_people.other_conversation)
    first = (await in_thread(say, here, live_people.trainer, "one"))[0]
    await in_thread(say, both, live_people.teacher, "elsewhere", "and more")
    second = (await in_thread(say, here, live_people.trainer, "two"))[0]
    async with connected(connect, live_people.other_student, None, f"?after={first.pk}") as socket:
        expected = [await new_message(second, live_people.other_student), resume_complete(1)]
        assert await receive_many(socket, 2) == expected
