"""Changes of sessions, users and mentors close exactly the affected sockets, with the right code."""

from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.contrib.auth import alogout
from django.contrib.sessions.models import Session

from accounts.models import RoleChoices, User, UserProfile
from chat.models import Conversation, Message
from tests.conftest import Connect
from tests.conversation_sockets import ConversationSockets, open_and_silent
from tests.other_process import ROUGH, OtherProcess
from tests.people import PASSWORD, People, conversation_of, say, session_cookie
from tests.sockets import CLOSED, connected, established, http, in_thread, key_of, new_message

SIGNED_OUT, NOT_ALLOWED, NOT_FOUND = 4401, 4403, 4404
NEVER = 1000


@pytest.fixture
async def sockets(connect: Connect, live_people: People, live_conversation: Conversation, settings: Any) -> Any:
    """The room, where events do all the work and the rounds none."""
    settings.CHAT_HEAL_SECONDS = NEVER
    async with AsyncExitStack() as stack:
        yield ConversationSockets(connect, live_people, live_conversation, stack)


async def test_logging_out_over_rest_closes_the_sockets_of_that_session_only(
    sockets: ConversationSockets, live_people: People
) -> None:
    phone, laptop = [await in_thread(session_cookie, live_people.student) for _ in range(2)]
    ending = [await sockets.student(phone), await sockets.student(phone)]
    staying = [await sockets.student(laptop), await sockets.teacher(), *await sockets.bystanders()]
    answer = await (await http(live_people.student, phone)).post("/api/v1/auth/logout/")
    assert answer.status_code == 204
    for socket in ending:
        assert await socket.close_code() == SIGNED_OUT
    await open_and_silent(*staying)
    await staying[0].send_json({"message": "still me"})
    stored_frame = await staying[0].receive_json()
    assert stored_frame == await new_message(await Message.objects.aget(), live_people.student)


async def test_a_closed_socket_neither_sends_nor_receives(sockets: ConversationSockets, live_people: People) -> None:
    key = await in_thread(session_cookie, live_people.student)
    ending, teacher = await sockets.student(key), await sockets.teacher()
    await Session.objects.filter(pk=key).adelete()
    assert await ending.close_code() == SIGNED_OUT
    await ending.send_json({"message": "from beyond"})
    await ending.send_json({"type": "ping"})
    await teacher.send_json({"message": "to nobody"})
    await teacher.receive_json()
    assert ending.output_queue.empty()
    assert await Message.objects.acount() == 1


async def test_logging_out_in_another_process_closes_the_sockets_of_that_session(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH}}
    settings.CHAT_HEAL_SECONDS = NEVER
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(OtherProcess())
        ending, teacher = (
            await other.connect(live_people.student),
            await other.connect(live_people.teacher, live_conversation),
        )
        here = await stack.enter_async_context(connected(connect, live_people.student))
        await Session.objects.filter(pk=key_of(ending.socket)).adelete()
        assert await ending.close_code() == SIGNED_OUT
        await open_and_silent(here, teacher)


async def test_djangos_own_logout_closes_them_too(sockets: ConversationSockets, live_people: People) -> None:
    from importlib import import_module

    from django.conf import settings
    from django.http import HttpRequest

    key = await in_thread(session_cookie, live_people.student)
    ending, staying = await sockets.student(key), await sockets.student()
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    request.user = live_people.student
    await alogout(request)
    assert await ending.close_code() == SIGNED_OUT
    await open_and_silent(staying)


async def test_logging_in_elsewhere_closes_nothing(sockets: ConversationSockets, live_people: People) -> None:
    opened = [await sockets.student(), await sockets.teacher(), *await sockets.bystanders()]
    key = await in_thread(session_cookie, live_people.student)
    canary = await sockets.student(key)
    client = await http(live_people.stranger, "none")
    body = {"username": "student", "password": PASSWORD}
    answer = await client.post("/api/v1/auth/login/", body, content_type="application/json")
    assert answer.status_code == 200
    # Whatever that had set off is over when this is.
    await Session.objects.filter(pk=key).adelete()
    assert await canary.close_code() == SIGNED_OUT
    await open_and_silent(*opened)


