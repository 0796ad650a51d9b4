"""Handshakes that are refused, and with which code."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.models import RoleChoices, User
from chat.models import Conversation
from tests.conftest import Connect, Socket
from tests.people import People, make_user, say, session_cookie
from tests.queries import counted_queries
from tests.sockets import established, in_thread

SIGNED_OUT, NOT_ALLOWED, NOT_FOUND, TOO_MANY = 4401, 4403, 4404, 4429


async def refusal(connect: Connect, *args: Any, **kwargs: Any) -> int | None:
    """Return the code with which a handshake is refused."""
    _, accepted, code = await connect.try_connect(*args, **kwargs)
    assert not accepted
    return code


async def test_somebody_signed_out_is_refused_on_both_paths(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    assert await refusal(connect, None) == SIGNED_OUT
    assert await refusal(connect, None, live_conversation) == SIGNED_OUT
    assert await refusal(connect, None, "conversations/99999/") == SIGNED_OUT


@pytest.mark.parametrize("path", [None, "conversations/1/", "inbox/"])
@pytest.mark.parametrize("key", [None, "", "junk"])
async def test_refusing_somebody_without_a_session_costs_no_query(
    connect: Connect, path: str | None, key: str | None
) -> None:
    with counted_queries() as queries:
        assert await refusal(connect, None, path, key=key) == SIGNED_OUT
    assert queries == []


# Quotes and octal numbers are how a cookie says any character.
JUNK = ["", "x", "abcdefghijklmnopqrstuvwxyz012345", "' OR 1=1 --", "a" * 9000, "\0", "قادر"]
JUNK += [rf'"\{octal}{"a" * 31}"' for octal in ("000", "012", "351", "377")]


@pytest.mark.parametrize("path", [None, "conversations/99999/", "inbox/"])
@pytest.mark.parametrize("key", JUNK)
async def test_an_unknown_session_cookie_is_refused(
    connect: Connect, caplog: pytest.LogCaptureFixture, key: str, path: str | None
) -> None:
    assert await refusal(connect, None, path, key=key) == SIGNED_OUT
    assert [(record.levelname, record.message) for record in caplog.records] == [("INFO", "socket refused")]


@pytest.mark.parametrize("cookie", [b"", b"sessionid", b"=;=;;", b"\xff\xfe", b"sessionid=\xff", b"a=b; sessionid=; ="])
async def test_a_malformed_cookie_header_is_refused(live_people: People, cookie: bytes) -> None:
    from qader.asgi import application

    headers = [(b"origin", b"http://localhost"), (b"host", b"localhost"), (b"cookie", cookie)]
    socket = Socket(application, "/ws/chat/my-conversation/", headers)
    assert await socket.connect(5) == (False, SIGNED_OUT)
    await socket.disconnect()


async def test_an_expired_session_is_refused(connect: Connect, live_people: People) -> None:
    key = await in_thread(session_cookie, live_people.student)
    await Session.objects.filter(pk=key).aupdate(expire_date=timezone.now() - timedelta(seconds=1))
    assert await refusal(connect, None, key=key) == SIGNED_OUT


async def test_the_session_of_a_deactivated_user_is_refused(connect: Connect, live_people: People) -> None:
    await User.objects.filter(pk=live_people.student.pk).aupdate(is_active=False)
    assert await refusal(connect, live_people.student) == SIGNED_OUT


async def test_the_session_of_a_deleted_user_is_refused(connect: Connect, live_people: People) -> None:
    key = await in_thread(session_cookie, live_people.student)
    await live_people.student.adelete()
    assert await refusal(connect, None, key=key) == SIGNED_OUT


async def test_a_session_from_before_a_change_of_password_is_refused(connect: Connect, live_people: People) -> None:
    key = await in_thread(session_cookie, live_people.student)
    live_people.student.set_password("another-password-2026")
    await live_people.student.asave()
    assert await refusal(connect, None, key=key) == SIGNED_OUT


async def test_only_students_have_a_conversation_of_their_own(connect: Connect, live_people: People) -> None:
    administrator = await in_thread(make_user, "administrator", RoleChoices.ADMIN)
    for user in (live_people.teacher, live_people.trainer, live_people.admin, administrator):
        assert await refusal(connect, user) == NOT_ALLOWED


async def test_a_student_without_a_mentor_is_refused(connect: Connect, live_people: People) -> None:
    assert await refusal(connect, live_people.stranger) == NOT_FOUND
    assert not await Conversation.objects.aexists()


async def test_a_student_whose_mentor_lost_the_role_is_refused(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    live_people.teacher.profile.role = RoleChoices.ADMIN
    await live_people.teacher.profile.asave()
    assert await refusal(connect, live_people.student) == NOT_FOUND


async def test_only_mentors_connect_by_id(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    administrator = await in_thread(make_user, "administrator", RoleChoices.ADMIN)
    for user in (
        live_people.student,
        live_people.other_student,
        live_people.stranger,
        live_people.admin,
        administrator,
    ):
        assert await refusal(connect, user, live_conversation) == NOT_ALLOWED
        assert await refusal(connect, user, "conversations/99999/") == NOT_ALLOWED


@pytest.mark.parametrize("pk", ["0", "99999", str(2**63), "9" * 100])
async def test_a_mentor_is_refused_where_there_is_no_conversation(
    connect: Connect, live_people: People, pk: str
) -> None:
    assert await refusal(connect, live_people.teacher, f"conversations/{pk}/") == NOT_FOUND


async def test_a_mentor_is_refused_in_the_conversation_of_another(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    assert await refusal(connect, live_people.trainer, live_conversation) == NOT_FOUND


@pytest.mark.parametrize(
    "path",
    ["", "my-conversation", "my-conversation//", "conversations/", "conversations/x/", "conversations/-1/", "zz/"],
)
async def test_an_unknown_path_is_refused(connect: Connect, live_people: People, path: str) -> None:
    from qader.asgi import application

    headers = [(b"origin", b"http://localhost"), (b"host", b"localhost")]
    socket = Socket(application, f"/ws/chat/{path}", headers)
    assert await socket.connect(5) == (False, NOT_FOUND)
    await socket.disconnect()


@pytest.mark.parametrize("origin", [b"http://evil.example", b"null", b"http://[x", b"", b"localhost"])
async def test_a_foreign_or_malformed_origin_is_refused(live_people: People, origin: bytes) -> None:
    from qader.asgi import application

    key = await in_thread(session_cookie, live_people.student)
    headers = [(b"origin", origin), (b"host", b"localhost"), (b"cookie", f"sessionid={key}".encode())]
    socket = Socket(application, "/ws/chat/my-conversation/", headers)
    accepted, _ = await socket.connect(5)
    assert not accepted
    await socket.disconnect()
    assert not await Conversation.objects.aexists()


async def test_a_user_has_a_maximum_number_of_sockets(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHAT_MAX_SOCKETS_PER_USER = 2
    async with connect(live_people.student) as kept:
        async with connect(live_people.student):
            assert await refusal(connect, live_people.student) == TOO_MANY
            async with connect(live_people.teacher, live_conversation) as other:
                assert await other.receive_json() == established(live_conversation)
        async with connect(live_people.student) as freed:
            assert await freed.receive_json() == established(live_conversation)
        assert await kept.receive_json() == established(live_conversation)
        await kept.silence()


async def test_a_socket_over_the_limit_marks_nothing_as_read(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHAT_MAX_SOCKETS_PER_USER = 1
    async with connect(live_people.student):
        await in_thread(say, live_conversation, live_people.teacher, "unseen")
        assert await refusal(connect, live_people.student) == TOO_MANY
        assert [message.is_read async for message in live_conversation.messages.all()] == [False]


async def test_many_handshakes_at_once_do_not_slip_past_the_limit(
    connect: Connect, live_people: People, settings: Any
) -> None:
    settings.CHAT_MAX_SOCKETS_PER_USER = 3
    attempts = await asyncio.gather(*(connect.try_connect(live_people.student) for _ in range(8)))
    assert sorted(code or 0 for _, _, code in attempts) == [0, 0, 0] + [TOO_MANY] * 5
