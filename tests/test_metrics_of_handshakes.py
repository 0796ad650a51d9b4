"""Metrics of refused handshakes, by reason."""

from typing import Any

import pytest

from tests.conftest import Connect
from tests.delivery_harness import database_away
from tests.metric_values import metric_changes
from tests.people import People, session_cookie
from tests.sockets import connected, in_thread


@pytest.mark.parametrize(
    ("who", "path", "reason"),
    [
        (None, None, "not_authenticated"),
        ("teacher", None, "not_a_student"),
        ("student", "conversations/1/", "not_a_mentor"),
        ("teacher", "conversations/987654/", "conversation_not_found"),
        ("stranger", None, "no_mentor"),
        ("admin", "inbox/", "not_a_participant"),
        ("student", "elsewhere/", "no_such_path"),
    ],
)
async def test_refused_handshakes_are_counted_by_reason(
    connect: Connect, live_people: People, who: str | None, path: str | None, reason: str
) -> None:
    with metric_changes() as changed:
        _, accepted, _ = await connect.try_connect(getattr(live_people, who) if who else None, path)
    assert not accepted
    assert changed == {f'qader_handshakes_refused_total{{reason="{reason}"}}': 1}


async def test_refusals_for_too_many_sockets_and_database_outages_are_counted(
    connect: Connect, live_people: People, settings: Any
) -> None:
    settings.CHAT_MAX_SOCKETS_PER_USER = 1
    async with connected(connect, live_people.student):
        with metric_changes() as changed:
            await connect.try_connect(live_people.student)
    assert changed['qader_handshakes_refused_total{reason="too_many_sockets"}'] == 1
    key = await in_thread(session_cookie, live_people.student)
    with metric_changes() as changed, database_away():
        _, accepted, code = await connect.try_connect(live_people.student, key=key)
    assert (accepted, code) == (False, 1013)
    assert changed == {
        'qader_handshakes_refused_total{reason="temporarily_unavailable"}': 1,
        'qader_database_errors_total{by="sockets",trouble="gone"}': 1,
    }


async def test_a_foreign_origin_is_counted_as_a_reason(live_people: People) -> None:
    from qader.asgi import application
    from tests.conftest import Socket

    socket = Socket(application, "/ws/chat/my-conversation/", [(b"origin", b"http://evil.example")])
    with metric_changes() as changed:
        accepted, _ = await socket.connect(5)
        await socket.disconnect()
    assert not accepted
    assert changed == {'qader_handshakes_refused_total{reason="origin"}': 1}


async def test_a_client_that_leaves_during_the_handshake_is_counted_as_abandoned(live_people: People) -> None:
    from tests.sockets import socket_of

    socket = await in_thread(socket_of, live_people.student)
    with metric_changes() as changed:
        await socket.send_input({"type": "websocket.disconnect", "code": 1006})
        await socket.wait(5)
    assert changed == {'qader_handshakes_refused_total{reason="abandoned"}': 1}
