"""Typing indicators: who receives them, and when they end."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from accounts.models import RoleChoices, User, UserProfile
from chat.bus.events import TypingChanged
from chat.live import subscriber
from chat.models import Conversation, Message
from chat.wire.server_frames import Pong
from tests.conftest import Connect
from tests.conversation_sockets import ConversationSockets, open_and_silent
from tests.delivery_harness import DeliveryHarness
from tests.other_process import ROUGH, OtherProcess
from tests.people import People, conversation_of, make_user
from tests.queries import counted_queries
from tests.sockets import CLOSED, connected, established, in_thread, new_message, settled

NO_FLAG = {"error": "is_typing must be true or false.", "code": "invalid_frame"}
TOO_MANY = {"error": "Too many frames.", "code": "rate_limited"}


def typing(user: User, is_typing: bool) -> dict[str, Any]:
    return {"type": "typing", "user": user.pk, "is_typing": is_typing}


def set_typing(is_typing: bool) -> dict[str, Any]:
    return {"type": "typing", "is_typing": is_typing}


@pytest.fixture
async def sockets(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> AsyncIterator[ConversationSockets]:
    async with AsyncExitStack() as stack:
        yield ConversationSockets(connect, live_people, live_conversation, stack)


async def test_typing_reaches_every_socket_of_the_other_side_only(
    sockets: ConversationSockets, live_people: People
) -> None:
    student, tab = await sockets.student(), await sockets.student()
    teachers = [await sockets.teacher(), await sockets.teacher()]
    silent = [student, tab, *await sockets.bystanders()]
    for is_typing in (True, True, False, False):
        await student.send_json(set_typing(is_typing))
        for teacher in teachers:
            assert await teacher.receive_json() == typing(live_people.student, is_typing)
    await teachers[0].send_json(set_typing(True))
    for socket in (student, tab):
        assert await socket.receive_json() == typing(live_people.teacher, True)
    await open_and_silent(*silent, *teachers)


async def test_typing_reaches_another_process(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH}}
    async with OtherProcess() as other, connected(connect, live_people.student) as student:
        teacher = await other.connect(live_people.teacher, live_conversation)
        await student.send_json(set_typing(True))
        assert await teacher.receive_json() == typing(live_people.student, True)
        await teacher.send_json(set_typing(True))
        assert await student.receive_json() == typing(live_people.teacher, True)


async def test_sending_a_message_ends_typing(sockets: ConversationSockets, live_people: People) -> None:
    student, teacher = await sockets.student(), await sockets.teacher()
    await student.send_json(set_typing(True))
    assert await teacher.receive_json() == typing(live_people.student, True)
    for text in ("first", "second"):
        await student.send_json({"message": text})
        await student.receive_json()
    message, second = [message async for message in Message.objects.order_by("seq")]
    received = [await teacher.receive_json() for _ in range(3)]
    assert typing(live_people.student, False) in received
    received.remove(typing(live_people.student, False))
    assert received == [await new_message(message, live_people.teacher), await new_message(second, live_people.teacher)]
    await teacher.silence()


async def test_disconnecting_ends_typing(sockets: ConversationSockets, connect: Connect, live_people: People) -> None:
    teacher = await sockets.teacher()
    async with connected(connect, live_people.student) as student:
        await student.send_json(set_typing(True))
        assert await teacher.receive_json() == typing(live_people.student, True)
    assert await teacher.receive_json() == typing(live_people.student, False)
    async with connected(connect, live_people.student) as student:
        for is_typing in (True, False):
            await student.send_json(set_typing(is_typing))
            assert await teacher.receive_json() == typing(live_people.student, is_typing)
    await teacher.silence()


async def test_typing_is_neither_stored_nor_sent_to_later_sockets(
    sockets: ConversationSockets, connect: Connect, live_people: People
) -> None:
    student, teacher = await sockets.student(), await sockets.teacher()
    await student.send_json(set_typing(True))
    assert await teacher.receive_json() == typing(live_people.student, True)
    async with connect(live_people.teacher, sockets.conversation, "?after=1") as late:
        assert await late.receive_json() == established(sockets.conversation)
        assert (await late.receive_json())["type"] == "resume_complete"
        await late.silence()


async def test_typing_costs_no_query(sockets: ConversationSockets, live_people: People, settings: Any) -> None:
    settings.CHAT_HEAL_SECONDS = 1000
    student, teacher = await sockets.student(), await sockets.teacher()
    await settled()
    with counted_queries() as queries:
        for is_typing in (True, False):
            await student.send_json(set_typing(is_typing))
            assert await teacher.receive_json() == typing(live_people.student, is_typing)
    assert queries == []


@pytest.mark.parametrize("value", [None, 0, 1, "true", "", "\ud800", [], {}, 1.0])
async def test_is_typing_must_be_true_or_false(sockets: ConversationSockets, live_people: People, value: Any) -> None:
    student, teacher = await sockets.student(), await sockets.teacher()
    await student.send_json(set_typing(value))
    assert await student.receive_json() == NO_FLAG
    await student.send_json({"type": "typing"})
    assert await student.receive_json() == NO_FLAG
    await open_and_silent(student, teacher)


async def test_a_known_type_takes_precedence_over_a_message(sockets: ConversationSockets, live_people: People) -> None:
    student, teacher = await sockets.student(), await sockets.teacher()
    await student.send_json(set_typing(True) | {"message": "not sent"})
    assert await teacher.receive_json() == typing(live_people.student, True)
    await open_and_silent(student, teacher)
    assert not await Message.objects.aexists()


async def test_typing_of_a_former_mentor_is_not_sent(
    sockets: ConversationSockets, connect: Connect, live_people: People
) -> None:
    profile = await UserProfile.objects.aget(user=live_people.student)
    profile.assigned_mentor = live_people.trainer.profile
    await profile.asave()
    student = await sockets.student()
    async with connected(connect, live_people.teacher, sockets.conversation) as former:
        await former.send_json(set_typing(True))
        assert await former.receive_json() == CLOSED
        await former.silence()
    await student.silence()


async def test_typing_uses_the_rate_limit_of_small_frames(sockets: ConversationSockets, live_people: People) -> None:
    student, teacher = await sockets.student(), await sockets.teacher()
    for number in range(60):
        await student.send_json(set_typing(number % 2 == 0))
    refusal = await student.receive_json()
    assert 0 < refusal.pop("retry_after") <= 0.05
    assert refusal == TOO_MANY
    assert (await teacher.receive_json())["type"] == "typing"


async def test_only_the_newest_typing_state_waits_for_a_slow_client(
    live_people: People, live_conversation: Conversation
) -> None:
    harness = DeliveryHarness(live_conversation, live_people)
    harness.start()
    harness.gate.clear()
    for number in range(2 * subscriber.MAX_WAITING + 1):
        harness.feed.on_event(TypingChanged(live_conversation.pk, live_people.teacher.pk, number % 2 == 0))
    harness.feed.send(Pong())
    harness.gate.set()
    assert await harness.next() == typing(live_people.teacher, True), "the first is under way already"
    assert await harness.next() == {"type": "pong"}
    assert await harness.next() == typing(live_people.teacher, True)
    await harness.nothing_more()
    assert harness.closed.empty()
    harness.feed.stop()


async def test_typing_stays_in_its_conversation(
    sockets: ConversationSockets, connect: Connect, live_people: People
) -> None:
    pupil = await in_thread(make_user, "pupil", RoleChoices.STUDENT, mentor=live_people.teacher)
    other = await in_thread(conversation_of, pupil, live_people.teacher)
    student, teacher = await sockets.student(), await sockets.teacher()
    async with connected(connect, live_people.teacher, other) as elsewhere:
        await student.send_json(set_typing(True))
        assert await teacher.receive_json() == typing(live_people.student, True)
        await elsewhere.send_json(set_typing(True))
        await open_and_silent(elsewhere, student, teacher)
