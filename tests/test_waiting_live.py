"""Who waits, told live: each change is an update of both inboxes, whatever caused it; and through the real writer."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from accounts.models import User, UserProfile
from chat import services
from chat.live import healing
from chat.models import Conversation, Message
from chat.store.waiting import correct_waiting
from tests.conftest import Connect, Post, Socket
from tests.other_process import ROUGH, OtherProcess
from tests.people import People, conversation_of, iso, say
from tests.sockets import connected, in_thread, settled
from tests.waiting import since_of, stored_waiting, true_waiting

NEVER = 1000


@pytest.fixture(autouse=True)
def _events_do_all_the_work(settings: Any) -> None:
    settings.CHAT_HEAL_SECONDS = NEVER
    settings.CHAT_RATE_LIMIT = None


async def told_waiting(inbox: Socket, expected: str | None) -> dict[str, Any]:
    """Wait until the inbox tells this `waiting_since`; return the frame."""
    async with asyncio.timeout(5):
        while True:
            frame: dict[str, Any] = await inbox.receive_json()
            assert frame["type"] == "conversation_update"
            if frame["conversation"]["waiting_since"] == expected:
                return frame


async def inboxes(stack: AsyncExitStack, connect: Connect, *users: User) -> list[Socket]:
    found = [await stack.enter_async_context(connect(user, "inbox/")) for user in users]
    for inbox in found:
        assert (await inbox.receive_json())["type"] == "inbox_established"
    await settled()
    return found


async def test_waiting_begins_with_a_message_and_ends_with_done(
    connect: Connect, post: Post, live_people: People, live_conversation: Conversation
) -> None:
    async with AsyncExitStack() as stack:
        both = await inboxes(stack, connect, live_people.teacher, live_people.student)
        student = await stack.enter_async_context(connected(connect, live_people.student))
        await student.send_json({"message": "a question"})
        await student.receive_json()
        since = iso((await Message.objects.aget()).timestamp)
        for inbox in both:
            await told_waiting(inbox, since)
        path = f"/api/v1/chat/conversations/{live_conversation.pk}/done/"
        answer = await post(live_people.teacher, path)
        assert answer.status_code == 200
        frame = await told_waiting(both[0], None)
        assert frame["conversation"] == answer.json()
        await told_waiting(both[1], None)
        assert (await post(live_people.teacher, path)).json() == answer.json()
        for inbox in both:
            await inbox.silence()  # nothing has changed
        await student.silence()  # nor is it the business of the conversation's sockets


@pytest.mark.parametrize("change", ["another mentor", "no mentor", "the mentor is none any more"])
async def test_nobody_waits_any_more_where_nobody_could_answer(
    connect: Connect, live_people: People, live_conversation: Conversation, change: str
) -> None:
    [message] = await in_thread(say, live_conversation, live_people.student, "a question")
    profile = await UserProfile.objects.aget(user=live_people.student)
    async with AsyncExitStack() as stack:
        [inbox] = await inboxes(stack, connect, live_people.student)
        if change == "the mentor is none any more":
            live_people.teacher.profile.role = "ADMIN"
            await live_people.teacher.profile.asave()
        else:
            profile.assigned_mentor = live_people.trainer.profile if change == "another mentor" else None
            await profile.asave()
        frame = await told_waiting(inbox, None)
        while frame["conversation"]["id"] != live_conversation.pk:  # the one with the new mentor
            frame = await told_waiting(inbox, None)
        assert frame["conversation"]["is_active"] is False
        # And the other way round: the student still waits for whoever is their mentor again.
        live_people.teacher.profile.role = "TEACHER"
        await live_people.teacher.profile.asave()
        profile.assigned_mentor = live_people.teacher.profile
        await profile.asave()
        frame = await told_waiting(inbox, iso(message.timestamp))
        assert frame["conversation"]["is_active"] is True


async def test_a_round_corrects_what_was_changed_behind_our_back_and_tells_it(
    connect: Connect, live_people: People, live_conversation: Conversation, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "chat.live.healing")
    [message] = await in_thread(say, live_conversation, live_people.student, "a question")
    other = await in_thread(conversation_of, live_people.other_student, live_people.trainer)
    await in_thread(say, other, live_people.other_student, "somebody else's")
    async with AsyncExitStack() as stack:
        both = await inboxes(stack, connect, live_people.teacher, live_people.student)
        await in_thread(Conversation.objects.update, waiting_since=None, answered_seq=0)
        await healing.healing().heal_all()
        for inbox in both:
            await told_waiting(inbox, iso(message.timestamp))
        assert await in_thread(since_of, other) is None  # nobody of it is connected here
        await healing.healing().heal_all()
    # Told twice where an inbox read it before the event came; corrected once.
    corrected = [record for record in caplog.messages if record.startswith("corrected")]
    assert corrected == [f"corrected who waits in conversation {live_conversation.pk}"]


async def test_an_open_conversation_is_corrected_without_an_inbox(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    [message] = await in_thread(say, live_conversation, live_people.student, "a question")
    async with connected(connect, live_people.student) as student:
        await in_thread(Conversation.objects.update, waiting_since=None)
        await healing.healing().heal_all()
        assert await in_thread(since_of, live_conversation) == message.timestamp
        await student.silence()


async def test_the_inboxes_of_another_process_are_told(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH}}
    await in_thread(say, live_conversation, live_people.student, "a question")

    async def finish() -> None:
        await in_thread(services.mark_done, conversation=live_conversation)

    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(OtherProcess())
        [inbox] = await inboxes(stack, connect, live_people.teacher)
        await other.run(finish())
        await told_waiting(inbox, None)


async def test_both_sides_write_at_once_through_the_writer(
    live_people: People, live_conversation: Conversation
) -> None:
    """The final state equals what the messages say, and each first answer has its row."""

    async def write(sender: User, name: str) -> None:
        for number in range(20):
            await services.send_message(
                conversation_id=live_conversation.pk,
                sender_id=sender.pk,
                content="text",
                client_id=f"{name}{number}" if number % 3 else None,
            )

    both = (live_people.student, live_people.teacher)
    await asyncio.gather(*[write(sender, name) for sender in both for name in "abc"])
    assert await Message.objects.acount() == 120
    assert await in_thread(stored_waiting, live_conversation) == await in_thread(true_waiting, live_conversation)
    assert await in_thread(correct_waiting, [live_conversation.pk]) == []