async def test_logging_in_again_over_a_session_ends_it(sockets: ConversationSockets, live_people: People) -> None:
    key = await in_thread(session_cookie, live_people.student)
    ending, staying = await sockets.student(key), await sockets.student()
    client = await http(live_people.student, key)
    body = {"username": "teacher", "password": PASSWORD}
    answer = await client.post("/api/v1/auth/login/", body, content_type="application/json")
    assert answer.status_code == 200
    assert await ending.close_code() == SIGNED_OUT
    await open_and_silent(staying)


async def test_a_new_password_closes_the_sockets_of_every_session(
    sockets: ConversationSockets, live_people: People
) -> None:
    ending = [await sockets.student(), await sockets.student()]
    staying = [await sockets.teacher(), *await sockets.bystanders()]
    user = await User.objects.aget(pk=live_people.student.pk)
    user.set_password("another-password-2026")
    await user.asave()
    for socket in ending:
        assert await socket.close_code() == SIGNED_OUT
    await open_and_silent(*staying)


async def test_changing_ones_own_password_keeps_the_current_session(
    sockets: ConversationSockets, live_people: People
) -> None:
    from django.contrib.auth import update_session_auth_hash
    from django.http import HttpRequest

    from accounts.session_store import SessionStore

    key = await in_thread(session_cookie, live_people.student)
    staying, ending = await sockets.student(key), await sockets.student()

    def change() -> None:
        user = User.objects.get(pk=live_people.student.pk)
        request = HttpRequest()
        request.session, request.user = SessionStore(key), user
        user.set_password("another-password-2026")
        user.save()
        update_session_auth_hash(request, user)
        request.session.save()

    await in_thread(change)
    assert await ending.close_code() == SIGNED_OUT
    await open_and_silent(staying, await sockets.teacher())


async def test_deactivation_closes_all_sockets_of_the_user_and_no_others(
    sockets: ConversationSockets, live_people: People
) -> None:
    ending = [await sockets.student(), await sockets.student()]
    staying = [await sockets.teacher(), *await sockets.bystanders()]
    live_people.student.is_active = False
    await live_people.student.asave(update_fields=["is_active"])
    for socket in ending:
        assert await socket.close_code() == SIGNED_OUT
    await open_and_silent(*staying)


async def test_deletion_closes_the_sockets_of_both_sides(sockets: ConversationSockets, live_people: People) -> None:
    own, partner, staying = await sockets.student(), await sockets.teacher(), await sockets.bystanders()
    await User.objects.filter(pk=live_people.student.pk).adelete()
    assert await own.close_code() == SIGNED_OUT
    assert await partner.close_code() == NOT_FOUND
    await open_and_silent(*staying)


async def test_deletion_of_the_teacher_tells_their_students(sockets: ConversationSockets, live_people: People) -> None:
    partner, own, staying = await sockets.student(), await sockets.teacher(), await sockets.bystanders()
    await User.objects.filter(pk=live_people.teacher.pk).adelete()
    assert await own.close_code() == SIGNED_OUT
    assert await partner.close_code() == NOT_FOUND
    await open_and_silent(*staying)


@pytest.mark.parametrize("whose", ["student", "teacher"])
async def test_a_role_that_changed_closes_both_sides(
    sockets: ConversationSockets, live_people: People, whose: str
) -> None:
    ending, staying = [await sockets.student(), await sockets.teacher()], await sockets.bystanders()
    profile = getattr(live_people, whose).profile
    profile.role = RoleChoices.ADMIN
    await profile.asave()
    for socket in ending:
        assert await socket.close_code() == NOT_ALLOWED
    await open_and_silent(*staying)


async def test_a_teacher_who_becomes_a_trainer_stays(sockets: ConversationSockets, live_people: People) -> None:
    opened = [await sockets.student(), await sockets.teacher()]
    key = await in_thread(session_cookie, live_people.teacher)
    canary = await sockets.teacher(key)
    live_people.teacher.profile.role = RoleChoices.TRAINER
    await live_people.teacher.profile.asave()
    await Session.objects.filter(pk=key).adelete()
    assert await canary.close_code() == SIGNED_OUT
    await open_and_silent(*opened)


