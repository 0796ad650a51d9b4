"""Who is told that somebody writes, and that they stopped."""

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
from tests.conversation_sockets import Room, stay
from tests.delivery_harness import Outside
from tests.other_process import ROUGH, OtherProcess
from tests.people import Cast, conversation_of, make_user
from tests.queries import counted_queries
from tests.sockets import CLOSED, entered, established, in_thread, new_message, settled

NO_FLAG = {"error": "is_typing must be true or false.", "code": "invalid_frame"}
TOO_MANY = {"error": "Too many frames.", "code": "rate_limited"}


def typing(user: User, is_typing: bool) -> dict[str, Any]:
    return {"type": "typing", "user": user.pk, "is_typing": is_typing}


def set_typing(is_typing: bool) -> dict[str, Any]:
    return {"type": "typing", "is_typing": is_typing}


@pytest.fixture
async def room(connect: Connect, live_cast: Cast, live_conversation: Conversation) -> AsyncIterator[Room]:
    async with AsyncExitStack() as stack:
        yield Room(connect, live_cast, live_conversation, stack)


async def test_the_other_side_hears_it_on_every_socket_and_nobody_else_does(room: Room, live_cast: Cast) -> None:
    student, tab = await room.student(), await room.student()
    teachers = [await room.teacher(), await room.teacher()]
    silent = [student, tab, *await room.bystanders()]
    for is_typing in (True, True, False, False):
        await student.send_json(set_typing(is_typing))
        for teacher in teachers:
            assert await teacher.receive_json() == typing(live_cast.student, is_typing)
    await teachers[0].send_json(set_typing(True))
    for socket in (student, tab):
        assert await socket.receive_json() == typing(live_cast.teacher, True)
    await stay(*silent, *teachers)


async def test_it_reaches_another_process(
    connect: Connect, live_cast: Cast, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH}}
    async with OtherProcess() as other, entered(connect, live_cast.student) as student:
        teacher = await other.connect(live_cast.teacher, live_conversation)
        await student.send_json(set_typing(True))
        assert await teacher.receive_json() == typing(live_cast.student, True)
        await teacher.send_json(set_typing(True))
        assert await student.receive_json() == typing(live_cast.teacher, True)


async def test_who_sends_has_stopped_writing(room: Room, live_cast: Cast) -> None:
    student, teacher = await room.student(), await room.teacher()
    await student.send_json(set_typing(True))
    assert await teacher.receive_json() == typing(live_cast.student, True)
    for text in ("first", "second"):
        await student.send_json({"message": text})
        await student.receive_json()
    message, second = [message async for message in Message.objects.order_by("seq")]
    heard = [await teacher.receive_json() for _ in range(3)]
    assert typing(live_cast.student, False) in heard
    heard.remove(typing(live_cast.student, False))
    assert heard == [await new_message(message, live_cast.teacher), await new_message(second, live_cast.teacher)]
    await teacher.silence()


async def test_who_goes_away_has_stopped_writing(room: Room, connect: Connect, live_cast: Cast) -> None:
    teacher = await room.teacher()
    async with entered(connect, live_cast.student) as student:
        await student.send_json(set_typing(True))
        assert await teacher.receive_json() == typing(live_cast.student, True)
    assert await teacher.receive_json() == typing(live_cast.student, False)
    async with entered(connect, live_cast.student) as student:
        for is_typing in (True, False):
            await student.send_json(set_typing(is_typing))
            assert await teacher.receive_json() == typing(live_cast.student, is_typing)
    await teacher.silence()


async def test_it_is_neither_stored_nor_told_to_who_comes_later(room: Room, connect: Connect, live_cast: Cast) -> None:
    student, teacher = await room.student(), await room.teacher()
    await student.send_json(set_typing(True))
    assert await teacher.receive_json() == typing(live_cast.student, True)
    async with connect(live_cast.teacher, room.conversation, "?after=1") as late:
        assert await late.receive_json() == established(room.conversation)
        assert (await late.receive_json())["type"] == "resume_complete"
        await late.silence()


async def test_it_asks_the_database_nothing(room: Room, live_cast: Cast, settings: Any) -> None:
    settings.CHAT_HEAL_SECONDS = 1000
    student, teacher = await room.student(), await room.teacher()
    await settled()
    with counted_queries() as queries:
        for is_typing in (True, False):
            await student.send_json(set_typing(is_typing))
            assert await teacher.receive_json() == typing(live_cast.student, is_typing)
    assert queries == []


@pytest.mark.parametrize("value", [None, 0, 1, "true", "", [], {}, 1.0])
async def test_anything_but_true_and_false_is_refused(room: Room, live_cast: Cast, value: Any) -> None:
    student, teacher = await room.student(), await room.teacher()
    await student.send_json(set_typing(value))
    assert await student.receive_json() == NO_FLAG
    await student.send_json({"type": "typing"})
    assert await student.receive_json() == NO_FLAG
    await stay(student, teacher)


async def test_a_known_type_wins_over_a_message_beside_it(room: Room, live_cast: Cast) -> None:
    student, teacher = await room.student(), await room.teacher()
    await student.send_json(set_typing(True) | {"message": "not sent"})
    assert await teacher.receive_json() == typing(live_cast.student, True)
    await stay(student, teacher)
    assert not await Message.objects.aexists()


async def test_a_former_mentor_writes_in_vain(room: Room, connect: Connect, live_cast: Cast) -> None:
    profile = await UserProfile.objects.aget(user=live_cast.student)
    profile.assigned_mentor = live_cast.trainer.profile
    await profile.asave()
    student = await room.student()
    async with entered(connect, live_cast.teacher, room.conversation) as former:
        await former.send_json(set_typing(True))
        assert await former.receive_json() == CLOSED
        await former.silence()
    await student.silence()


async def test_it_draws_on_the_bucket_of_small_frames(room: Room, live_cast: Cast) -> None:
    student, teacher = await room.student(), await room.teacher()
    for number in range(60):
        await student.send_json(set_typing(number % 2 == 0))
    refusal = await student.receive_json()
    assert 0 < refusal.pop("retry_after") <= 0.05
    assert refusal == TOO_MANY
    assert (await teacher.receive_json())["type"] == "typing"


async def test_of_what_a_slow_reader_has_not_been_told_only_the_newest_is_kept(
    live_cast: Cast, live_conversation: Conversation
) -> None:
    outside = Outside(live_conversation, live_cast)
    outside.start()
    for number in range(2 * subscriber.MAX_WAITING + 1):
        outside.feed.on_event(TypingChanged(live_conversation.pk, live_cast.teacher.pk, number % 2 == 0))
    outside.feed.send(Pong())
    assert await outside.next() == {"type": "pong"}
    assert await outside.next() == typing(live_cast.teacher, True)
    await outside.nothing_more()
    assert outside.closed.empty()
    outside.feed.stop()


async def test_it_stays_in_its_conversation(room: Room, connect: Connect, live_cast: Cast) -> None:
    pupil = await in_thread(make_user, "pupil", RoleChoices.STUDENT, mentor=live_cast.teacher)
    other = await in_thread(conversation_of, pupil, live_cast.teacher)
    student, teacher = await room.student(), await room.teacher()
    async with entered(connect, live_cast.teacher, other) as elsewhere:
        await student.send_json(set_typing(True))
        assert await teacher.receive_json() == typing(live_cast.student, True)
        await elsewhere.send_json(set_typing(True))
        await stay(elsewhere, student, teacher)
