"""Locked conversations and locked people: what is refused, what stays possible, who is told."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from accounts.models import User, UserProfile
from chat import services
from chat.models import Conversation, Message
from chat.store.drafts import Draft, Sent
from tests.conftest import Connect, Post, Socket
from tests.conversation_sockets import ConversationSockets, open_and_silent
from tests.other_process import ROUGH, OtherProcess
from tests.people import People, client_of, conversation_object, message_object, say
from tests.queries import HANDSHAKE_QUERY, paused_after
from tests.service_results import reassign, refusal, store
from tests.sockets import CLOSED, connected, established, in_thread, new_message

NOT_ALLOWED = 4403
NEVER = 1000

ACCOUNT_LOCKED = {"error": "This account is locked.", "code": "account_locked"}
CONVERSATION_LOCKED = {"error": "This conversation is locked.", "code": "conversation_locked"}


@pytest.fixture
def people(live_people: People) -> People:
    """What the writer stores is committed, and it sees only what is."""
    return live_people


def rest(error: dict[str, str]) -> dict[str, str]:
    return {"detail": error["error"], "code": error["code"]}


def lock(people: People, *, conversation: bool = False, student: bool = False, teacher: bool = False) -> None:
    if conversation:
        services.lock_conversation(people.conversation, by=people.admin)
    for user in [people.student] * student + [people.teacher] * teacher:
        services.lock_person(user.profile, by=people.admin)


@pytest.mark.parametrize("is_student", [True, False], ids=["student", "teacher"])
@pytest.mark.parametrize("is_closed", [False, True], ids=["active", "closed"])
@pytest.mark.parametrize("is_locked", [False, True], ids=["open", "locked"])
@pytest.mark.parametrize("is_account_locked", [False, True], ids=["free", "account locked"])
def test_the_reasons_of_a_refusal_have_an_order(
    people: People, is_student: bool, is_closed: bool, is_locked: bool, is_account_locked: bool
) -> None:
    sender, other = (people.student, people.teacher) if is_student else (people.teacher, people.student)
    conversation = people.conversation
    lock(
        people,
        conversation=is_locked,
        student=is_account_locked and is_student,
        teacher=is_account_locked and not is_student,
    )
    if is_closed:
        reassign(people.student, None)
    reasons = [
        ("account_locked", is_account_locked),
        ("conversation_closed", is_closed),
        ("conversation_locked", is_locked),
    ]
    expected = next((code for code, holds in reasons if holds), None)
    drafts = [Draft(conversation.pk, sender.pk, "text", key) for key in (None, "1")]
    for outcome in store(drafts):
        assert isinstance(outcome, Sent) if expected is None else refusal(outcome)[0::2][:2] == (expected, 403)
    if not is_closed and not is_locked:  # the lock of one person is not the other's
        assert isinstance(store([Draft(conversation.pk, other.pk, "text", None)])[0], Sent)


@pytest.mark.parametrize("vendor", ["statement", "portable"])
def test_unlocked_again_messages_are_stored(people: People, vendor: str) -> None:
    conversation = people.conversation
    lock(people, conversation=True, student=True, teacher=True)
    assert services.unlock_conversation(conversation, by=people.admin)
    for user in (people.student, people.teacher):
        assert services.unlock_person(user.profile, by=people.admin)
    key = None if vendor == "statement" else "same"
    drafts = [Draft(conversation.pk, people.student.pk, "text", key) for _ in range(2)]
    assert all(isinstance(outcome, Sent) for outcome in store(drafts))


def test_a_repeat_is_still_answered_by_the_message_that_was_stored(people: People) -> None:
    draft = Draft(people.conversation.pk, people.student.pk, "text", "1")
    [first] = store([draft])
    lock(people, conversation=True, student=True)
    [repeat] = store([Draft(people.conversation.pk, people.student.pk, "other", "1")])
    assert isinstance(first, Sent)
    assert isinstance(repeat, Sent)
    assert (repeat.event.message.id, repeat.created) == (first.event.message.id, False)


def test_locking_twice_changes_nothing(people: People) -> None:
    conversation, profile = people.conversation, people.student.profile
    assert services.lock_conversation(conversation, by=people.admin)
    assert services.lock_person(profile, by=people.admin)
    assert not services.lock_conversation(conversation, by=people.admin)
    assert not services.lock_person(profile, by=people.admin)
    assert (conversation.is_locked, profile.is_locked) == (True, True)


@pytest.mark.parametrize("locked", [True, False])
def test_a_stale_row_that_is_saved_does_not_change_a_lock(people: People, locked: bool) -> None:
    conversation, profile = people.conversation, people.student.profile
    if not locked:
        lock(people, conversation=True, student=True)
    stale = Conversation.objects.get(pk=conversation.pk), UserProfile.objects.get(pk=profile.pk)
    if locked:
        lock(people, conversation=True, student=True)
    else:
        services.unlock_conversation(conversation, by=people.admin)
        services.unlock_person(profile, by=people.admin)
    for row in stale:
        row.save()
        row.refresh_from_db()
        assert row.is_locked == locked


def test_a_locked_person_reads_over_rest_and_knows(people: People) -> None:
    message = say(people.conversation, people.teacher, "before")[0]
    lock(people, student=True)
    client = client_of(people.student)
    assert client.get("/api/v1/auth/me/").json()["is_locked"] is True
    assert client.get("/api/v1/chat/my-conversation/").status_code == 200
    history = client.get("/api/v1/chat/my-conversation/messages/").json()
    assert history["results"] == [message_object(message, people.student)]
    assert client_of(people.teacher).get("/api/v1/auth/me/").json()["is_locked"] is False


def test_a_locked_conversation_is_read_and_marked(people: People) -> None:
    message = say(people.conversation, people.student, "before")[0]
    lock(people, conversation=True)
    client = client_of(people.teacher)
    expected = conversation_object(people.conversation, people.teacher, last=message, unread=1)
    assert expected["is_locked"] is True
    assert client.get("/api/v1/chat/teacher/conversations/").json()["results"] == [expected]
    path = f"/api/v1/chat/conversations/{people.conversation.pk}/mark-read/"
    assert client.post(path).json() == {"detail": "1 messages marked as read."}


@pytest.fixture
async def sockets(connect: Connect, live_people: People, live_conversation: Conversation, settings: Any) -> Any:
    """The room, where events do all the work and the rounds none."""
    settings.CHAT_HEAL_SECONDS = NEVER
    async with AsyncExitStack() as stack:
        yield ConversationSockets(connect, live_people, live_conversation, stack)


async def asking(
    sockets: ConversationSockets, user: User, *, is_active: bool = True, is_locked: bool = False
) -> Socket:
    """A socket opened with `?events=1`, its first two frames received."""
    path = None if user == sockets.people.student else sockets.conversation
    socket: Socket = await sockets.stack.enter_async_context(sockets.connect(user, path, "?events=1"))
    assert await socket.receive_json() == established(sockets.conversation)
    assert await socket.receive_json() == state(is_active, is_locked)
    return socket


def state(is_active: bool, is_locked: bool) -> dict[str, Any]:
    return {"type": "conversation_state", "is_active": is_active, "is_locked": is_locked}


async def test_sends_in_a_locked_conversation_are_refused_and_its_sockets_stay(
    sockets: ConversationSockets, live_people: People, post: Post, live_conversation: Conversation
) -> None:
    student, teacher = await sockets.student(), await sockets.teacher()
    await in_thread(lock, live_people, conversation=True)
    for socket in (student, teacher):
        await socket.send_json({"message": "may I?"})
        assert await socket.receive_json() == CONVERSATION_LOCKED
    for user, path in (
        (live_people.student, "my-conversation/messages/"),
        (live_people.teacher, f"teacher/conversations/{live_conversation.pk}/messages/"),
    ):
        answer = await post(user, f"/api/v1/chat/{path}", {"content": "may I?"})
        assert (answer.status_code, answer.json()) == (403, rest(CONVERSATION_LOCKED))
    async with connect_again(sockets, live_people.student) as late:
        await late.silence()
    await in_thread(services.unlock_conversation, live_conversation, by=live_people.admin)
    await student.send_json({"message": "now I may"})
    stored = await student.receive_json()
    assert stored == await new_message(await Message.objects.aget(), live_people.student)
    assert (await teacher.receive_json())["message"]["content"] == "now I may"


def connect_again(sockets: ConversationSockets, user: User) -> Any:
    return connected(sockets.connect, user)


async def test_typing_in_a_locked_conversation_is_passed_on_to_nobody(
    sockets: ConversationSockets, live_people: People, live_conversation: Conversation
) -> None:
    student, teacher = await asking(sockets, live_people.student), await asking(sockets, live_people.teacher)
    await in_thread(lock, live_people, conversation=True)
    assert await student.receive_json() == state(is_active=True, is_locked=True)
    await student.send_json({"type": "typing", "is_typing": True})
    assert await student.receive_json() == CONVERSATION_LOCKED
    assert await teacher.receive_json() == state(is_active=True, is_locked=True)
    await open_and_silent(teacher)
    await in_thread(services.unlock_conversation, live_conversation, by=live_people.admin)
    for socket in (student, teacher):
        assert await socket.receive_json() == state(is_active=True, is_locked=False)
    await student.send_json({"type": "typing", "is_typing": True})
    assert await teacher.receive_json() == {"type": "typing", "user": live_people.student.pk, "is_typing": True}


@pytest.mark.parametrize("who", ["student", "teacher"])
async def test_a_locked_person_loses_all_sockets_and_gets_none(
    sockets: ConversationSockets, live_people: People, post: Post, who: str
) -> None:
    user = getattr(live_people, who)
    inbox = await sockets.stack.enter_async_context(sockets.connect(user, "inbox/"))
    await inbox.receive_json()
    both = {"student": await sockets.student(), "teacher": await sockets.teacher()}
    ending, staying = both.pop(who), [*both.values(), *await sockets.bystanders()]
    await in_thread(lock, live_people, **{who: True})
    assert await ending.close_code(1) == NOT_ALLOWED
    assert await inbox.close_code(1) == NOT_ALLOWED
    await open_and_silent(*staying)
    own = None if who == "student" else sockets.conversation
    for path in (own, "inbox/"):
        _, accepted, code = await sockets.connect.try_connect(user, path)
        assert (accepted, code) == (False, NOT_ALLOWED)
    path = "my-conversation" if who == "student" else f"teacher/conversations/{sockets.conversation.pk}"
    answer = await post(user, f"/api/v1/chat/{path}/messages/", {"content": "may I?"})
    assert (answer.status_code, answer.json()) == (403, rest(ACCOUNT_LOCKED))
    await in_thread(services.unlock_person, user.profile, by=live_people.admin)
    async with connected(sockets.connect, user, own) as socket:
        await socket.silence()


async def test_a_refused_handshake_of_a_locked_person_marks_nothing(
    sockets: ConversationSockets, live_people: People, live_conversation: Conversation
) -> None:
    await in_thread(say, live_conversation, live_people.teacher, "unread")
    await in_thread(lock, live_people, student=True)
    await sockets.connect.try_connect(live_people.student)
    assert not (await Message.objects.aget()).is_read


async def test_a_lock_reaches_the_sockets_of_another_process(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH}}
    settings.CHAT_HEAL_SECONDS = NEVER
    async with OtherProcess() as other, connected(connect, live_people.student) as student:
        teacher = await other.connect(live_people.teacher, live_conversation, "?events=1")
        assert await teacher.receive_json() == state(is_active=True, is_locked=False)
        await in_thread(lock, live_people, conversation=True)
        assert await teacher.receive_json() == state(is_active=True, is_locked=True)
        await teacher.send_json({"type": "typing", "is_typing": True})
        assert await teacher.receive_json() == CONVERSATION_LOCKED
        await in_thread(lock, live_people, teacher=True)
        assert await teacher.close_code() == NOT_ALLOWED
        await student.silence()


async def test_both_inboxes_are_told_of_a_lock(
    sockets: ConversationSockets, live_people: People, live_conversation: Conversation
) -> None:
    stranger = await sockets.stack.enter_async_context(sockets.connect(live_people.trainer, "inbox/"))
    await stranger.receive_json()
    for change in (services.lock_conversation, services.unlock_conversation):
        async with (
            sockets.connect(live_people.student, "inbox/") as own,
            sockets.connect(live_people.teacher, "inbox/") as mentor,
        ):
            for inbox in (own, mentor):
                await inbox.receive_json()
            await in_thread(change, live_conversation, by=live_people.admin)
            for inbox, reader in ((own, live_people.student), (mentor, live_people.teacher)):
                expected = await in_thread(conversation_object, live_conversation, reader)
                assert await inbox.receive_json() == {"type": "conversation_update", "conversation": expected}
    await open_and_silent(stranger)


@pytest.mark.parametrize("query", ["?events=1", "?events=true", "?events=1&after=0&presence=0"])
async def test_the_state_comes_directly_after_the_first_frame(
    sockets: ConversationSockets, live_people: People, live_conversation: Conversation, query: str
) -> None:
    message = (await in_thread(say, live_conversation, live_people.student, "before"))[0]
    await in_thread(lock, live_people, conversation=True)
    async with sockets.connect(live_people.student, None, query) as student:
        assert await student.receive_json() == established(live_conversation)
        assert await student.receive_json() == state(is_active=True, is_locked=True)
        if "after" in query:
            assert await student.receive_json() == await new_message(message, live_people.student)
            assert (await student.receive_json())["type"] == "resume_complete"
        await student.silence()


async def test_a_former_mentor_is_told_that_the_conversation_is_active_again(
    sockets: ConversationSockets, live_people: People
) -> None:
    await in_thread(services.reassign_mentor, live_people.student.profile, None, by=live_people.admin)
    former = await asking(sockets, live_people.teacher, is_active=False)
    await in_thread(
        services.reassign_mentor, live_people.student.profile, live_people.teacher.profile, by=live_people.admin
    )
    assert await former.receive_json() == state(is_active=True, is_locked=False)
    await former.silence()


async def test_sockets_that_did_not_ask_get_no_state(sockets: ConversationSockets, live_people: People) -> None:
    quiet = [await sockets.student(), await sockets.teacher()]
    quiet.append(
        await sockets.stack.enter_async_context(connected(sockets.connect, live_people.student, None, "?events=0"))
    )
    asked = await asking(sockets, live_people.teacher)
    await in_thread(lock, live_people, conversation=True)
    assert await asked.receive_json() == state(is_active=True, is_locked=True)
    await open_and_silent(*quiet)


async def test_an_inbox_may_ask_and_gets_no_further_frames(sockets: ConversationSockets, live_people: People) -> None:
    async with sockets.connect(live_people.student, "inbox/", "?events=1") as inbox:
        assert await inbox.receive_json() == {"type": "inbox_established", "unread_total": 0}
        await inbox.silence()


async def test_a_wrong_flag_is_refused(sockets: ConversationSockets, live_people: People) -> None:
    _, accepted, code = await sockets.connect.try_connect(live_people.student, None, "?events=2")
    assert (accepted, code) == (False, NOT_ALLOWED)


async def test_a_lock_during_the_handshake_is_told(
    sockets: ConversationSockets, live_people: People, live_conversation: Conversation
) -> None:
    """The handshake has read the row; the lock comes before the socket receives events."""
    with paused_after(HANDSHAKE_QUERY) as (made, go_on):
        connecting = asyncio.create_task(
            sockets.stack.enter_async_context(sockets.connect(live_people.student, None, "?events=1"))
        )
        await asyncio.to_thread(made.wait, 5)
        await in_thread(lock, live_people, conversation=True)
        go_on.set()
        socket = await connecting
    assert await socket.receive_json() == established(live_conversation)
    frames = [await socket.receive_json()]
    if frames[-1] != state(is_active=True, is_locked=True):
        assert frames == [state(is_active=True, is_locked=False)]
        assert await socket.receive_json() == state(is_active=True, is_locked=True)
    await socket.send_json({"type": "typing", "is_typing": True})
    assert await socket.receive_json() == CONVERSATION_LOCKED


async def test_a_lock_whose_event_was_lost_is_found_by_the_rounds(
    sockets: ConversationSockets, live_people: People, settings: Any
) -> None:
    settings.CHAT_HEAL_SECONDS = 0.1
    student = await asking(sockets, live_people.student)
    inbox = await sockets.stack.enter_async_context(sockets.connect(live_people.student, "inbox/"))
    await inbox.receive_json()
    await Conversation.objects.filter(pk=sockets.conversation.pk).aupdate(is_locked=True)
    assert await student.receive_json() == state(is_active=True, is_locked=True)
    assert (await inbox.receive_json())["conversation"]["is_locked"] is True
    teacher = await sockets.teacher()
    await UserProfile.objects.filter(user=live_people.teacher).aupdate(is_locked=True)
    assert await teacher.close_code() == NOT_ALLOWED


async def test_closed_comes_before_locked_for_typing(sockets: ConversationSockets, live_people: People) -> None:
    await in_thread(lock, live_people, conversation=True)
    await in_thread(reassign, live_people.student, None)
    former = await asking(sockets, live_people.teacher, is_active=False, is_locked=True)
    await former.send_json({"type": "typing", "is_typing": True})
    assert await former.receive_json() == CLOSED
