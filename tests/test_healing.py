"""Open sockets recover what the channel layer loses, repeats or reorders."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest

from chat.bus.event_bus import EventBus, event_bus
from chat.bus.events import AccessChanged
from chat.live import healing
from chat.models import Conversation, Message
from chat.moderation import erasure
from chat.moderation.erasure import erase_person
from notices.start import note_start
from tests.conftest import Connect
from tests.notices import HOUR, later, notify_times, run_round, sent
from tests.other_process import ROUGH, OtherProcess, RoughLayer, rough_layer
from tests.people import People, say
from tests.queries import HANDSHAKE_QUERY, paused_after
from tests.sockets import connected, ended, established, in_thread, message_status, new_message, receive_many, settled

NEVER = 1000


@pytest.fixture(autouse=True)
def _layer_between_processes(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH}}
    settings.CHAT_RATE_LIMIT = None
    monkeypatch.setattr(healing, "CONFIRMED_SECONDS", 0.1)


@pytest.mark.parametrize("seed", range(3))
async def test_a_layer_that_loses_repeats_and_reorders_leaves_no_gap_and_no_double(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any, seed: int
) -> None:
    rough = {"drop": 0.2, "repeat": 0.1, "swap": 0.2, "seed": seed}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH, "CONFIG": rough}}
    settings.CHAT_HEAL_SECONDS = 0.3
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(OtherProcess())
        teachers = [await other.connect(live_people.teacher, live_conversation) for _ in range(2)]
        students = [await stack.enter_async_context(connected(connect, live_people.student)) for _ in range(2)]

        async def talk(sockets: list[Any], name: str) -> None:
            for number in range(60):
                await sockets[number % 2].send_json({"message": f"{name} {number}", "client_id": str(number)})
                await asyncio.sleep(0)

        await asyncio.gather(talk(teachers, "teacher"), talk(students, "student"))
        everyone: list[Any] = [*teachers, *students]
        received = [await receive_many(socket, 120) for socket in everyone]
        for socket in everyone:
            await socket.silence()

        stored = [message async for message in Message.objects.order_by("seq")]
        assert [message.seq for message in stored] == list(range(1, 121))
        for frames, user in zip(received, [live_people.teacher] * 2 + [live_people.student] * 2, strict=True):
            own = [message.client_id if message.sender_id == user.pk else None for message in stored]
            assert frames == [await new_message(m, user, client_id) for m, client_id in zip(stored, own, strict=True)]


async def test_a_layer_that_loses_repeats_and_reorders_sends_each_read_once(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    rough = {"drop": 0.2, "repeat": 0.2, "swap": 0.3, "seed": 1}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH, "CONFIG": rough}}
    settings.CHAT_HEAL_SECONDS = 0.3
    messages = await in_thread(say, live_conversation, live_people.teacher, *map(str, range(30)))
    ids = [message.pk for message in messages]
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(OtherProcess())
        reader = await other.connect(live_people.student, None, "?mark_read=false")
        teacher = await stack.enter_async_context(connected(connect, live_people.teacher, live_conversation))
        for pk in ids:
            await reader.send_json({"type": "mark_read", "message_id": pk})
        for socket in (reader, teacher):
            told: list[int] = []
            while len(told) < 30:
                frame = await socket.receive_json()
                assert frame == message_status(live_people.student, *frame["message_ids"])
                told += frame["message_ids"]
            assert sorted(told) == ids
            await socket.silence()


async def test_a_lost_message_is_sent_with_the_next_one(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHAT_HEAL_SECONDS = NEVER
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(OtherProcess())
        teacher = await other.connect(live_people.teacher, live_conversation)
        student = await stack.enter_async_context(connected(connect, live_people.student))
        await settled()
        await other.run(settled())
        rough_layer().drop = 1
        for number in range(3):
            await teacher.send_json({"message": str(number)})
            await teacher.receive_json()
        await student.silence()
        rough_layer().drop = 0
        await teacher.send_json({"message": "3"})
        assert [f["message"]["content"] for f in await receive_many(student, 4)] == ["0", "1", "2", "3"]
        await student.silence()


async def test_local_sockets_receive_messages_even_if_the_layer_loses_everything(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH, "CONFIG": {"drop": 1}}}
    settings.CHAT_HEAL_SECONDS = NEVER
    async with (
        connected(connect, live_people.student) as student,
        connected(connect, live_people.teacher, live_conversation) as teacher,
    ):
        await settled()
        await student.send_json({"message": "here"})
        stored_frames = [await socket.receive_json() for socket in (student, teacher)]
        stored = await Message.objects.alatest("seq")
        assert stored_frames == [await new_message(stored, user) for user in (live_people.student, live_people.teacher)]


async def test_a_message_made_by_the_orm_reaches_open_sockets_in_a_round(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHAT_HEAL_SECONDS = 0.05
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(OtherProcess())
        teacher = await other.connect(live_people.teacher, live_conversation)
        student = await stack.enter_async_context(connected(connect, live_people.student))
        # The check of new sockets might find the first; only rounds find the others.
        for contents in (["one"], ["two", "three"], ["four"]):
            stored = await in_thread(say, live_conversation, live_people.student, *contents)
            expected = [await new_message(message, live_people.student) for message in stored]
            assert await receive_many(student, len(contents)) == expected
            expected = [await new_message(message, live_people.teacher) for message in stored]
            assert await receive_many(teacher, len(contents)) == expected


async def test_a_new_socket_is_checked_again_after_a_second(
    connect: Connect,
    live_people: People,
    live_conversation: Conversation,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.CHAT_HEAL_SECONDS = NEVER
    monkeypatch.setattr(healing, "CONFIRMED_SECONDS", 1.0)  # the default
    for content in ("one", "two"):
        async with connected(connect, live_people.student) as student:
            await ended("healing-now-batches")
            stored = (await in_thread(say, live_conversation, live_people.teacher, content))[0]
            assert await student.receive_json() == await new_message(stored, live_people.student)


async def test_a_message_committed_while_connecting_arrives_at_once(
    connect: Connect,
    live_people: People,
    live_conversation: Conversation,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.CHAT_HEAL_SECONDS = NEVER
    monkeypatch.setattr(healing, "CONFIRMED_SECONDS", NEVER)
    with paused_after(HANDSHAKE_QUERY) as (looked_up, go_on):
        connecting = asyncio.create_task(connect.try_connect(live_people.student, None, "?mark_read=false"))
        assert await asyncio.to_thread(looked_up.wait, 5)
        stored = (await in_thread(say, live_conversation, live_people.teacher, "in between"))[0]
        go_on.set()
        socket, accepted, code = await connecting
    assert accepted, code
    assert await receive_many(socket, 2) == [
        established(live_conversation),
        await new_message(stored, live_people.student),
    ]


async def test_reads_of_another_process_are_found_in_a_round(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHAT_HEAL_SECONDS = 0.05
    messages = await in_thread(say, live_conversation, live_people.teacher, *map(str, range(6)))
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(OtherProcess())
        reader = await other.connect(live_people.student, None, "?mark_read=false")
        teacher = await stack.enter_async_context(connected(connect, live_people.teacher, live_conversation))
        rough_layer().drop = 1
        for up_to in (1, 3, 5):
            await reader.send_json({"type": "mark_read", "message_id": messages[up_to].pk})
            expected = message_status(live_people.student, messages[up_to - 1].pk, messages[up_to].pk)
            assert await reader.receive_json() == expected
            assert await teacher.receive_json() == expected
        await reader.silence()
        await teacher.silence()


async def test_an_erasure_that_the_layer_loses_is_told_in_a_round(
    connect: Connect,
    live_people: People,
    live_conversation: Conversation,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.CHAT_HEAL_SECONDS = 0.2
    monkeypatch.setattr(erasure, "ERASED_AT_ONCE", 2)
    messages = await in_thread(say, live_conversation, live_people.student, *map(str, range(5)))
    ids = [message.pk for message in messages]
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(OtherProcess())
        teacher = await other.connect(live_people.teacher, live_conversation, "?events=1")
        assert (await teacher.receive_json())["type"] == "conversation_state"
        await other.run(settled())
        rough_layer().drop = 1
        assert await in_thread(lambda: erase_person(person=live_people.student, by=None))
        assert await teacher.receive_json() == {"type": "messages_erased", "message_ids": ids}
        await teacher.silence()


async def test_when_a_notice_is_looked_at_is_corrected_in_a_round(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any, notices_on: None
) -> None:
    settings.CHAT_HEAL_SECONDS = NEVER
    rows = Conversation.objects.filter(pk=live_conversation.pk)
    await in_thread(note_start)
    async with connected(connect, live_people.teacher, live_conversation, "?mark_read=false"):
        await in_thread(say, live_conversation, live_people.teacher, "one")
        before = await in_thread(notify_times, live_conversation)
        await rows.aupdate(student_notify_at=None)
        await healing.healing().heal_all()
        assert await in_thread(notify_times, live_conversation) == before
        await in_thread(later, HOUR)
        assert await in_thread(run_round) == sent(e_mails=1)
        await healing.healing().heal_all()
        assert await in_thread(notify_times, live_conversation) == (None, None)


@pytest.mark.parametrize("mode", ["raises", "hangs"])
async def test_while_the_layer_is_away_messages_are_stored_and_acknowledged(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any, mode: str
) -> None:
    settings.CHAT_HEAL_SECONDS = 0.2
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(OtherProcess())
        teacher = await other.connect(live_people.teacher, live_conversation)
        student = await stack.enter_async_context(connected(connect, live_people.student))
        rough_layer().mode = mode
        begin = asyncio.get_running_loop().time()
        for number in range(10):
            await student.send_json({"message": str(number)})
            own = await student.receive_json()
            assert own == await new_message(await Message.objects.alatest("seq"), live_people.student)
        assert asyncio.get_running_loop().time() - begin < 1  # nothing of this has waited for the layer
        # The other process finds them in a round.
        stored = [message async for message in Message.objects.order_by("seq")]
        assert await receive_many(teacher, 10) == [await new_message(m, live_people.teacher) for m in stored]
        # And one may connect.
        late = await stack.enter_async_context(connected(connect, live_people.student))
        await teacher.send_json({"message": "found in a round"})
        stored_late = await late.receive_json()
        assert stored_late == await new_message(await Message.objects.alatest("seq"), live_people.student)
        rough_layer().mode = ""


@pytest.mark.parametrize("mode", ["raises", "hangs"])
async def test_every_socket_is_healed_as_soon_as_the_layer_is_back(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any, mode: str
) -> None:
    settings.CHAT_HEAL_SECONDS = NEVER
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(OtherProcess())
        teacher = await other.connect(live_people.teacher, live_conversation)
        student = await stack.enter_async_context(connected(connect, live_people.student))
        neighbour = await stack.enter_async_context(connected(connect, live_people.other_student))
        await settled()
        await other.run(settled())
        rough_layer().mode = mode
        await neighbour.send_json({"message": "the layer is found to be away"})
        await neighbour.receive_json()
        for number in range(3):
            await teacher.send_json({"message": str(number)})
            await teacher.receive_json()
        await ended("event-bus-publish")
        await student.silence()
        rough_layer().mode = ""
        await neighbour.send_json({"message": "and back"})
        stored = [m async for m in Message.objects.filter(sender=live_people.teacher).order_by("seq")]
        assert await receive_many(student, 3) == [await new_message(m, live_people.student) for m in stored]


async def test_sockets_opened_during_a_layer_outage_receive_live_after_it(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH, "CONFIG": {"mode": "raises"}}}
    settings.CHAT_HEAL_SECONDS = NEVER
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(OtherProcess())
        teacher = await other.connect(live_people.teacher, live_conversation)
        student = await stack.enter_async_context(connected(connect, live_people.student))
        await settled()
        await other.run(settled())
        rough_layer().mode = ""
        await ended("event-bus-synchronize")
        await other.run(ended("event-bus-synchronize"))
        await student.send_json({"message": "there?"})
        await student.receive_json()
        assert (await teacher.receive_json())["message"]["content"] == "there?"
        await teacher.send_json({"message": "here"})
        assert await student.receive_json() == await new_message(
            await Message.objects.alatest("seq"), live_people.student
        )


async def test_what_is_lost_while_a_gap_is_healed_is_healed_too(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHAT_HEAL_SECONDS = NEVER
    async with connected(connect, live_people.student) as student:
        await asyncio.to_thread(time.sleep, 0.2)  # it is healed when the layer has surely joined its groups
        await settled()
        with paused_after("student_read_seq") as (made, go_on):
            event_bus().on_gap()
            assert await asyncio.to_thread(made.wait, 5)
            [late] = await in_thread(say, live_conversation, live_people.teacher, "lost meanwhile")
            event_bus().on_gap()
            go_on.set()
        assert await student.receive_json() == await new_message(late, live_people.student)


async def test_a_socket_that_is_ahead_of_the_database_is_closed(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHAT_HEAL_SECONDS = 0.2
    async with connected(connect, live_people.student) as student:
        await student.send_json({"message": "lost by a fail-over"})
        await student.receive_json()
        await in_thread(lambda: Message.objects.all()._raw_delete("default"))
        await Conversation.objects.aupdate(last_seq=0)
        assert await student.close_code() == 1012
    async with connected(connect, live_people.student) as student:
        await student.send_json({"message": "and again"})
        assert (await student.receive_json())["message"]["content"] == "and again"


async def test_events_queued_while_publishing_ends_are_sent(settings: Any) -> None:
    published: list[Any] = []

    class LastMoment(RoughLayer):
        async def group_send(self, group: str, message: dict[str, Any]) -> None:
            published.append(message["body"])
            if len(published) == 1:
                # Runs when the publishing task has looked for more and found nothing, but is not over.
                asyncio.get_running_loop().call_soon(bus.publish, AccessChanged(2))

    from channels.layers import channel_layers

    channel_layers.set("default", LastMoment())
    bus = EventBus()
    bus.publish(AccessChanged(1))
    await bus.settle()
    await asyncio.sleep(0)
    await bus.settle()
    assert len(published) == 2
