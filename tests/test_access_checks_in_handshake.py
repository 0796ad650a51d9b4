"""A user signed out during the handshake gets no socket, or one that closes at once."""

import asyncio
from typing import Any

from django.contrib.sessions.models import Session

from chat.models import Conversation
from tests.conftest import Connect
from tests.other_process import ROUGH, rough_layer
from tests.people import People, session_cookie
from tests.queries import HANDSHAKE_QUERY, paused_after
from tests.sockets import connected, in_thread, key_of, socket_of

SIGNED_OUT = 4401
NEVER = 1000


async def test_a_logout_during_the_database_read_closes_the_socket(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHAT_HEAL_SECONDS = NEVER
    key, other_key = [await in_thread(session_cookie, live_people.student) for _ in range(2)]
    async with connected(connect, None, key=other_key) as canary:
        with paused_after(HANDSHAKE_QUERY) as (known, go_on):
            connecting = asyncio.create_task(connect.try_connect(None, key=key))
            assert await asyncio.to_thread(known.wait, 5)
            await Session.objects.filter(pk__in=[key, other_key]).adelete()
            assert await canary.close_code() == SIGNED_OUT
            go_on.set()
            socket, accepted, _ = await connecting
        assert accepted
        events = [await socket.receive_output(5)]
        if events[0]["type"] == "websocket.send":  # the first frame may have been on its way
            events.append(await socket.receive_output(5))
        assert events[-1] == {"type": "websocket.close", "code": SIGNED_OUT}


async def test_a_logout_while_joining_the_group_refuses_the_handshake(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH}}
    settings.CHAT_HEAL_SECONDS = NEVER
    async with connected(connect, live_people.other_student):  # so that the layer is known to be there
        rough_layer().mode = "hangs"
        rough_layer().calls.clear()
        socket = await in_thread(socket_of, live_people.student)
        connecting = asyncio.create_task(socket.connect(5))
        while not any(call == "group_add" for call, _ in rough_layer().calls):  # noqa: ASYNC110 - from a list
            await asyncio.sleep(0.01)
        await Session.objects.filter(pk=key_of(socket)).adelete()
        assert await connecting == (False, SIGNED_OUT)
        rough_layer().mode = ""
        await socket.disconnect()
        assert socket.output_queue.empty()
