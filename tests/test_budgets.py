"""The budgets of handshakes, expensive reads and log-ins: by user, and by address for those who are not signed in."""

from typing import Any

import pytest
from django.test import AsyncClient

from accounts.models import User
from chat.models import Conversation
from chat.runtime.rate_limit import connect_limit, read_limit
from tests.conftest import Connect, Post
from tests.metric_values import metric_changes
from tests.people import PASSWORD, People, say, session_cookie
from tests.sockets import STUDENT_MESSAGES, connected, ended, in_thread
from tests.test_rate_limit import later

SLOW = 0.001  # tokens a second: none comes back during a test
HERE, ELSEWHERE = ({"X-Real-IP": address} for address in ("192.0.2.1", "192.0.2.2"))
CONVERSATIONS = "/api/v1/chat/teacher/conversations/"
LOGIN = "/api/v1/auth/login/"
TOO_MANY = 4429


@pytest.fixture(autouse=True)
def _addresses_are_in_a_header(settings: Any) -> None:
    settings.TRUST_PROXY = 1


async def browser(user: User | None = None) -> AsyncClient:
    client = AsyncClient()
    if user is not None:
        client.cookies["sessionid"] = await in_thread(session_cookie, user)
    return client


async def status(client: AsyncClient, path: str, address: dict[str, str] = HERE, method: str = "GET") -> int:
    return int((await client.generic(method, path, headers=address)).status_code)


async def test_expensive_reads_of_a_user_have_one_budget(
    live_people: People, live_conversation: Conversation, post: Post, settings: Any
) -> None:
    settings.CHAT_READ_LIMIT = SLOW, 6
    client, path = await browser(live_people.teacher), f"{CONVERSATIONS}{live_conversation.pk}/messages/"
    for read in (CONVERSATIONS, path, "/api/schema/", "/api/asyncapi.yaml"):
        assert await status(client, read) == 200
    mark_read = f"/api/v1/chat/conversations/{live_conversation.pk}/mark-read/"
    done = f"/api/v1/chat/conversations/{live_conversation.pk}/done/"
    for small_write in (mark_read, done):
        assert (await post(live_people.teacher, small_write)).status_code == 200
    with metric_changes() as changes:
        answer = await client.get(path, headers=ELSEWHERE)
    assert (answer.status_code, answer.json()) == (429, {"detail": "Too many requests.", "code": "rate_limited"})
    assert 900 < int(answer["Retry-After"]) <= 1000
    assert "no-store" in answer["Cache-Control"]
    assert changes['qader_rate_limited_total{limit="read"}'] == 1
    assert changes['qader_errors_told_total{code="rate_limited",over="rest"}'] == 1
    assert await status(client, path, method="HEAD") == 429
    for small_write in (mark_read, done):
        assert (await post(live_people.teacher, small_write)).status_code == 429
    # What is cheap, or has a budget of its own, goes on; so do others.
    assert await status(client, "/api/v1/auth/me/") == 200
    assert (await post(live_people.teacher, path, {"content": "x"})).status_code == 201
    assert await status(await browser(live_people.student), STUDENT_MESSAGES) == 200
    later(read_limit()._buckets[live_people.teacher.pk], 1 / SLOW)
    assert [await status(client, path) for _ in range(2)] == [200, 429]


