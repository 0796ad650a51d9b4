"""A long conversation on the page: scrolling to its beginning and back, without jumps or losses."""

import asyncio
import re
from contextlib import suppress
from typing import Any

import pytest
from playwright.async_api import Error, Route, WebSocketRoute, expect

from tests.e2e.cluster import Cluster, PageData, Pair
from tests.e2e.load import tell
from tests.e2e.page_data import HISTORY, MISSED
from tests.e2e.windows import NETWORK, PHONE, Window, Windows

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECONDS = 20  # until a mark must be stored
PIXELS = 2  # that what is read may move while more is put above it
# Scrolls up as fast as pages come. Whatever is on top of the window stays where it is while a page is put above it.
TO_THE_TOP = """async (wanted) => {
    const scroller = document.querySelector("#scroller");
    const list = document.querySelector("#messages");
    const frame = () => new Promise(requestAnimationFrame);
    const jumps = [], delays = [];
    new PerformanceObserver((entries) => delays.push(...entries.getEntries().map(({ duration }) => duration)))
        .observe({ type: "longtask" });
    while (list.children.length < wanted) {
        scroller.scrollTop = 400;
        await frame();
        const { left, top, width } = scroller.getBoundingClientRect();
        const seen = document.elementFromPoint(left + width / 2, top + 100)?.closest(".message")
            ?? [...list.children].find((one) => one.getBoundingClientRect().bottom > top + 100);
        const before = seen.getBoundingClientRect().top;
        const count = list.children.length;
        scroller.scrollTop -= 1;
        for (let tries = 0; list.children.length === count; tries++) {
            if (tries > 600) throw new Error(`no more than ${count}`);
            await frame();
        }
        await frame();
        await frame();
        jumps.push(Math.abs(seen.getBoundingClientRect().top - before - 1));
    }
    return { jumps, delays, count: list.children.length };
}"""


# Scrolls up, and waits in each place until the day at the top is that of the messages there, by itself or among them.
DAYS_AT_THE_TOP = """async () => {
    const scroller = document.querySelector("#scroller"), now = document.querySelector("#day-now");
    const day = () => {
        const { top } = scroller.getBoundingClientRect();
        const days = [...document.querySelectorAll("#messages .day:not([hidden])")];
        const last = days.filter((one) => one.closest(".message").getBoundingClientRect().top < top + 40).at(-1);
        return last && last.getBoundingClientRect().bottom <= top ? last.textContent : "";
    };
    const found = [];
    const until = async (condition) => {
        for (let tries = 0; tries < 600 && !condition(); tries++) await new Promise(requestAnimationFrame);
    };
    for (let place = 0; place < 60; place++) {
        await until(() => scroller.scrollTop >= 300); // older messages come
        scroller.scrollTop -= 300;
        await new Promise(requestAnimationFrame);
        await until(() => (now.hidden ? !day() : now.textContent === day()));
        found.push([day(), now.hidden ? "" : now.textContent]);
    }
    return found;
}"""


@pytest.mark.parametrize("lang", ["ar", "en"])
async def test_the_day_of_what_is_read_stays_visible(open_windows: Windows, page_data: PageData, lang: str) -> None:
    window = await open_windows.of(page_data.people["reader"], size=PHONE, lang=lang)
    await window.connected()
    await expect(window.get("#day-now")).to_be_hidden()
    found = await window.page.evaluate(DAYS_AT_THE_TOP)
    assert [there for _, there in found] == [expected for expected, _ in found]
    assert len({there for _, there in found}) > 1, found  # by itself, and among the messages
    box = await window.get("#day-now").bounding_box() if found[-1][1] else None
    assert box is None or abs(box["x"] + box["width"] / 2 - PHONE["width"] / 2) < 10
    await window.page.click("#to-end")
    await expect(window.get("#day-now")).to_be_hidden()


