"""`client_id`: who sees it, and how a repeated one is answered."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from accounts.models import User, UserProfile
from chat.models import Conversation, Message
from tests.conftest import Connect, Socket
from tests.people import People, conversation_of, say
from tests.sockets import STUDENT_MESSAGES, connected, http, in_thread, new_message, receive_many


async def marker(socket: Socket, user: User) -> None:
    """Check that what was sent before got no answer: a socket's sends are answered in turn."""
    await socket.send_json({"message": "marker"})
    frame = await socket.receive_json()
    assert frame == await new_message(await Message.objects.alatest("seq"), user)
    assert frame["message"]["content"] == "marker"


async def test_the_client_id_goes_to_the_senders_own_sockets_only(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    async with (
        connected(connect, live_people.student) as student,
        connected(connect, live_people.student) as tab,
        connected(connect, live_people.teacher, live_conversation) as teacher,
    ):
        for client_id in ("a", "ك" * 64, " ", "\U0001f600"):
            await student.send_json({"message": "hello", "client_id": client_id})
            own, copy, received = [await socket.receive_json() for socket in (student, tab, teacher)]
            stored = await Message.objects.alatest("seq")
            assert stored.client_id == client_id
            assert own == copy == await new_message(stored, live_people.student, client_id)
            assert received == await new_message(stored, live_people.teacher)


async def test_a_send_without_a_client_id_has_none_in_its_answer(connect: Connect, live_people: People) -> None:
    async with connected(connect, live_people.student) as socket:
        for frame in ({"message": "one"}, {"message": "two", "client_id": None}):
            await socket.send_json(frame)
            stored_frame = await socket.receive_json()
            assert stored_frame == await new_message(await Message.objects.alatest("seq"), live_people.student)


async def test_a_repeat_on_the_socket_that_had_the_answer_is_not_answered_again(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    async with (
        connected(connect, live_people.student) as socket,
        connected(connect, live_people.teacher, live_conversation) as teacher,
    ):
        for text in ("hello", "hello", "with other words"):
            await socket.send_json({"message": text, "client_id": "1"})
        frame = await socket.receive_json()
        await marker(socket, live_people.student)
        first, last = [message async for message in Message.objects.order_by("seq")]
        assert frame == await new_message(first, live_people.student, "1")
        assert await receive_many(teacher, 2) == [await new_message(m, live_people.teacher) for m in (first, last)]
        await teacher.silence()


async def test_a_repeat_on_a_later_socket_is_answered_once_with_the_first_message(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    async with connected(connect, live_people.student) as before:
        await before.send_json({"message": "first", "client_id": "1"})
        await before.receive_json()
        await before.send_json({"message": "second"})
        await before.receive_json()
    first = await Message.objects.aget(client_id="1")
    async with (
        connected(connect, live_people.student) as socket,
        connected(connect, live_people.student) as tab,
        connected(connect, live_people.teacher, live_conversation, "?mark_read=false") as teacher,
    ):
        await socket.send_json({"message": "other words", "client_id": "1"})
        assert await socket.receive_json() == await new_message(first, live_people.student, "1")
        await socket.send_json({"message": "first", "client_id": "1"})
        await marker(socket, live_people.student)
        # The others have sent nothing: the marker is the first frame they receive.
        last = await Message.objects.alatest("seq")
        assert await tab.receive_json() == await new_message(last, live_people.student)
        assert await teacher.receive_json() == await new_message(last, live_people.teacher)
    assert await Message.objects.acount() == 3


async def test_a_repeat_of_an_undelivered_message_reaches_all_in_order(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    def committed_but_untold() -> list[Message]:
        received = say(live_conversation, live_people.teacher, "from the other side")
        own = Message(conversation=live_conversation, sender=live_people.student, content="lost", client_id="1")
        own.save()
        return [*received, own]

    async with (
        connected(connect, live_people.student) as socket,
        connected(connect, live_people.teacher, live_conversation) as teacher,
    ):
        received, own = await in_thread(committed_but_untold)
        await socket.send_json({"message": "lost", "client_id": "1"})
        expected = [await new_message(received, live_people.student), await new_message(own, live_people.student, "1")]
        assert await receive_many(socket, 2) == expected
        assert await receive_many(teacher, 2) == [await new_message(m, live_people.teacher) for m in (received, own)]
        await marker(socket, live_people.student)


async def test_only_repeats_of_messages_not_replayed_are_answered(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    def rows() -> list[Message]:
        make = Message.objects.create
        fields = {"conversation": live_conversation, "sender": live_people.student, "content": "x"}
        return [make(**fields, client_id=str(number)) for number in range(3)]

    old, cursor, missed = await in_thread(rows)
    async with connected(connect, live_people.student, None, f"?after={cursor.pk}") as socket:
        assert await socket.receive_json() == await new_message(missed, live_people.student, "2")
        assert (await socket.receive_json())["type"] == "resume_complete"
        await socket.send_json({"message": "x", "client_id": "2"})
        await socket.send_json({"message": "x", "client_id": "0"})
        assert await socket.receive_json() == await new_message(old, live_people.student, "0")
        await marker(socket, live_people.student)


async def test_the_same_client_id_of_the_other_side_or_elsewhere_is_another_message(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    other = await in_thread(conversation_of, live_people.other_student, live_people.teacher)
    await UserProfile.objects.filter(pk=live_people.other_student.profile.pk).aupdate(
        assigned_mentor=live_people.teacher.profile
    )
    async with (
        connected(connect, live_people.student) as student,
        connected(connect, live_people.teacher, live_conversation) as teacher,
        connected(connect, live_people.teacher, other) as elsewhere,
    ):
        await student.send_json({"message": "mine", "client_id": "1"})
        await student.receive_json()
        await teacher.receive_json()
        await teacher.send_json({"message": "yours", "client_id": "1"})
        second = await teacher.receive_json()
        assert second == await new_message(await Message.objects.aget(content="yours"), live_people.teacher, "1")
        await elsewhere.send_json({"message": "elsewhere", "client_id": "1"})
        third = await elsewhere.receive_json()
        assert third == await new_message(await Message.objects.aget(content="elsewhere"), live_people.teacher, "1")
    assert await Message.objects.acount() == 3


async def test_one_client_id_over_many_sockets_and_rest_at_once_is_one_message(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHAT_RATE_LIMIT = None
    client = await http(live_people.student)
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(connected(connect, live_people.student)) for _ in range(5)]
        body = {"content": "once", "client_id": "1"}
        posts = [client.post(STUDENT_MESSAGES, body, content_type="application/json") for _ in range(10)]
        sends = [socket.send_json({"message": "once", "client_id": "1"}) for socket in sockets * 2]
        answers = (await asyncio.gather(*posts, *sends))[:10]
        stored = await Message.objects.aget()
        expected = await new_message(stored, live_people.student, "1")
        assert [await socket.receive_json() for socket in sockets] == [expected] * 5
        assert [answer.json() for answer in answers] == [expected["message"]] * 10
        assert sorted(answer.status_code for answer in answers)[:-1] == [200] * 9
        for socket in sockets:
            await marker(socket, live_people.student)
            for other in sockets:
                if other is not socket:
                    assert (await other.receive_json())["message"]["content"] == "marker"


async def test_a_repeat_is_answered_after_the_conversation_closed(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    async with connected(connect, live_people.teacher, live_conversation) as mentor:
        await mentor.send_json({"message": "last words", "client_id": "1"})
        await mentor.receive_json()
    live_people.student.profile.assigned_mentor = None
    await live_people.student.profile.asave()
    async with connected(connect, live_people.teacher, live_conversation) as former:
        await former.send_json({"message": "last words", "client_id": "1"})
        assert await former.receive_json() == await new_message(await Message.objects.aget(), live_people.teacher, "1")
