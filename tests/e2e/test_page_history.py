"""A long conversation on the page: scrolling to its beginning and back, without jumps or losses."""

from typing import Any

import pytest
from playwright.async_api import expect

from tests.e2e.cluster import Cluster, PageData, Pair
from tests.e2e.load import tell
from tests.e2e.page_data import HISTORY
from tests.e2e.windows import NETWORK, PHONE, Window, Windows

pytestmark = pytest.mark.asyncio(loop_scope="session")

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
    await expect(student.get("#to-end .label")).to_contain_text("رسالة جديدة")
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
