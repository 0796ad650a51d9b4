"""The page on bad networks: no answer at the start, no WebSockets, texts from before there is a connection."""

import re
from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Route, WebSocketRoute, expect

from tests.e2e.cluster import Pair
from tests.e2e.windows import NETWORK, PHONE, SOON, Window, Windows

pytestmark = pytest.mark.asyncio(loop_scope="session")

Block = Callable[[WebSocketRoute], Awaitable[None]]

NO_CONNECTION = re.compile(r"^No connection since \S*\d:\d\d\S*\.$")
BLOCKED = "There is no live connection, perhaps because of a firewall. Messages come every few seconds."


async def abort(route: Route) -> None:
    await route.abort()


async def swallow(_: WebSocketRoute) -> None:
    """Let a firewall accept the socket and pass on nothing."""


async def refuse(socket: WebSocketRoute) -> None:
    await socket.close()


async def test_a_page_whose_first_request_fails_says_so_and_tries_again(open_windows: Windows, pair: Pair) -> None:
    student = await open_windows.new(pair.student, size=PHONE)
    student.may_fail = NETWORK
    await student.page.route("**/auth/me/", abort)
    await student.open()
    await expect(student.get("#start-connection p")).to_have_text(NO_CONNECTION)
    await expect(student.get("#sign-in")).to_be_hidden()
    await student.shoot("no-connection-at-start-en-360")
    await student.page.unroute("**/auth/me/")
    await student.connected()  # without a reload
    await expect(student.get("#start-connection")).to_be_hidden()


@pytest.mark.parametrize("block", [swallow, refuse])
async def test_without_websockets_people_chat_over_requests_until_a_socket_works(
    open_windows: Windows, pair: Pair, block: Block
) -> None:
    mentor = await open_windows.of(pair.teacher, f"/#/conversations/{pair.conversation_id}")
    await mentor.connected()
    await mentor.say("before")
    student = await open_windows.new(pair.student, size=PHONE)
    is_blocked = True

    async def firewall(socket: WebSocketRoute) -> None:
        if is_blocked:
            await block(socket)
        else:
            socket.connect_to_server()

    await student.page.route_web_socket(re.compile("/ws/"), firewall)
    await student.open()
    await expect(student.get("#conversation-connection p")).to_have_text(BLOCKED)
    await expect(student.bubbles).to_have_text(["before"])
    await expect(mentor.get(".message .state")).to_have_text(["Read"])
    await student.shoot(f"blocked-{block.__name__}-en-360")
    await student.say("question")
    await expect(mentor.bubbles).to_have_text(["before", "question"])
    await mentor.say("answer")
    await expect(student.bubbles).to_have_text(["before", "question", "answer"], timeout=2 * SOON)
    is_blocked = False
    await student.hurry()
    await expect(student.get("#conversation-connection")).to_be_hidden(timeout=2 * SOON)
    await mentor.say("live")
    await expect(student.bubbles.last).to_have_text("live")


async def test_what_a_mentor_wrote_offline_is_sent_after_the_next_sign_in_from_any_page(
    open_windows: Windows, pair: Pair
) -> None:
    mentor = await open_windows.of(pair.teacher, f"/#/conversations/{pair.conversation_id}")
    mentor.may_fail = NETWORK
    await mentor.connected()
    await mentor.context.set_offline(True)
    await expect(mentor.get("#conversation-connection p")).to_contain_text("You are offline since")
    await mentor.say("written offline")
    await mentor.page.close()
    await mentor.context.set_offline(False)
    student = await open_windows.of(pair.student)
    await student.connected()
    other = await mentor.tab()
    await expect(other.rows).to_be_visible()
    await expect(student.bubbles).to_have_text(["written offline"], timeout=2 * SOON)


async def test_a_text_from_before_the_first_connection_survives_a_reload(open_windows: Windows, pair: Pair) -> None:
    student = await open_windows.new(pair.student, size=PHONE)
    student.may_fail = NETWORK
    await student.page.route("**/my-conversation/", abort)
    await student.open()
    await student.say("early")
    await expect(student.bubbles).to_have_text(["early"])
    await student.page.reload()
    await expect(student.bubbles).to_have_text(["early"])
    await student.page.unroute("**/my-conversation/")
    await student.hurry()
    await expect(student.get(".message .state")).to_have_text(["Sent"])


