"""Sending over a socket, and what both sides receive."""

import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.db.models import Max

from accounts.models import User, UserProfile
from chat.models import Conversation, Message
from tests.conftest import Connect
from tests.people import People, conversation_of, say
from tests.sockets import CLOSED, STUDENT_MESSAGES, connected, established, http, in_thread, new_message, receive_many


async def test_a_message_reaches_both_sides_each_with_their_own_view(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    async with connect(live_people.student) as student, connect(live_people.teacher, live_conversation) as teacher:
        assert await student.receive_json() == established(live_conversation)
        assert await teacher.receive_json() == established(live_conversation)
        await student.send_json({"message": " Hello, how are you today? "})
        received = await teacher.receive_json()
        own = await student.receive_json()
        stored = await Message.objects.aget()
        assert own == await new_message(stored, live_people.student)
        assert received == await new_message(stored, live_people.teacher)
        assert own["message"] == {
            "id": stored.pk,
            "sender": live_people.student.pk,
            "sender_profile": {
                "user_id": live_people.student.profile.pk,
                "full_name": "Student",
                "username": "student",
                "email": "student@example.com",
                "role": "STUDENT",
            },
            "content": " Hello, how are you today? ",
            "timestamp": stored.timestamp.isoformat().replace("+00:00", "Z"),
            "is_read": False,
            "is_own_message": True,
            "is_erased": False,
        }
        await student.silence()
        await teacher.silence()


async def test_every_tab_of_both_sides_receives_every_message_once(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    people = [(live_people.student, None)] * 3 + [(live_people.teacher, live_conversation)] * 2
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(connected(connect, *person)) for person in people]
        for index, (sender, _) in enumerate(people):
            await sockets[index].send_json({"message": f"from tab {index}"})
            received = [await socket.receive_json() for socket in sockets]
            stored = await Message.objects.alatest("seq")
            assert (stored.sender_id, stored.content) == (sender.pk, f"from tab {index}")
            assert received == [await new_message(stored, user) for user, _ in people]
        for socket in sockets:
            await socket.silence()


async def test_nobody_else_receives_a_message(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    # The same teacher in another conversation, and another student.
    other = await in_thread(conversation_of, live_people.other_student, live_people.teacher)
    async with (
        connected(connect, live_people.student) as student,
        connected(connect, live_people.teacher, other) as elsewhere,
        connected(connect, live_people.other_student) as stranger,
    ):
        await student.send_json({"message": "between us"})
        await student.receive_json()
        await elsewhere.silence()
        await stranger.silence()


@pytest.mark.parametrize(
    "content",
    [
        "x",
        "  two spaces, a tab\tand a line\r\nend \n",
        "السلام عليكم يا أستاذ",
        "👩‍👩‍👧‍👦 é é \u200f\u202e \ufeff",
        "<script>alert(1)</script> & \"quotes\" 'too' \\ \\u0000 %s {0}",
        "\x01\x1f\x7f\x85\u2028\u2029",
        "\U0010ffff" * 4000,
    ],
)
async def test_content_is_stored_and_delivered_unchanged(connect: Connect, live_people: People, content: str) -> None:
    async with connected(connect, live_people.student) as socket:
        await socket.send_json({"message": content})
        frame = await socket.receive_json()
        stored = await Message.objects.aget()
        assert stored.content == content
        assert frame == await new_message(stored, live_people.student)


@pytest.mark.parametrize("extra", [{"type": "chat_message"}, {"type": 5}, {"type": [1]}, {"type": None}, {"x": {}}])
async def test_unknown_fields_of_a_send_are_ignored(
    connect: Connect, live_people: People, extra: dict[str, Any]
) -> None:
    async with connected(connect, live_people.student) as socket:
        await socket.send_json({"message": "hello"} | extra)
        assert await socket.receive_json() == await new_message(await Message.objects.aget(), live_people.student)


async def test_a_post_over_rest_reaches_open_sockets_live(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    student_client, teacher_client = await http(live_people.student), await http(live_people.teacher)
    teacher_messages = f"/api/v1/chat/teacher/conversations/{live_conversation.pk}/messages/"
    async with (
        connected(connect, live_people.student) as student,
        connected(connect, live_people.teacher, live_conversation) as teacher,
    ):
        body = {"content": "by post", "client_id": "1"}
        answer = await student_client.post(STUDENT_MESSAGES, body, content_type="application/json")
        stored = await Message.objects.alatest("seq")
        expected = await new_message(stored, live_people.student, "1")
        assert (answer.status_code, answer.json()) == (201, expected["message"])
        assert await student.receive_json() == expected
        assert await teacher.receive_json() == await new_message(stored, live_people.teacher)

        answer = await teacher_client.post(teacher_messages, {"content": "back"}, content_type="application/json")
        stored = await Message.objects.alatest("seq")
        expected = await new_message(stored, live_people.teacher)
        assert (answer.status_code, answer.json()) == (201, expected["message"])
        assert await teacher.receive_json() == expected
        assert await student.receive_json() == await new_message(stored, live_people.student)
        await student.silence()
        await teacher.silence()


async def test_a_former_mentor_may_read_but_a_send_is_refused(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    old = (await in_thread(say, live_conversation, live_people.student, "before"))[0]
    live_people.student.profile.assigned_mentor = live_people.trainer.profile
    await live_people.student.profile.asave()
    async with connect(live_people.teacher, live_conversation) as former:
        assert await former.receive_json() == established(live_conversation)
        await former.send_json({"message": "still here"})
        assert await former.receive_json() == CLOSED
        await former.send_json({"message": "still here", "client_id": "1"})
        assert await former.receive_json() == CLOSED
        await former.silence()
    await old.arefresh_from_db()
    assert old.is_read
    assert await Message.objects.acount() == 1


@pytest.mark.parametrize("change", ["mentor", "role of the student", "role of the mentor", "student gone", "inactive"])
async def test_write_access_is_checked_in_the_storing_transaction(
    connect: Connect, live_people: People, live_conversation: Conversation, change: str
) -> None:
    profiles = UserProfile.objects
    async with (
        connected(connect, live_people.student) as student,
        connected(connect, live_people.teacher, live_conversation) as teacher,
    ):
        # None of these sends a signal, so the sockets stay open till the next round.
        if change == "mentor":
            await profiles.filter(user=live_people.student).aupdate(assigned_mentor=live_people.trainer.profile)
        elif change == "role of the student":
            await profiles.filter(user=live_people.student).aupdate(role="ADMIN")
        elif change == "role of the mentor":
            await profiles.filter(user=live_people.teacher).aupdate(role="ADMIN")
        elif change == "student gone":
            await profiles.filter(user=live_people.student).aupdate(assigned_mentor=None)
        else:
            await User.objects.filter(pk__in=[live_people.student.pk, live_people.teacher.pk]).aupdate(is_active=False)
        for socket in (student, teacher):
            await socket.send_json({"message": "too late"})
            assert await socket.receive_json() == CLOSED
    assert not await Message.objects.aexists()


async def test_two_hundred_quick_sends_keep_their_order(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHAT_RATE_LIMIT = None
    async with (
        connected(connect, live_people.student) as student,
        connected(connect, live_people.teacher, live_conversation) as teacher,
    ):
        for number in range(200):
            await student.send_json({"message": str(number)})
        own, received = await receive_many(student, 200), await receive_many(teacher, 200)
    stored = [message async for message in Message.objects.order_by("seq")]
    assert [message.content for message in stored] == [str(number) for number in range(200)]
    assert [message.seq for message in stored] == list(range(1, 201))
    assert own == [await new_message(message, live_people.student) for message in stored]
    assert received == [await new_message(message, live_people.teacher) for message in stored]


async def test_both_sides_receive_the_same_order(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHAT_RATE_LIMIT = None
    async with (
        connected(connect, live_people.student) as student,
        connected(connect, live_people.teacher, live_conversation) as teacher,
    ):
        for number in range(50):
            await student.send_json({"message": f"student {number}"})
            await teacher.send_json({"message": f"teacher {number}"})
        by_student, by_teacher = await receive_many(student, 100), await receive_many(teacher, 100)
    stored = [message async for message in Message.objects.order_by("seq")]
    assert [frame["message"]["id"] for frame in by_student] == [message.pk for message in stored]
    assert [frame["message"]["id"] for frame in by_teacher] == [message.pk for message in stored]
    assert [m.content for m in stored if m.sender_id == live_people.teacher.pk] == [f"teacher {n}" for n in range(50)]
    newest = await Conversation.objects.aaggregate(Max("last_seq"), Max("updated_at"))
    assert newest == {"last_seq__max": 100, "updated_at__max": stored[-1].timestamp}


async def test_an_acknowledged_message_is_stored(connect: Connect, live_people: People, settings: Any) -> None:
    settings.CHAT_RATE_LIMIT = None
    async with connected(connect, live_people.student) as socket:
        for number in range(30):
            await socket.send_json({"message": str(number), "client_id": str(number)})
        for _ in range(30):
            frame = await socket.receive_json()
            assert await Message.objects.filter(pk=frame["message"]["id"], client_id=frame["client_id"]).aexists()


async def test_a_send_is_stored_even_if_its_socket_has_closed(connect: Connect, live_people: People) -> None:
    async with connected(connect, live_people.student) as listening:
        async with connected(connect, live_people.student) as socket:
            await socket.send_input({"type": "websocket.receive", "text": json.dumps({"message": "bye"})})
        frame = await listening.receive_json()
        assert frame == await new_message(await Message.objects.aget(), live_people.student)
