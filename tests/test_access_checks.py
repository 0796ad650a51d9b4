"""The rounds close sockets for changes without a signal, such as an update or an expired session."""

from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import ProgrammingError
from django.utils import timezone

from accounts.models import RoleChoices, User, UserProfile
from chat.live import healing
from chat.models import Conversation
from tests.conftest import Connect
from tests.conversation_sockets import ConversationSockets, open_and_silent
from tests.people import People, session_cookie
from tests.sockets import in_thread

SIGNED_OUT, NOT_ALLOWED, NOT_FOUND = 4401, 4403, 4404


@pytest.fixture
async def sockets(connect: Connect, live_people: People, live_conversation: Conversation, settings: Any) -> Any:
    """The room, where the rounds are quick."""
    settings.CHAT_HEAL_SECONDS = 0.1
    async with AsyncExitStack() as stack:
        yield ConversationSockets(connect, live_people, live_conversation, stack)


async def test_an_expired_session_closes_its_socket(sockets: ConversationSockets, live_people: People) -> None:
    key = await in_thread(session_cookie, live_people.student)
    ending, staying = await sockets.student(key), [await sockets.student(), await sockets.teacher()]
    await Session.objects.filter(pk=key).aupdate(expire_date=timezone.now() - timedelta(seconds=1))
    assert await ending.close_code() == SIGNED_OUT
    await open_and_silent(*staying)


async def test_a_deleted_session_closes_its_socket(sockets: ConversationSockets, live_people: People) -> None:
    key = await in_thread(session_cookie, live_people.student)
    ending, staying = await sockets.student(key), [await sockets.student(), await sockets.teacher()]
    await in_thread(lambda: Session.objects.filter(pk=key)._raw_delete("default"))
    assert await ending.close_code() == SIGNED_OUT
    await open_and_silent(*staying)


async def test_healing_that_fails_does_not_keep_a_socket_open(
    sockets: ConversationSockets, live_people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ProgrammingError("a column is missing")

    monkeypatch.setattr(healing, "correct_waiting", fail)
    monkeypatch.setattr(healing, "positions", fail)
    await test_an_expired_session_closes_its_socket(sockets, live_people)


async def test_a_user_deactivated_by_an_update_loses_the_socket(
    sockets: ConversationSockets, live_people: People
) -> None:
    ending, staying = await sockets.student(), [await sockets.teacher(), *await sockets.bystanders()]
    await User.objects.filter(pk=live_people.student.pk).aupdate(is_active=False)
    assert await ending.close_code() == SIGNED_OUT
    await open_and_silent(*staying)


async def test_a_password_changed_by_an_update_closes_the_socket(
    sockets: ConversationSockets, live_people: People
) -> None:
    ending, staying = await sockets.student(), [await sockets.teacher(), *await sockets.bystanders()]
    await User.objects.filter(pk=live_people.student.pk).aupdate(password="!")
    assert await ending.close_code() == SIGNED_OUT
    await open_and_silent(*staying)


async def test_a_mentor_changed_by_an_update_closes_both_sides(
    sockets: ConversationSockets, live_people: People
) -> None:
    ending, staying = [await sockets.student(), await sockets.teacher()], await sockets.bystanders()
    students = UserProfile.objects.filter(user=live_people.student)
    await students.aupdate(assigned_mentor=live_people.trainer.profile)
    for socket in ending:
        assert await socket.close_code() == NOT_ALLOWED
    await open_and_silent(*staying)


async def test_a_role_changed_by_an_update_closes_both_sides(sockets: ConversationSockets, live_people: People) -> None:
    ending, staying = [await sockets.student(), await sockets.teacher()], await sockets.bystanders()
    await UserProfile.objects.filter(user=live_people.teacher).aupdate(role=RoleChoices.STUDENT)
    for socket in ending:
        assert await socket.close_code() == NOT_ALLOWED
    await open_and_silent(*staying)


async def test_a_deleted_conversation_closes_both_sides(
    sockets: ConversationSockets, live_people: People, live_conversation: Conversation
) -> None:
    ending, staying = [await sockets.student(), await sockets.teacher()], await sockets.bystanders()
    await Conversation.objects.filter(pk=live_conversation.pk).adelete()
    for socket in ending:
        assert await socket.close_code() == NOT_FOUND
    await open_and_silent(*staying)


async def test_allowed_sockets_stay_open_over_many_rounds(
    sockets: ConversationSockets, live_people: People, settings: Any
) -> None:
    settings.CHAT_HEAL_SECONDS = 0.02
    opened = [await sockets.student(), await sockets.teacher(), *await sockets.bystanders()]
    for number in range(5):
        key = await in_thread(session_cookie, live_people.student)
        canary = await sockets.student(key)
        await Session.objects.filter(pk=key).aupdate(expire_date=timezone.now())
        assert await canary.close_code() == SIGNED_OUT, number
    await open_and_silent(*opened)