DRAFT = "(([id]) => Object.entries(localStorage).filter(([key]) => key.endsWith(`:${id}`)).map(([, text]) => text))"


async def stored_draft(window: Window, pair: Pair) -> list[str]:
    texts: list[str] = await window.page.evaluate(DRAFT, [pair.conversation_id])
    return texts


async def test_a_key_typed_while_the_page_loads_does_not_replace_the_draft(open_windows: Windows, pair: Pair) -> None:
    student = await open_windows.of(pair.student)
    student.may_fail = NETWORK
    await student.connected()
    await student.page.fill("#draft", "half a sentence")
    await student.page.route("**/my-conversation/", abort)
    await student.page.reload()
    await expect(student.get("#draft")).to_be_visible()
    await student.page.locator("#draft").press_sequentially("x")
    await student.page.unroute("**/my-conversation/")
    await student.hurry()
    await expect(student.get("#draft")).to_have_value("half a sentence\nx")
    assert await stored_draft(student, pair) == ["half a sentence\nx"]


async def test_a_draft_from_before_the_conversation_is_known_survives_a_reload(
    open_windows: Windows, pair: Pair
) -> None:
    student = await open_windows.new(pair.student, size=PHONE)
    student.may_fail = NETWORK
    await student.page.route("**/my-conversation/", abort)
    await student.open()
    await student.page.fill("#draft", "half a sentence")
    await student.page.reload()
    await expect(student.get("#draft")).to_have_value("half a sentence")
    await student.page.unroute("**/my-conversation/")
    await student.hurry()
    await student.connected()
    await expect(student.get("#draft")).to_have_value("half a sentence")
    names = await student.page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('qader-draft'))")
    assert names == [f"qader-draft:{pair.student.user_id}:{pair.conversation_id}"]


async def test_two_tabs_with_one_draft_lose_nothing(open_windows: Windows, pair: Pair) -> None:
    one = await open_windows.of(pair.student)
    await one.connected()
    await one.page.fill("#draft", "draft")
    other = await one.tab()
    await other.connected()
    await expect(other.get("#draft")).to_have_value("draft")
    await other.page.fill("#draft", "draft of the second tab")
    await expect(one.get("#draft")).to_have_value("draft of the second tab")  # nothing was written here since
    await one.page.fill("#draft", "sent")
    # The first tab must learn of it before it sends: a tab with an empty field takes over what it learns of.
    await one.page.evaluate("void (window.learnt = new Promise((resolve) => addEventListener('storage', resolve)))")
    await other.page.fill("#draft", "draft of the second tab, longer")
    await one.page.evaluate("learnt.then(() => {})")
    await one.page.click("#send")
    await expect(one.bubbles).to_have_text(["sent"])
    assert await stored_draft(other, pair) == ["draft of the second tab, longer"]
    await one.page.fill("#draft", "another")
    await one.page.reload()
    await other.page.reload()
    await other.connected()
    value = await other.get("#draft").input_value()
    assert "another" in value
    assert "draft of the second tab, longer" in value


async def test_a_storage_that_is_full_is_said(open_windows: Windows, pair: Pair) -> None:
    student = await open_windows.new(pair.student, size=PHONE)
    student.may_fail = NETWORK
    await student.open()
    await student.connected()
    await student.page.evaluate(
        "void (Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); })"
    )
    await student.page.fill("#draft", "a text")
    note = student.get("#composer-note")
    await expect(note).to_have_text("Your browser cannot keep this text: send it before you leave.")
    await student.context.set_offline(True)
    await student.page.click("#send")
    await expect(student.get("#conversation-connection p")).to_contain_text("Leave this page open.")
    await expect(note).to_have_text("")
    await student.context.set_offline(False)
    await student.hurry()
    await expect(student.get(".message .state")).to_have_text(["Sent"])
    await expect(student.get("#conversation-connection")).to_be_hidden()