@pytest.mark.slow
async def test_five_thousand_messages_are_scrolled_to_the_top(open_windows: Windows, page_data: PageData) -> None:
    window = await open_windows.of(page_data.people["reader"], size=PHONE)
    await window.connected()
    found: dict[str, Any] = await window.page.evaluate(TO_THE_TOP, HISTORY)
    tell(f"{len(found['jumps'])} pages, long tasks {sorted(map(int, found['delays']))[-5:]} ms")
    assert max(found["jumps"]) <= PIXELS, found["jumps"]
    numbers = [int(text.split()[0]) for text in await window.texts()]
    assert numbers == list(range(1, HISTORY + 1))
    await expect(window.get("#beginning-note")).to_have_text("This is where your conversation begins.")

    await window.page.evaluate("scroller.scrollTop = 0")
    await expect(window.bubbles.first).to_be_in_viewport()
    await window.page.fill("#draft", "still quick")
    begin = await window.page.evaluate("performance.now()")
    await window.page.click("#send")
    await expect(window.bubbles.last).to_be_in_viewport()
    await expect(window.bubbles.last).to_have_text("still quick")
    tell(f"sent and shown in {await window.page.evaluate('performance.now()') - begin:.0f} ms")


async def read_by(student: Window, pair: Pair, shared_cluster: Cluster) -> list[bool]:
    """Which of the mentor's messages the student has read."""
    await student.page.wait_for_timeout(500)  # until it has told of those that it has shown
    async with pair.teacher.http(shared_cluster.servers[0]) as http:
        found = (await http.get(f"chat/teacher/{pair.teacher.path}messages/?mark_read=false")).json()
    return [message["is_read"] for message in found["results"]]


async def test_a_reader_of_old_messages_is_not_scrolled_by_new_ones(
    open_windows: Windows, shared_cluster: Cluster, pair: Pair
) -> None:
    async with pair.teacher.http(shared_cluster.servers[0]) as http:
        for number in range(20):
            await http.post(f"chat/teacher/{pair.teacher.path}messages/", json={"content": f"{number}\n\n\n"})
    student = await open_windows.of(pair.student, lang="ar", size=PHONE)
    await student.connected()
    await expect(student.get(".divider:visible")).to_have_text("رسائل جديدة")
    await expect(student.get(".message:has(.divider:visible) .text")).to_have_text("0\n\n\n")
    await expect(student.get(".divider:visible")).to_be_in_viewport()
    await expect(student.get("#to-end")).to_have_attribute("aria-label", re.compile("رسالة جديدة"))
    read = await read_by(student, pair, shared_cluster)
    assert read[0] and not read[-1]
    top = await student.page.evaluate("scroller.scrollTop")
    async with pair.teacher.http(shared_cluster.servers[0]) as http:
        await http.post(f"chat/teacher/{pair.teacher.path}messages/", json={"content": "below"})
    await expect(student.bubbles).to_have_count(21)
    assert await student.page.evaluate("scroller.scrollTop") == top
    await student.shoot("new-messages-ar-360")
    await student.page.click("#to-end")
    await expect(student.bubbles.last).to_be_in_viewport()
    await expect(student.get("#to-end")).to_be_hidden()

    async with pair.teacher.http(shared_cluster.servers[0]) as http:
        await http.post(f"chat/teacher/{pair.teacher.path}messages/", json={"content": "follows"})
    await expect(student.bubbles.last).to_have_text("follows")
    while not all(await read_by(student, pair, shared_cluster)):
        pass
    await expect(student.bubbles.last).to_be_in_viewport()


async def write_much(pair: Pair, cluster: Cluster, begin: int = 0) -> None:
    """Let the mentor write more than fits on a screen."""
    async with pair.teacher.http(cluster.servers[0]) as http:
        for number in range(begin, begin + 15):
            answer = await http.post(f"chat/teacher/{pair.teacher.path}messages/", json={"content": f"{number}\n\n\n"})
            assert answer.status_code == 201


