"""What no signal tells of, such as an update or a session that expires, is found by the rounds."""

from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.models import RoleChoices, User, UserProfile
from chat.models import Conversation
from tests.conftest import Connect
from tests.conversation_sockets import Room, stay
from tests.people import Cast, session_cookie
from tests.sockets import in_thread

SIGNED_OUT, NOT_ALLOWED, NOT_FOUND = 4401, 4403, 4404


@pytest.fixture
async def room(connect: Connect, live_cast: Cast, live_conversation: Conversation, settings: Any) -> Any:
    """The room, where the rounds are quick."""
    settings.CHAT_HEAL_SECONDS = 0.1
    async with AsyncExitStack() as stack:
        yield Room(connect, live_cast, live_conversation, stack)


async def test_a_session_that_expires(room: Room, live_cast: Cast) -> None:
    key = await in_thread(session_cookie, live_cast.student)
    ending, staying = await room.student(key), [await room.student(), await room.teacher()]
    await Session.objects.filter(pk=key).aupdate(expire_date=timezone.now() - timedelta(seconds=1))
    assert await ending.close_code() == SIGNED_OUT
    await stay(*staying)


async def test_a_session_that_is_swept_out(room: Room, live_cast: Cast) -> None:
    key = await in_thread(session_cookie, live_cast.student)
    ending, staying = await room.student(key), [await room.student(), await room.teacher()]
    await in_thread(lambda: Session.objects.filter(pk=key)._raw_delete("default"))
    assert await ending.close_code() == SIGNED_OUT
    await stay(*staying)


async def test_a_user_who_is_deactivated_by_an_update(room: Room, live_cast: Cast) -> None:
    ending, staying = await room.student(), [await room.teacher(), *await room.bystanders()]
    await User.objects.filter(pk=live_cast.student.pk).aupdate(is_active=False)
    assert await ending.close_code() == SIGNED_OUT
    await stay(*staying)


async def test_a_password_that_is_changed_by_an_update(room: Room, live_cast: Cast) -> None:
    ending, staying = await room.student(), [await room.teacher(), *await room.bystanders()]
    await User.objects.filter(pk=live_cast.student.pk).aupdate(password="!")
    assert await ending.close_code() == SIGNED_OUT
    await stay(*staying)


async def test_a_mentor_who_is_changed_by_an_update(room: Room, live_cast: Cast) -> None:
    ending, staying = [await room.student(), await room.teacher()], await room.bystanders()
    students = UserProfile.objects.filter(user=live_cast.student)
    await students.aupdate(assigned_mentor=live_cast.trainer.profile)
    for socket in ending:
        assert await socket.close_code() == NOT_ALLOWED
    await stay(*staying)


async def test_a_role_that_is_changed_by_an_update(room: Room, live_cast: Cast) -> None:
    ending, staying = [await room.student(), await room.teacher()], await room.bystanders()
    await UserProfile.objects.filter(user=live_cast.teacher).aupdate(role=RoleChoices.STUDENT)
    for socket in ending:
        assert await socket.close_code() == NOT_ALLOWED
    await stay(*staying)


async def test_a_conversation_that_is_deleted(room: Room, live_cast: Cast, live_conversation: Conversation) -> None:
    ending, staying = [await room.student(), await room.teacher()], await room.bystanders()
    await Conversation.objects.filter(pk=live_conversation.pk).adelete()
    for socket in ending:
        assert await socket.close_code() == NOT_FOUND
    await stay(*staying)


async def test_sockets_that_may_stay_do_so_over_many_rounds(room: Room, live_cast: Cast, settings: Any) -> None:
    settings.CHAT_HEAL_SECONDS = 0.02
    sockets = [await room.student(), await room.teacher(), *await room.bystanders()]
    for number in range(5):
        key = await in_thread(session_cookie, live_cast.student)
        canary = await room.student(key)
        await Session.objects.filter(pk=key).aupdate(expire_date=timezone.now())
        assert await canary.close_code() == SIGNED_OUT, number
    await stay(*sockets)
