"""Whoever has the conversation open is not told of it: in any process, by a socket that marks as read."""

import asyncio
from typing import Any

import pytest
from django.conf import settings as django_settings

from accounts.models import User
from chat.live import readers
from chat.live.heartbeats import STALE_SECONDS
from chat.live.hub import hub
from chat.live.readers import ReaderLookUp
from chat.models import Conversation
from notices import looks
from tests.conftest import Connect
from tests.notices import HOUR, MINUTE, later, run_round, sent
from tests.other_process import ROUGH, OtherProcess
from tests.people import People, say
from tests.queries import connected_redis
from tests.sockets import connected, in_thread

pytestmark = pytest.mark.usefixtures("notices_on")
with_redis = pytest.mark.skipif(not django_settings.REDIS_URL, reason="without Redis nobody counts as reading")


async def is_reading(conversation: Conversation, user: User) -> bool:
    look_up = ReaderLookUp()
    found = await in_thread(look_up.reading, [(conversation.pk, user.pk)])
    look_up.close()
    return found == {(conversation.pk, user.pk)}


async def until_reading(conversation: Conversation, user: User, expected: bool) -> None:
    """Wait until Redis has been told."""
    async with asyncio.timeout(5):
        while await is_reading(conversation, user) != expected:  # noqa: ASYNC110 - another process has no event
            await asyncio.sleep(0.01)


@with_redis
async def test_nothing_is_sent_while_the_reader_has_the_conversation_open(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    conversation = live_conversation
    async with connected(connect, live_people.student):
        await until_reading(conversation, live_people.student, True)
        assert not await is_reading(conversation, live_people.teacher)
        await in_thread(say, conversation, live_people.teacher, "one")
        await in_thread(later, HOUR)
        assert await in_thread(run_round) == sent()
    await until_reading(conversation, live_people.student, False)
    assert await in_thread(run_round) == sent()  # it looks again later
    await in_thread(later, looks.LOOK_AGAIN_SECONDS)
    assert await in_thread(run_round) == sent(e_mails=1)


@with_redis
@pytest.mark.parametrize("path", ["inbox/", "my-conversation/?mark_read=false"])
async def test_inboxes_and_sockets_that_read_nothing_do_not_count(
    connect: Connect, live_people: People, live_conversation: Conversation, path: str
) -> None:
    where, _, query = path.partition("?")
    async with connect(live_people.student, where, f"?{query}" if query else ""):
        await in_thread(say, live_conversation, live_people.teacher, "one")
        await in_thread(later, 30 * MINUTE)
        assert await in_thread(run_round) == sent(e_mails=1)


@with_redis
async def test_a_reader_counts_until_the_last_socket_is_closed(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    conversation, student = live_conversation, live_people.student
    async with connected(connect, student):
        await until_reading(conversation, student, True)
        async with connected(connect, student):
            pass
        async with connected(connect, student, query="?mark_read=false"):
            pass
        await readers.readers().run_round()
        assert await is_reading(conversation, student)
    await until_reading(conversation, student, False)


@with_redis
async def test_a_reader_in_another_process_counts(
    live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    conversation, student = live_conversation, live_people.student
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH}}
    async with OtherProcess() as other:
        socket = await other.connect(student)
        await until_reading(conversation, student, True)
        other.sockets.remove(socket.socket)
        await other.run(socket.socket.disconnect())
        await until_reading(conversation, student, False)


@with_redis
async def test_a_process_that_died_counts_no_longer(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    conversation, student = live_conversation, live_people.student
    key = f"qader:readers:{conversation.pk}:{student.pk}"
    async with connected(connect, student):
        await until_reading(conversation, student, True)
        client: Any = connected_redis()
        [(process, at)] = await client.zrange(key, 0, 0, withscores=True)
        await client.zadd(key, {process: at - STALE_SECONDS - 1})
        assert not await is_reading(conversation, student)
        await readers.readers().run_round()
        assert await is_reading(conversation, student)


@with_redis
async def test_the_rounds_send_the_heartbeats(
    connect: Connect, live_people: People, live_conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.live.presence.BEAT_SECONDS", 0.05)
    conversation, student = live_conversation, live_people.student
    async with connected(connect, student):
        await until_reading(conversation, student, True)
        await connected_redis().delete(f"qader:readers:{conversation.pk}:{student.pk}")
        await until_reading(conversation, student, True)
    assert hub() is not None


async def test_without_redis_nobody_counts(
    live_people: People, live_conversation: Conversation, connect: Connect, settings: Any, lines: Any
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    async with connected(connect, live_people.student):
        await in_thread(say, live_conversation, live_people.teacher, "one")
        await in_thread(lambda: say(live_people.other_conversation, live_people.trainer, "one"))
        await in_thread(later, 30 * MINUTE)
        assert await in_thread(run_round) == sent(e_mails=2)
    told = [line["event"] for line in lines() if "everybody counts as away" in line["event"]]
    assert told == ["Redis does not answer, everybody counts as away: ConnectionError"]