@pytest.mark.parametrize("way", ["hidden", "cut off"])
async def test_who_comes_back_finds_where_the_new_messages_begin(
    open_windows: Windows, shared_cluster: Cluster, pair: Pair, way: str
) -> None:
    sockets: list[WebSocketRoute] = []
    is_cut = False

    async def on_the_way(socket: WebSocketRoute) -> None:
        if is_cut:
            return await socket.close(code=1012)
        socket.connect_to_server()
        sockets.append(socket)
        return None

    async def over_rest(route: Route) -> None:  # else it stands in for the socket, and nothing is missed
        await (route.abort() if is_cut else route.continue_())

    student = await open_windows.new(pair.student, lang="ar", size=PHONE)
    student.may_fail = NETWORK
    await student.page.route_web_socket("**/ws/chat/**", on_the_way)
    await student.page.route("**/api/v1/**", over_rest)
    await student.open()
    await student.connected()
    await student.say("before")
    await expect(student.get(".message .state")).to_have_text(["أُرسلت"])
    if way == "hidden":
        await student.hide()
    else:
        is_cut = True
        await sockets[0].close(code=1012)
        await expect(student.get("#conversation-connection")).to_be_visible()
    await write_much(pair, shared_cluster)
    is_cut = False
    await student.hurry()
    await expect(student.bubbles).to_have_count(16)
    await student.hide(False)

    async def found() -> None:
        await expect(student.get(".message:has(.divider:visible) .text")).to_have_text("0\n\n\n")
        await expect(student.get(".divider:visible")).to_be_in_viewport()
        await expect(student.bubbles.last).not_to_be_in_viewport()

    await found()
    read = await read_by(student, pair, shared_cluster)
    assert read[1] and not read[-1]
    below = await student.page.evaluate(
        "[...document.querySelectorAll('.message')].filter(one =>"
        " one.getBoundingClientRect().top > scroller.getBoundingClientRect().bottom).length"
    )
    assert read.count(False) >= below
    await found()
    # Once they are read, the list follows again.
    await student.page.click("#to-end")
    await expect(student.bubbles.last).to_be_in_viewport()
    while not all((await read_by(student, pair, shared_cluster))[1:]):
        pass
    async with pair.teacher.http(shared_cluster.servers[0]) as http:
        await http.post(f"chat/teacher/{pair.teacher.path}messages/", json={"content": "follows"})
    await expect(student.bubbles.last).to_have_text("follows")
    await expect(student.bubbles.last).to_be_in_viewport()


async def test_the_new_messages_begin_at_the_first_unread_one_although_they_are_more_than_a_page(
    open_windows: Windows, page_data: PageData
) -> None:
    mentor = await open_windows.of(page_data.people["missed"], size=PHONE)
    await mentor.get("#conversations a").click()
    await mentor.connected()
    await expect(mentor.get(".message:has(.divider:visible) .text")).to_have_text(f"Eager: {MISSED[1]}")
    await expect(mentor.get(".divider:visible")).to_be_in_viewport()
    await expect(mentor.bubbles).to_have_count(len(MISSED))


# Leaves as soon as a message has been on the screen, which is long before read marks are sent together.
LEAVE = """() => new Promise((done) => {
    const seen = new IntersectionObserver((entries) => {
        if (entries.some(({ isIntersecting }) => isIntersecting)) setTimeout(() => {
            location.href = "about:blank";
            done();
        });
    });
    new MutationObserver(() => seen.observe(document.querySelector(".message")))
        .observe(document.querySelector("#messages"), { childList: true });
})"""


async def test_what_was_seen_is_read_although_the_page_is_left_at_once(
    open_windows: Windows, shared_cluster: Cluster, pair: Pair
) -> None:
    student = await (await open_windows.of(pair.student)).connected()
    left = asyncio.create_task(student.page.evaluate(LEAVE))
    async with pair.teacher.http(shared_cluster.servers[0]) as http:
        await http.post(f"chat/teacher/{pair.teacher.path}messages/", json={"content": "seen"})
    with suppress(Error):  # the page is gone
        await left
    await student.page.wait_for_url("about:blank")
    async with asyncio.timeout(SECONDS):
        while not all(await read_by(student, pair, shared_cluster)):
            pass


LOWEST = """() => {
    const edge = scroller.getBoundingClientRect().bottom;
    const bubbles = [...document.querySelectorAll(".bubble")];
    const lowest = bubbles.filter((one) => one.getBoundingClientRect().top < edge).pop();
    return [lowest.querySelector(".text").textContent, Math.round(lowest.getBoundingClientRect().bottom - edge)];
}"""


