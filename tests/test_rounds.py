"""The periodic rounds over open sockets continue after a failure."""

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest
from django.db import ProgrammingError

from chat.live import healing
from chat.models import Conversation, Message
from tests.conftest import Connect
from tests.delivery_harness import database_away
from tests.other_process import ROUGH, OtherProcess, rough_layer
from tests.people import People, say
from tests.sockets import connected, in_thread, new_message, settled

NEVER = 1000


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.ERROR]


async def test_rounds_continue_after_an_unexpected_failure(
    connect: Connect,
    live_people: People,
    live_conversation: Conversation,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.CHAT_HEAL_SECONDS = 0.2
    async with connected(connect, live_people.student) as student:
        await settled()
        with database_away(ProgrammingError("no such column")) as tried:
            assert await asyncio.to_thread(tried.wait, 5)
            while "rounds-healing failed" not in errors(caplog):  # noqa: ASYNC110 - a log is no event
                await asyncio.sleep(0.01)
        (stored,) = await in_thread(say, live_conversation, live_people.teacher, "by the shell")
        assert await student.receive_json() == await new_message(stored, live_people.student)


async def test_an_event_of_a_newer_release_is_ignored(
    connect: Connect,
    live_people: People,
    live_conversation: Conversation,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH}}
    settings.CHAT_HEAL_SECONDS = NEVER
    group = f"chat_{live_conversation.pk}"
    deleted = msgspec.msgpack.encode({"type": "MessageDeleted", "conversation_id": live_conversation.pk})
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(OtherProcess())
        teacher = await other.connect(live_people.teacher, live_conversation)
        student = await stack.enter_async_context(connected(connect, live_people.student))
        await settled()
        await other.run(settled())
        for message in ({"type": "event", "group": group, "from": "a newer one", "body": deleted}, {"type": "other"}):
            await rough_layer().group_send(group, message)
        await teacher.send_json({"message": "hello"})
        received = await student.receive_json()
        assert received == await new_message(await Message.objects.aget(), live_people.student)
    told = {record.message for record in caplog.records if "understood" in record.message}
    assert told == {f"an event was not understood: {name}" for name in ("ValidationError", "KeyError")}


async def test_every_new_socket_is_checked_again_after_a_while(
    connect: Connect,
    live_people: People,
    live_conversation: Conversation,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH}}
    settings.CHAT_HEAL_SECONDS = NEVER
    monkeypatch.setattr(healing, "CONFIRMED_SECONDS", 0.6)
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(OtherProcess())
        teacher = await other.connect(live_people.teacher, live_conversation)
        await other.run(settled())
        await stack.enter_async_context(connected(connect, live_people.other_student))
        await asyncio.sleep(0.5)
        student = await stack.enter_async_context(connected(connect, live_people.student))
        rough_layer().drop = 1  # as if it had not joined the group yet
        await asyncio.sleep(0.3)
        await teacher.send_json({"message": "hello"})
        assert (await teacher.receive_json())["type"] == "new_message"
        rough_layer().drop = 0
        received = await student.receive_json()
        assert received == await new_message(await Message.objects.aget(), live_people.student)