async def test_settings_and_devices_draw_on_the_budget_of_reads(live_people: People, post: Post, settings: Any) -> None:
    settings.CHAT_READ_LIMIT = SLOW, 4
    user, client = live_people.student, await browser(live_people.student)
    key, devices = "/api/v1/notify/push-key/", "/api/v1/notify/subscriptions/"
    assert [await status(client, path) for path in (key, devices)] == [404, 405]
    assert (await post(user, devices, {})).status_code == 404
    answers = [
        await client.patch("/api/v1/auth/me/", {"language": "ar"}, content_type="application/json") for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert [(await post(user, devices, {})).status_code, await status(client, key)] == [429, 429]
    assert await status(client, "/api/v1/auth/me/") == 200


async def test_links_in_e_mails_have_a_budget_by_address(live_people: People, settings: Any) -> None:
    settings.ADDRESS_LIMIT = SLOW, 2
    stranger, link = await browser(), "/api/v1/notify/unsubscribe/wrong/"
    assert [await status(stranger, link, method=method) for method in ("GET", "POST", "POST")] == [404, 404, 429]
    assert await status(stranger, link, ELSEWHERE) == 404


async def test_strangers_have_a_budget_by_address(live_people: People, settings: Any) -> None:
    settings.ADDRESS_LIMIT = SLOW, 3
    stranger, client = await browser(), await browser(live_people.student)
    assert [await status(stranger, STUDENT_MESSAGES), await status(stranger, "/api/schema/")] == [401, 200]
    assert [await status(stranger, path) for path in ("/api/docs/", "/api/docs/")] == [200, 429]
    assert await status(stranger, "/api/schema/", ELSEWHERE) == 200
    assert await status(stranger, "/api/v1/auth/csrf/") == 200
    # A school, or a frontend's own server: those who are signed in count for themselves.
    assert {await status(client, STUDENT_MESSAGES) for _ in range(5)} == {200}
    assert await log_in(stranger) == 200


async def log_in(client: AsyncClient, password: str = PASSWORD, address: dict[str, str] = HERE) -> int:
    body = {"username": "student", "password": password}
    answer = await client.post(LOGIN, body, content_type="application/json", headers=address)
    return int(answer.status_code)


async def test_log_ins_have_a_budget_by_address_and_known_browsers_one_each(live_people: People, settings: Any) -> None:
    settings.ADDRESS_LIMIT = SLOW, 3
    known = await browser()
    assert await log_in(known) == 200
    assert [await log_in(await browser()) for _ in range(3)] == [200, 200, 429]
    form = {"username": "admin", "password": PASSWORD}
    page = await (await browser()).post("/admin/login/", form, headers=HERE)
    assert (page.status_code, "Too many requests." in page.content.decode()) == (429, True)
    assert await log_in(await browser(), address=ELSEWHERE) == 200
    assert [await log_in(known) for _ in range(4)] == [200, 200, 200, 429]


async def test_handshakes_of_a_user_have_a_budget(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHAT_CONNECT_LIMIT = SLOW, 3
    message = (await in_thread(say, live_conversation, live_people.teacher, "unread"))[0]
    for path in (None, "inbox/", "my-conversation/?mark_read=false"):
        _, accepted, _ = await connect.try_connect(live_people.student, path)
        assert accepted
    await message.arefresh_from_db()
    assert message.is_read
    message = (await in_thread(say, live_conversation, live_people.teacher, "unread"))[0]
    with metric_changes() as changes:
        for path in (None, "inbox/"):
            assert (await connect.try_connect(live_people.student, path))[1:] == (False, TOO_MANY)
    assert changes['qader_handshakes_refused_total{reason="rate_limited"}'] == 2
    assert changes['qader_rate_limited_total{limit="connect"}'] == 2
    await message.arefresh_from_db()
    assert not message.is_read
    assert (await connect.try_connect(live_people.teacher, live_conversation))[1]


async def test_handshakes_that_are_refused_count_too(
    connect: Connect, live_people: People, live_conversation: Conversation, settings: Any
) -> None:
    settings.CHAT_CONNECT_LIMIT = SLOW, 2
    foreign = await in_thread(lambda: live_people.other_conversation)
    paths = (foreign, "conversations/999999/", live_conversation)
    codes = [(await connect.try_connect(live_people.teacher, path))[2] for path in paths]
    assert codes == [4404, 4404, TOO_MANY]


async def test_handshakes_of_strangers_have_a_budget_by_address(
    connect: Connect, live_people: People, settings: Any
) -> None:
    settings.ADDRESS_LIMIT = SLOW, 2
    codes = [(await connect.try_connect(None, path))[2] for path in (None, "inbox/", None)]
    assert codes == [4401, 4401, TOO_MANY]
    assert (await connect.try_connect(None, key="junk"))[2] == TOO_MANY
    assert (await connect.try_connect(live_people.student))[1]


async def test_a_user_is_not_let_in_for_five_seconds_after_a_flood(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    async with connected(connect, live_people.student) as socket:
        for _ in range(101):
            await socket.send_to(text_data="{")
        while (event := await socket.receive_output(5))["type"] == "websocket.send":
            pass
        assert event["code"] == TOO_MANY
        assert (await connect.try_connect(live_people.student))[2] == TOO_MANY
        assert (await connect.try_connect(live_people.teacher, live_conversation))[1]
    await ended("connect-limit-report")  # Redis would lower the bucket again
    bucket = connect_limit()._buckets[live_people.student.pk]
    later(bucket, 4.5)
    assert (await connect.try_connect(live_people.student))[2] == TOO_MANY
    later(bucket, 1)
    assert (await connect.try_connect(live_people.student))[1]


async def test_zero_switches_each_budget_off(connect: Connect, live_people: People, settings: Any) -> None:
    settings.CHAT_CONNECT_LIMIT = settings.CHAT_READ_LIMIT = settings.ADDRESS_LIMIT = None
    connect_limit().block(live_people.student.pk, 5)
    assert (await connect.try_connect(live_people.student))[1]
    client, stranger = await browser(live_people.student), await browser()
    assert {await status(client, STUDENT_MESSAGES) for _ in range(70)} == {200}
    assert await status(stranger, "/api/schema/") == 200


@pytest.mark.parametrize(
    ("name", "limit"),
    [("CHAT_CONNECT_LIMIT", (1, 60)), ("CHAT_READ_LIMIT", (10, 60)), ("ADDRESS_LIMIT", (10, 600))],
)
def test_the_defaults_are_those_of_the_documents(settings: Any, name: str, limit: tuple[float, int]) -> None:
    assert getattr(settings, name) == limit