BANNER_WHILE_SCROLLING = """() => {
    const banner = document.querySelector("#conversation-connection");
    const height = scroller.clientHeight;
    banner.style.animation = "none"; // which hides it for a second
    banner.hidden = false;
    if (scroller.clientHeight === height) throw new Error("the banner takes no place");
    scroller.dispatchEvent(new Event("scroll"));
}"""


AWAY_WHILE_RESIZED = """() => {
    const banner = document.querySelector("#conversation-connection");
    const height = scroller.clientHeight;
    banner.style.animation = "none";
    banner.hidden = !banner.hidden;
    if (scroller.clientHeight === height) throw new Error("the banner takes no place");
    scroller.scrollTop -= 300;
}"""


async def test_the_lowest_visible_message_stays_where_it_is(
    open_windows: Windows, shared_cluster: Cluster, pair: Pair
) -> None:
    await write_much(pair, shared_cluster)
    student = await open_windows.of(pair.student, lang="ar", size=PHONE)
    await student.connected()
    other = await (await student.tab()).connected()
    await student.page.click("#to-end")
    await expect(student.bubbles.last).to_be_in_viewport()
    await student.page.evaluate("scroller.scrollTop -= 500")
    await expect(student.get("#to-end")).to_be_visible()
    before = await student.page.evaluate(LOWEST)

    async def resize(width: int, height: int) -> None:
        await student.page.set_viewport_size({"width": width, "height": height})
        await student.page.wait_for_function(f"innerWidth === {width} && innerHeight === {height}")

    async def stays(after: str) -> None:
        await student.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        text, gap = await student.page.evaluate(LOWEST)
        assert text == before[0] and abs(gap - before[1]) <= PIXELS, after

    await resize(740, 360)
    await stays("turned")
    await resize(360, 420)
    await stays("keyboard")
    await student.page.fill("#draft", "one\ntwo\nthree\nfour")
    await stays("a draft of several lines")
    await student.page.evaluate(BANNER_WHILE_SCROLLING)
    await stays("a banner")
    await other.say("from another tab")
    await expect(student.bubbles.last).to_have_text("from another tab")
    await expect(student.get(".message .state").last).to_have_text("أُرسلت")
    await stays("a message of another tab")
    await student.page.set_viewport_size(PHONE)
    await stays("back")
    await student.page.click("#send")
    await expect(student.bubbles.last).to_be_in_viewport()
    await expect(student.get("#to-end")).to_be_hidden()
    await student.page.evaluate(AWAY_WHILE_RESIZED)
    await expect(student.get("#to-end")).to_be_visible()


async def test_the_button_for_older_messages_stays_with_its_conversation(
    open_windows: Windows, page_data: PageData
) -> None:
    window = await open_windows.new(page_data.people["third mentor"])
    await window.page.route("**/messages/*before=*", lambda route: route.abort())
    window.may_fail = NETWORK
    await window.open(f"/#/conversations/{page_data.history}")
    await window.connected()
    await window.page.evaluate("scroller.scrollTop = 0")
    await expect(window.get("#older")).to_be_visible()
    await window.page.click("#conversations a:has-text('Former Student')")
    await expect(window.get("#with")).to_have_text("Former Student")
    await window.connected()
    await expect(window.get("#older")).to_be_hidden()


async def test_fetching_older_messages_can_be_retried(open_windows: Windows, page_data: PageData) -> None:
    window = await open_windows.new(page_data.people["reader"])
    await window.page.route("**/messages/*before=*", lambda route: route.abort())
    window.may_fail = NETWORK
    await window.open()
    await window.connected()
    await window.page.evaluate("scroller.scrollTop = 0")
    await expect(window.get("#older")).to_be_visible()
    await window.page.unroute("**/messages/*before=*")
    await window.page.click("#older")
    await expect(window.bubbles).not_to_have_count(50)
    await expect(window.get("#older")).to_be_hidden()