@pytest.mark.parametrize("new", ["trainer", None])
async def test_a_mentor_who_is_changed_or_removed_closes_both_sides(
    sockets: ConversationSockets, live_people: People, live_conversation: Conversation, new: str | None
) -> None:
    other = await in_thread(conversation_of, live_people.other_student, live_people.teacher)
    ending, staying = [await sockets.student(), await sockets.teacher()], await sockets.bystanders()
    elsewhere = await sockets.stack.enter_async_context(connected(sockets.connect, live_people.teacher, other))
    profile = await UserProfile.objects.aget(user=live_people.student)
    profile.assigned_mentor = live_people.trainer.profile if new else None
    await profile.asave()
    for socket in ending:
        assert await socket.close_code() == NOT_ALLOWED
    await open_and_silent(elsewhere, *staying)


async def test_a_former_mentor_may_read_and_writes_again_when_reassigned(
    sockets: ConversationSockets, connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    await in_thread(say, live_conversation, live_people.student, "before")
    profile = await UserProfile.objects.aget(user=live_people.student)
    profile.assigned_mentor = live_people.trainer.profile
    await profile.asave()
    async with (
        connect(live_people.teacher, live_conversation) as former,
        connected(connect, live_people.student) as student,
    ):
        assert await former.receive_json() == established(live_conversation)
        await former.send_json({"message": "hello?"})
        assert await former.receive_json() == CLOSED
        profile.assigned_mentor = live_people.teacher.profile
        await profile.asave()
        # The student was with the trainer, who is no mentor any more; the former mentor's socket serves again.
        assert await student.close_code() == NOT_ALLOWED
        await former.send_json({"message": "here again"})
        stored_frame = await former.receive_json()
        assert stored_frame == await new_message(await Message.objects.alatest("seq"), live_people.teacher)
    async with connect(live_people.student, None, "?mark_read=false") as student:
        assert await student.receive_json() == established(live_conversation)


async def test_a_reactivated_socket_closes_when_the_mentor_changes_again(
    sockets: ConversationSockets, live_people: People, live_conversation: Conversation
) -> None:
    profile = await UserProfile.objects.aget(user=live_people.student)

    async def assign(mentor: UserProfile | None) -> None:
        profile.assigned_mentor = mentor
        await profile.asave()

    await assign(None)
    key = await in_thread(session_cookie, live_people.teacher)
    former, canary = await sockets.teacher(), await sockets.teacher(key)
    await assign(live_people.teacher.profile)
    await Session.objects.filter(pk=key).adelete()
    assert await canary.close_code() == SIGNED_OUT  # the change of mentor has been checked by then
    await former.silence()
    await assign(None)
    assert await former.close_code() == NOT_ALLOWED


async def test_a_profile_saved_with_nothing_new_closes_nothing(
    sockets: ConversationSockets, live_people: People
) -> None:
    key = await in_thread(session_cookie, live_people.student)
    opened, canary = [await sockets.student(), await sockets.teacher()], await sockets.student(key)
    live_people.student.profile.full_name = "A new name"
    await live_people.student.profile.asave()
    live_people.student.email = "new@example.com"
    await live_people.student.asave()
    await Session.objects.filter(pk=key).adelete()
    assert await canary.close_code() == SIGNED_OUT
    await open_and_silent(*opened)


async def test_events_reach_the_sockets_of_another_process(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH}}
    settings.CHAT_HEAL_SECONDS = NEVER
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(OtherProcess())
        student = await other.connect(live_people.student)
        teacher = await other.connect(live_people.teacher, live_conversation)
        bystander = await other.connect(live_people.other_student)
        here = await stack.enter_async_context(connected(connect, live_people.student))
        live_people.student.is_active = False
        await live_people.student.asave()
        assert await student.close_code() == SIGNED_OUT
        assert await here.close_code() == SIGNED_OUT
        await live_people.teacher.profile.asave()
        await open_and_silent(teacher, bystander)
