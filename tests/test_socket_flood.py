"""Rate limits of a socket, and the close after too many refused frames."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chat.models import Conversation, Message
from tests.conftest import Connect, Socket, loop_is_idle
from tests.people import People
from tests.sockets import NO_MESSAGE, STUDENT_MESSAGES, connected, http, receive_many, still_works

BAD_JSON = {"error": "The frame is not valid JSON.", "code": "invalid_json"}
PONG = {"type": "pong"}
FLOOD = 4429


@pytest.fixture
async def socket(connect: Connect, live_people: People) -> AsyncIterator[Socket]:
    """The student's socket, its first frame received."""
    async with connected(connect, live_people.student) as opened:
        yield opened


async def test_a_hundred_refused_frames_are_answered_and_one_more_closes_the_socket(
    connect: Connect, live_people: People
) -> None:
    async with connected(connect, live_people.student) as socket, connected(connect, live_people.student) as tab:
        for _ in range(101):
            await socket.send_to(text_data="x")
        assert await receive_many(socket, 100) == [BAD_JSON] * 100
        event = await socket.receive_output(5)
        if event["type"] == "websocket.send":  # the last refusal may still be sent
            assert json.loads(event["text"]) == BAD_JSON
            event = await socket.receive_output(5)
        assert event["type"] == "websocket.close"
        assert event["code"] == FLOOD
        await socket.send_json({"message": "too late"})
        await tab.silence()
    assert not await Message.objects.aexists()


async def test_a_hundred_refused_frames_do_not_end_a_socket(socket: Socket, live_people: People) -> None:
    for _ in range(100):
        await socket.send_to(text_data="x")
    assert await receive_many(socket, 100) == [BAD_JSON] * 100
    await still_works(socket, live_people)


async def test_refusals_of_rate_count_as_a_flood_too(connect: Connect, live_people: People, settings: Any) -> None:
    settings.CHAT_RATE_LIMIT = (0.001, 1)
    async with connected(connect, live_people.student) as socket:
        for number in range(102):
            await socket.send_json({"message": str(number)})
        codes = []
        while (event := await socket.receive_output(5))["type"] == "websocket.send":
            codes.append(json.loads(event["text"]).get("code", "stored"))
        assert event["code"] == FLOOD
        assert codes.count("rate_limited") in {100, 101}
        assert set(codes) <= {"stored", "rate_limited"}
    await loop_is_idle()  # the socket may be closed before its message is committed
    assert await Message.objects.acount() == 1


async def test_pings_and_marks_have_a_bucket_of_their_own(socket: Socket, live_people: People) -> None:
    for number in range(90):
        await socket.send_json({"type": "ping"} if number % 2 else {"type": "mark_read", "message_id": "x"})
    answers = [frame for frame in await receive_many(socket, 90) if frame not in (PONG, NO_MESSAGE)]
    assert answers
    for frame in answers:
        assert 0 < frame.pop("retry_after") <= 0.05
        assert frame == {"error": "Too many frames.", "code": "rate_limited"}
    # Sending is another matter.
    await still_works(socket, live_people)


def limited(frame: dict[str, Any], most: float) -> bool:
    """Whether this frame refuses a send because of the rate; `most` seconds are to be waited."""
    wait = frame.pop("retry_after")
    assert 0 < wait <= most
    return frame == {"error": "You are writing too fast.", "code": "rate_limited"}


async def test_sending_too_fast_returns_the_time_to_wait(socket: Socket, live_people: People, settings: Any) -> None:
    settings.CHAT_RATE_LIMIT = (0.01, 3)
    for number in range(3):
        await socket.send_json({"message": str(number)})
        assert (await socket.receive_json())["message"]["content"] == str(number)
    await socket.send_json({"message": "too much"})
    assert limited(await socket.receive_json(), 100)
    assert await Message.objects.acount() == 3
    await socket.silence()


async def test_a_send_after_the_time_to_wait_is_accepted(socket: Socket, live_people: People, settings: Any) -> None:
    settings.CHAT_RATE_LIMIT = (10.0, 1)
    await socket.send_json({"message": "first"})
    await socket.send_json({"message": "second"})
    frames = await receive_many(socket, 2)
    (refusal,) = [frame for frame in frames if "error" in frame]
    await asyncio.sleep(refusal["retry_after"])
    await socket.send_json({"message": "second"})
    assert (await socket.receive_json())["message"]["content"] == "second"


async def test_one_rate_counts_for_all_sockets_and_posts_of_a_user_and_for_nobody_else(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHAT_RATE_LIMIT = (0.01, 3)
    client = await http(live_people.student)
    async with (
        connected(connect, live_people.student) as socket,
        connected(connect, live_people.student) as tab,
        connected(connect, live_people.teacher, live_conversation) as teacher,
    ):

        async def everybody_hears(content: str) -> None:
            for listener in (socket, tab, teacher):
                assert (await listener.receive_json())["message"]["content"] == content

        await socket.send_json({"message": "one"})
        await everybody_hears("one")
        await tab.send_json({"message": "two"})
        await everybody_hears("two")
        answer = await client.post(STUDENT_MESSAGES, {"content": "three"}, content_type="application/json")
        assert answer.status_code == 201
        await everybody_hears("three")

        for own in (socket, tab):
            await own.send_json({"message": "four"})
            assert limited(await own.receive_json(), 100)
        answer = await client.post(STUDENT_MESSAGES, {"content": "four"}, content_type="application/json")
        assert answer.status_code == 429
        assert answer.json() == {"detail": "You are writing too fast.", "code": "rate_limited"}
        assert 98 <= int(answer["Retry-After"]) <= 100

        await teacher.send_json({"message": "not me"})
        await everybody_hears("not me")


async def test_without_a_rate_nobody_waits(socket: Socket, live_people: People, settings: Any) -> None:
    settings.CHAT_RATE_LIMIT = None
    for number in range(60):
        await socket.send_json({"message": str(number)})
    assert [frame["message"]["content"] for frame in await receive_many(socket, 60)] == [str(n) for n in range(60)]
