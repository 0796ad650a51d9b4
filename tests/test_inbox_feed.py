"""The inbox: who may open it, its first frame, and an update for every change of a conversation."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from django.db import ProgrammingError
from django.test import AsyncClient

from accounts.models import RoleChoices, User, UserProfile
from chat.bus.events import MessagesRead
from chat.live import healing, subscriber
from chat.live import inbox_feed as inbox_module
from chat.live.inbox_feed import InboxFeed
from chat.models import Conversation, Message
from chat.store.overview import list_entries
from tests.conftest import Connect, Post, Socket
from tests.delivery_harness import database_away
from tests.other_process import ROUGH, OtherProcess, rough_layer
from tests.people import People, client_of, conversation_object, conversation_of, make_user, say, session_cookie
from tests.queries import counted_queries
from tests.sockets import connected, ended, in_thread, new_message, settled

SIGNED_OUT, NOT_ALLOWED = 4401, 4403
NEVER = 1000
INBOX = "inbox/"
NOT_ESTABLISHED = {"error": "Conversation not established.", "code": "conversation_not_established"}


@pytest.fixture(autouse=True)
def _events_do_all_the_work(settings: Any) -> None:
    settings.CHAT_HEAL_SECONDS = NEVER


@asynccontextmanager
async def opened(connect: Connect, user: User, unread: int = 0, **kwargs: Any) -> AsyncIterator[Socket]:
    """An inbox, its first frame received."""
    async with connect(user, INBOX, **kwargs) as socket:
        assert await socket.receive_json() == {"type": "inbox_established", "unread_total": unread}
        yield socket


@asynccontextmanager
async def nothing_is_new() -> AsyncIterator[None]:
    """The extra checks of the new sockets above are done."""
    await settled()
    yield


async def update(conversation: Conversation, reader: User, **state: Any) -> dict[str, Any]:
    shown = await in_thread(conversation_object, conversation, reader, **state)
    return {"type": "conversation_update", "conversation": shown}


async def receives_update(socket: Any, conversation: Conversation, reader: User, **state: Any) -> None:
    """Check that the inbox tells this state next, but for older ones of the same conversation before it.

    And but for what it told already: more than one event, or a round, may tell of one change.
    """
    expected = await update(conversation, reader, **state)
    told = vars(socket).setdefault("told", [])
    async with asyncio.timeout(5):
        while (frame := await socket.receive_json()) != expected:
            assert frame["conversation"]["id"] == conversation.pk or frame in told, frame
            told.append(frame)
    told.append(frame)


async def assign(student: User, mentor: User | None) -> None:
    profile = await UserProfile.objects.aget(user=student)
    profile.assigned_mentor = mentor.profile if mentor else None
    await profile.asave()


@pytest.mark.parametrize("who", ["student", "other_student", "stranger", "teacher", "trainer"])
async def test_students_and_mentors_open_an_inbox_even_without_a_conversation(
    connect: Connect, live_people: People, who: str
) -> None:
    async with opened(connect, getattr(live_people, who)) as socket:
        await socket.silence()
    assert not await Conversation.objects.aexists()


async def test_nobody_else_opens_an_inbox(connect: Connect, live_people: People) -> None:
    principal = await in_thread(make_user, "principal", RoleChoices.ADMIN)
    plain = await in_thread(make_user, "plain", None)
    for user in (live_people.admin, principal, plain):
        assert (await connect.try_connect(user, INBOX))[1:] == (False, NOT_ALLOWED)
    for somebody, key in ((None, None), (live_people.student, "x" * 32)):
        assert (await connect.try_connect(somebody, INBOX, key=key))[1:] == (False, SIGNED_OUT)
    await in_thread(User.objects.filter(pk=live_people.student.pk).update, is_active=False)
    assert (await connect.try_connect(live_people.student, INBOX))[1:] == (False, SIGNED_OUT)


async def test_the_first_frame_counts_what_is_unread_in_all_conversations(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    pupil = await in_thread(make_user, "pupil", RoleChoices.STUDENT, mentor=live_people.teacher)
    other = await in_thread(conversation_of, pupil, live_people.teacher)
    foreign = await in_thread(conversation_of, live_people.other_student, live_people.trainer)
    await in_thread(say, live_conversation, live_people.student, "1", "2")
    await in_thread(say, live_conversation, live_people.teacher, "3")
    await in_thread(say, other, pupil, "4")
    await in_thread(say, foreign, live_people.other_student, "5")
    async with opened(connect, live_people.teacher, 3), opened(connect, live_people.student, 1):
        pass
    assert await Message.objects.filter(is_read=False).acount() == 5  # nothing of it was marked


@pytest.mark.parametrize("change", ["another mentor", "no mentor", "the mentor is none any more"])
async def test_a_student_s_total_counts_only_what_they_can_open(
    connect: Connect, live_people: People, live_conversation: Conversation, change: str
) -> None:
    await in_thread(say, live_conversation, live_people.teacher, "never read")
    await in_thread(say, live_conversation, live_people.student, "nor this")
    async with opened(connect, live_people.student, 1) as inbox, nothing_is_new():
        if change == "the mentor is none any more":
            live_people.teacher.profile.role = RoleChoices.ADMIN
            await live_people.teacher.profile.asave()
        else:
            mentor = live_people.trainer.profile if change == "another mentor" else None
            live_people.student.profile.assigned_mentor = mentor
            await live_people.student.profile.asave()
            async with opened(connect, live_people.teacher, 1):
                pass  # a former mentor can still open it
        told = (await inbox.receive_json())["conversation"]
        assert (told["is_active"], told["unread_message_count_for_user"]) == (False, 0)
    async with opened(connect, live_people.student, 0):
        pass
    if change == "another mentor":
        present = await in_thread(conversation_of, live_people.student, live_people.trainer)
        await in_thread(say, present, live_people.trainer, "new", "and newer")
        async with opened(connect, live_people.student, 2):
            pass


async def test_a_message_updates_both_sides_and_nobody_else(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    await in_thread(conversation_of, live_people.other_student, live_people.trainer)
    async with (
        opened(connect, live_people.teacher) as mentor,
        opened(connect, live_people.teacher) as tab,
        opened(connect, live_people.student) as own,
        opened(connect, live_people.trainer) as stranger,
        connected(connect, live_people.student) as student,
    ):
        await student.send_json({"message": "hello"})
        await student.receive_json()
        message = await Message.objects.aget()
        for socket in (mentor, tab):
            await receives_update(socket, live_conversation, live_people.teacher, last=message, unread=1)
        await receives_update(own, live_conversation, live_people.student, last=message)
        for socket in (mentor, tab, own, stranger):
            await socket.silence()
    assert await Message.objects.filter(is_read=False).acount() == 1


async def test_a_message_over_rest_updates_the_inbox(
    connect: Connect, post: Post, live_people: People, live_conversation: Conversation
) -> None:
    async with opened(connect, live_people.student) as socket:
        path = f"/api/v1/chat/teacher/conversations/{live_conversation.pk}/messages/"
        assert (await post(live_people.teacher, path, {"content": "hello"})).status_code == 201
        await receives_update(
            socket, live_conversation, live_people.student, last=await Message.objects.aget(), unread=1
        )


async def test_reading_updates_both_sides(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    (message,) = await in_thread(say, live_conversation, live_people.student, "hello")
    async with (
        opened(connect, live_people.teacher, 1) as mentor,
        opened(connect, live_people.student) as own,
        connected(connect, live_people.teacher, live_conversation),
    ):
        await receives_update(mentor, live_conversation, live_people.teacher, last=message)
        await receives_update(own, live_conversation, live_people.student, last=message)
    assert (await Message.objects.aget()).is_read


async def test_a_hundred_messages_are_few_frames_and_the_last_is_the_newest(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHAT_RATE_LIMIT = None
    async with (
        opened(connect, live_people.teacher) as mentor,
        connected(connect, live_people.student) as student,
    ):
        for number in range(100):
            await student.send_json({"message": str(number)})
        for _ in range(100):
            await student.receive_json()
        frames: list[Any] = []
        while not frames or frames[-1]["conversation"]["unread_message_count_for_user"] < 100:
            frames.append(await mentor.receive_json())
        assert len(frames) < 20
        seen = [frame["conversation"]["unread_message_count_for_user"] for frame in frames]
        assert seen == sorted(seen)
        newest = await Message.objects.alatest("seq")
        assert frames[-1] == await update(live_conversation, live_people.teacher, last=newest, unread=100)
        await mentor.silence()


async def test_the_first_change_is_sent_at_once_and_later_ones_are_delayed(
    connect: Connect, live_people: People, live_conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "READING_SECONDS", 0.5)
    loop = asyncio.get_running_loop()
    async with (
        opened(connect, live_people.teacher) as mentor,
        connected(connect, live_people.student) as student,
    ):
        begin = loop.time()
        for number in range(2):
            await student.send_json({"message": str(number)})
            await student.receive_json()
            frame = await mentor.receive_json()
            assert frame["conversation"]["unread_message_count_for_user"] == number + 1
            assert (loop.time() - begin >= 0.5) == bool(number)


async def test_an_inbox_where_nothing_happens_has_no_task(
    connect: Connect, live_people: People, live_conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "READING_SECONDS", 0)
    async with opened(connect, live_people.teacher) as mentor, connected(connect, live_people.student) as student:
        await settled()
        before = asyncio.all_tasks()
        await student.send_json({"message": "hello"})
        await student.receive_json()
        await mentor.receive_json()
        await asyncio.wait(asyncio.all_tasks() - before - {asyncio.current_task()}, timeout=5)
        assert asyncio.all_tasks() <= before


async def test_all_pages_of_many_changed_conversations_are_sent(
    connect: Connect, live_people: People, live_conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "READING_SECONDS", 0)
    monkeypatch.setattr(inbox_module, "CONVERSATIONS_PER_READING", 2)
    pupils = [await in_thread(make_user, f"p{n}", RoleChoices.STUDENT, mentor=live_people.teacher) for n in range(5)]
    others = [await in_thread(conversation_of, pupil, live_people.teacher) for pupil in pupils]
    async with opened(connect, live_people.teacher) as mentor:
        await settled()
        for conversation, pupil in zip(others, pupils, strict=True):
            await in_thread(say, conversation, pupil, "hello")
        await healing.healing().heal_all()
        told = [await mentor.receive_json() for _ in others]
        assert {frame["conversation"]["id"] for frame in told} == {conversation.pk for conversation in others}
        await mentor.silence()


async def test_a_new_conversation_is_sent_to_the_mentor_and_followed(connect: Connect, live_people: People) -> None:
    async with (
        opened(connect, live_people.teacher) as mentor,
        opened(connect, live_people.student) as own,
        nothing_is_new(),
        connected(connect, live_people.student) as student,
    ):
        conversation = await Conversation.objects.aget()
        await receives_update(mentor, conversation, live_people.teacher)
        await receives_update(own, conversation, live_people.student)
        await student.send_json({"message": "hello"})
        await student.receive_json()
        message = await Message.objects.aget()
        await receives_update(mentor, conversation, live_people.teacher, last=message, unread=1)
        await receives_update(own, conversation, live_people.student, last=message)


async def test_a_mentor_writes_first_in_a_conversation_that_the_list_created(
    connect: Connect, live_people: People, post: Post
) -> None:
    async with (
        opened(connect, live_people.teacher) as mentor,
        opened(connect, live_people.student) as own,
        nothing_is_new(),
    ):
        client = AsyncClient()
        client.cookies["sessionid"] = await in_thread(session_cookie, live_people.teacher)
        path = "/api/v1/chat/teacher/conversations/"
        assert (await client.get(path)).json()["count"] == 1
        conversation = await Conversation.objects.aget()
        await receives_update(mentor, conversation, live_people.teacher)
        await receives_update(own, conversation, live_people.student)
        answer = await post(live_people.teacher, f"{path}{conversation.pk}/messages/", {"content": "Welcome!"})
        assert answer.status_code == 201
        message = await Message.objects.aget()
        await receives_update(mentor, conversation, live_people.teacher, last=message)
        await receives_update(own, conversation, live_people.student, last=message, unread=1)


async def test_a_changed_mentor_updates_all_three_people(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    async with (
        opened(connect, live_people.teacher) as former,
        opened(connect, live_people.trainer) as mentor,
        opened(connect, live_people.student) as own,
    ):
        await assign(live_people.student, live_people.trainer)
        await receives_update(former, live_conversation, live_people.teacher, is_active=False)
        await receives_update(own, live_conversation, live_people.student, is_active=False)
        async with connected(connect, live_people.student):
            conversation = await Conversation.objects.aget(teacher=live_people.trainer.profile)
            await receives_update(mentor, conversation, live_people.trainer)
            await receives_update(own, conversation, live_people.student)
        await assign(live_people.student, live_people.teacher)
        await receives_update(former, live_conversation, live_people.teacher)
        await receives_update(mentor, conversation, live_people.trainer, is_active=False)


async def test_a_new_name_updates_the_other_side(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    async with opened(connect, live_people.teacher) as mentor, opened(connect, live_people.trainer) as stranger:
        profile = await UserProfile.objects.select_related("user").aget(user=live_people.student)
        profile.full_name = "A New Name"
        await profile.asave()
        frame = await mentor.receive_json()
        assert frame["conversation"]["student_profile"]["full_name"] == "A New Name"
        await receives_nothing(mentor, stranger)


async def receives_nothing(*sockets: Socket) -> None:
    await ended("healing-now-batches")
    for socket in sockets:
        await socket.silence()


async def test_changing_sides_closes_the_inbox_and_another_role_does_not(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    async with opened(connect, live_people.teacher) as mentor, opened(connect, live_people.student) as own:
        live_people.teacher.profile.role = RoleChoices.TRAINER
        await live_people.teacher.profile.asave()
        assert (await mentor.receive_json())["conversation"]["teacher_profile"]["role"] == "TRAINER"
        assert (await own.receive_json())["conversation"]["teacher_profile"]["role"] == "TRAINER"
        live_people.teacher.profile.role = RoleChoices.STUDENT
        await live_people.teacher.profile.asave()
        assert await mentor.close_code() == NOT_ALLOWED
        await receives_update(own, live_conversation, live_people.student, is_active=False)


@pytest.mark.parametrize(
    "frame",
    [
        {"message": "hello"},
        {"message": "hello", "client_id": "1"},
        {},
        {"message": ""},
        {"message": 5},
        {"type": "mark_read"},
        {"type": "mark_read", "message_id": 1},
        {"type": "typing", "is_typing": True},
        {"type": "unknown", "message": "hello"},
    ],
)
async def test_frames_of_a_conversation_are_refused(
    connect: Connect, live_people: People, live_conversation: Conversation, frame: dict[str, Any]
) -> None:
    await in_thread(say, live_conversation, live_people.student, "unread")
    async with opened(connect, live_people.teacher, 1) as socket:
        await socket.send_json(frame)
        assert await socket.receive_json() == NOT_ESTABLISHED
        await socket.silence()
    assert await Message.objects.filter(is_read=False).acount() == 1


async def test_a_flood_closes_the_inbox(connect: Connect, live_people: People) -> None:
    async with opened(connect, live_people.teacher) as socket:
        for _ in range(101):
            await socket.send_json({"message": "x"})
        codes = []
        while (event := await socket.receive_output(5))["type"] == "websocket.send":
            codes.append(json.loads(event["text"])["code"])
        assert event["code"] == 4429
        assert set(codes) == {"conversation_not_established"}


async def test_an_inbox_counts_as_a_socket_of_its_user(connect: Connect, live_people: People, settings: Any) -> None:
    settings.CHAT_MAX_SOCKETS_PER_USER = 2
    async with opened(connect, live_people.student), connected(connect, live_people.student):
        assert (await connect.try_connect(live_people.student, INBOX))[1:] == (False, 4429)
    async with opened(connect, live_people.student):
        pass


async def test_the_end_of_the_session_closes_the_inbox(connect: Connect, live_people: People) -> None:
    from django.contrib.sessions.models import Session

    key = await in_thread(session_cookie, live_people.teacher)
    async with opened(connect, live_people.teacher, key=key) as ending, opened(connect, live_people.teacher) as staying:
        await Session.objects.filter(pk=key).adelete()
        assert await ending.close_code() == SIGNED_OUT
        await staying.silence()


async def test_deactivation_closes_the_inbox(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    async with opened(connect, live_people.teacher) as ending, opened(connect, live_people.student) as staying:
        live_people.teacher.is_active = False
        await live_people.teacher.asave()
        assert await ending.close_code() == SIGNED_OUT
        await receives_nothing(staying)


async def test_opening_and_updates_cost_a_constant_number_of_queries(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    async def count() -> tuple[int, int, int]:
        """Return the numbers of queries of opening, of a look that finds nothing, and of one that finds all changed."""
        key = await in_thread(session_cookie, live_people.teacher)
        total = await Message.objects.filter(is_read=False).acount()
        async with AsyncExitStack() as stack:
            with counted_queries() as opening:
                socket = await stack.enter_async_context(opened(connect, live_people.teacher, total, key=key))
                await ended("healing-now-batches")
            await settled()
            with counted_queries() as looking:
                await healing.healing().heal_all()
            conversations = await in_thread(change_all)
            with counted_queries() as telling:
                await healing.healing().heal_all()
                for _ in range(conversations):
                    await socket.receive_json()
        return len(opening), len(looking), len(telling)

    def change_all() -> int:
        conversations = Conversation.objects.select_related("student__user")
        return len([say(conversation, conversation.student.user, "hello") for conversation in conversations])

    few = await count()
    for number in range(30):
        pupil = await in_thread(make_user, f"pupil{number}", RoleChoices.STUDENT, mentor=live_people.teacher)
        await in_thread(conversation_of, pupil, live_people.teacher)
    assert await count() == few
    # Session, user, states, total, and the look back; who waits, and a look; these, and what changed with its last
    # messages.
    assert few == (5, 2, 4)


async def test_changes_during_the_handshake_are_sent(
    connect: Connect, live_people: People, live_conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chat import consumers

    look_up: Callable[..., Any] = consumers.InboxConsumer._look_up

    def late(self: Any, check: Any) -> Any:
        found = look_up(self, check)
        say(live_conversation, live_people.student, "in between")  # without an event
        return found

    monkeypatch.setattr(consumers.InboxConsumer, "_look_up", late)
    async with opened(connect, live_people.teacher) as socket:
        await receives_update(
            socket, live_conversation, live_people.teacher, last=await Message.objects.aget(), unread=1
        )


class TestBetweenProcesses:
    @pytest.fixture(autouse=True)
    def _layer_between_processes(self, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH}}
        monkeypatch.setattr(healing, "CONFIRMED_SECONDS", 0.1)

    async def test_updates_arrive_from_another_process(
        self, connect: Connect, live_people: People, live_conversation: Conversation
    ) -> None:
        async with OtherProcess() as other, opened(connect, live_people.teacher) as mentor:
            student = await other.connect(live_people.student)
            await settled()
            await student.send_json({"message": "hello"})
            await student.receive_json()
            message = await Message.objects.aget()
            await receives_update(mentor, live_conversation, live_people.teacher, last=message, unread=1)

    async def test_a_conversation_that_begins_in_another_process_is_followed(
        self, connect: Connect, live_people: People
    ) -> None:
        async with OtherProcess() as other, opened(connect, live_people.teacher) as mentor:
            student = await other.connect(live_people.student)
            conversation = await Conversation.objects.aget()
            await receives_update(mentor, conversation, live_people.teacher)
            await settled()
            await student.send_json({"message": "hello"})
            await student.receive_json()
            await receives_update(
                mentor, conversation, live_people.teacher, last=await Message.objects.aget(), unread=1
            )

    async def test_updates_lost_by_the_layer_are_found_in_a_round(
        self, connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
    ) -> None:
        settings.CHAT_HEAL_SECONDS = 0.1
        async with AsyncExitStack() as stack:
            other = await stack.enter_async_context(OtherProcess())
            mentor = await stack.enter_async_context(opened(connect, live_people.teacher))
            own = await stack.enter_async_context(opened(connect, live_people.student))
            rough_layer().drop = 1
            student = await other.connect(live_people.student)
            await student.send_json({"message": "hello"})
            await student.receive_json()
            message = await Message.objects.aget()
            await receives_update(mentor, live_conversation, live_people.teacher, last=message, unread=1)
            await receives_update(own, live_conversation, live_people.student, last=message)
            teacher = await other.connect(live_people.teacher, live_conversation)
            await receives_update(mentor, live_conversation, live_people.teacher, last=message)
            await receives_update(own, live_conversation, live_people.student, last=message)
            pupil = await in_thread(make_user, "pupil", RoleChoices.STUDENT, mentor=live_people.teacher)
            await other.connect(pupil)
            started = await Conversation.objects.aget(student=pupil.profile)
            await receives_update(mentor, started, live_people.teacher)
            await in_thread(UserProfile.objects.filter(user=pupil).update, assigned_mentor=None)
            await receives_update(mentor, started, live_people.teacher, is_active=False)
            await in_thread(Conversation.objects.filter(pk=started.pk).delete)
            await teacher.silence()

    async def test_updates_are_recovered_as_soon_as_the_layer_is_back(
        self, connect: Connect, live_people: People, live_conversation: Conversation
    ) -> None:
        async with AsyncExitStack() as stack:
            other = await stack.enter_async_context(OtherProcess())
            student = await other.connect(live_people.student)
            mentor = await stack.enter_async_context(opened(connect, live_people.teacher))
            neighbour = await stack.enter_async_context(connected(connect, live_people.other_student))
            await settled()
            rough_layer().mode = "raises"
            await neighbour.send_json({"message": "the layer is found to be away"})
            await neighbour.receive_json()
            await student.send_json({"message": "hello"})
            await student.receive_json()
            await ended("event-bus-publish")
            await mentor.silence()
            rough_layer().mode = ""
            await neighbour.send_json({"message": "and back"})
            message = await Message.objects.aget(content="hello")
            await receives_update(mentor, live_conversation, live_people.teacher, last=message, unread=1)


def inbox_of(user: User, write: Any, close: Any) -> InboxFeed:
    """Return the feed of an inbox whose socket `write` stands for, with an empty list."""
    return InboxFeed(user.profile, {}, session_key=None, wants_presence=False, write=write, close=close)


async def test_a_failed_database_read_is_retried(
    live_people: People, live_conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber, "RETRY_SECONDS", 0.01)
    sent: asyncio.Queue[str] = asyncio.Queue()
    user = await User.objects.select_related("profile").aget(pk=live_people.teacher.pk)
    inbox = inbox_of(user, sent.put, lambda code: None)
    inbox.start(0)
    assert json.loads(await sent.get()) == {"type": "inbox_established", "unread_total": 0}
    with database_away() as tried:
        inbox.on_event(MessagesRead(live_conversation.pk, live_people.teacher.pk, 0, 1, []))
        assert await asyncio.to_thread(tried.wait, 5)
        assert sent.empty()
    assert json.loads(await asyncio.wait_for(sent.get(), 5)) == await update(live_conversation, live_people.teacher)
    inbox.stop()


async def test_a_database_that_never_answers_closes_the_inbox(
    live_people: People, live_conversation: Conversation, caplog: pytest.LogCaptureFixture
) -> None:
    closed: asyncio.Queue[int] = asyncio.Queue()

    async def send(text: str) -> None:
        """Take it."""

    user = await User.objects.select_related("profile").aget(pk=live_people.teacher.pk)
    inbox = inbox_of(user, send, closed.put_nowait)
    inbox.start(0)
    with database_away(ProgrammingError("no such table")):
        inbox.on_event(MessagesRead(live_conversation.pk, live_people.teacher.pk, 0, 1, []))
        assert await asyncio.wait_for(closed.get(), 5) == 1011
    assert [record.message for record in caplog.records] == ["what a socket misses could not be read"]
    inbox.stop()


async def test_the_database_is_read_only_as_fast_as_the_client_reads(
    live_people: People, live_conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "READING_SECONDS", 0)
    gate, taken = asyncio.Event(), asyncio.Queue[Any]()

    async def send(text: str) -> None:
        await gate.wait()
        taken.put_nowait(json.loads(text))

    user = await User.objects.select_related("profile").aget(pk=live_people.teacher.pk)
    closed: list[int] = []
    inbox = inbox_of(user, send, closed.append)
    inbox.start(0)
    with counted_queries() as queries:
        for number in range(5000):
            inbox.on_event(MessagesRead(live_conversation.pk, live_people.teacher.pk, 0, number, []))
        await asyncio.sleep(0)
    assert (queries, closed) == ([], [])
    gate.set()
    assert (await taken.get())["type"] == "inbox_established"
    assert await taken.get() == await update(live_conversation, live_people.teacher)
    inbox.stop()
    assert taken.empty()


async def test_an_inbox_receives_only_its_users_conversations(
    live_people: People, live_conversation: Conversation
) -> None:
    foreign = await in_thread(conversation_of, live_people.other_student, live_people.trainer)
    user = await User.objects.select_related("profile").aget(pk=live_people.teacher.pk)
    found = await in_thread(list_entries, [live_conversation.pk, foreign.pk], user)
    assert [body.id for _, body in found] == [live_conversation.pk]


def test_an_update_has_the_same_object_as_the_list(people: People) -> None:
    message = say(people.conversation, people.student, "hello")[0]
    listed = client_of(people.teacher).get("/api/v1/chat/teacher/conversations/").json()["results"]
    assert listed == [conversation_object(people.conversation, people.teacher, last=message, unread=1)]


async def test_an_open_inbox_does_not_affect_conversation_sockets(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    async with (
        opened(connect, live_people.teacher),
        connected(connect, live_people.teacher, live_conversation) as teacher,
        connected(connect, live_people.student) as student,
    ):
        await student.send_json({"message": "hello"})
        assert await teacher.receive_json() == await new_message(await Message.objects.aget(), live_people.teacher)
