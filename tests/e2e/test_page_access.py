"""Accessibility of the page: keyboard, screen reader, zoom, both languages, light and dark."""

import json
from typing import Any

import pytest
from playwright.async_api import expect

from tests.e2e.cluster import Cluster, PageData, Pair
from tests.e2e.seed import PASSWORD
from tests.e2e.test_page_looks import say_over_rest
from tests.e2e.windows import NETWORK, PHONE, Window, Windows
from tests.node import installed

pytestmark = pytest.mark.asyncio(loop_scope="session")

EVERYTHING = [(lang, scheme) for lang in ("ar", "en") for scheme in ("light", "dark")]
FINDINGS = """async () => {
    const { violations } = await axe.run({ resultTypes: ["violations"] });
    return violations.map(({ id, nodes }) => [id, nodes.map(({ html, failureSummary }) => [html, failureSummary])]);
}"""


async def check(window: Window, name: str) -> None:
    """Keep a picture of this screen, on which axe finds nothing, and which is not wider than its window."""
    await window.shoot(name)
    if await window.page.evaluate("typeof axe") == "undefined":
        await window.page.evaluate((installed() / "axe-core/axe.min.js").read_text())
    findings: list[Any] = await window.page.evaluate(FINDINGS)
    assert findings == [], f"{name}: {json.dumps(findings, indent=1, ensure_ascii=False)}"
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await window.page.evaluate(wide) == 0, name


async def open_window(open_windows: Windows, person: Any, lang: str, scheme: str, **options: Any) -> Window:
    window = await open_windows.new(person, lang=lang, color_scheme=scheme, **options)
    window.may_fail = NETWORK
    return window


@pytest.mark.parametrize(("lang", "scheme"), EVERYTHING)
async def test_axe_finds_nothing_on_a_mentors_screens(
    open_windows: Windows, page_data: PageData, lang: str, scheme: str
) -> None:
    for size in (PHONE, None):
        window = await open_window(open_windows, page_data.people["mentor"], lang, scheme, size=size)
        what = f"{lang}-{scheme}-{'360' if size else '1280'}"
        await window.open()
        await expect(window.rows).not_to_have_count(0)
        await check(window, f"list-{what}")
        await window.page.click(".inbox .menu-opener")
        await check(window, f"menu-{what}")
        await window.page.keyboard.press("Escape")
        await window.get("#conversations a:has-text('نورة')").click()
        await window.connected()
        await check(window, f"conversation-{what}")
        await window.open(f"/#/conversations/{page_data.closed}")
        await expect(window.get("#closed")).to_be_visible()
        await check(window, f"closed-{what}")
        await window.open("/#/conversations/1000000")
        await expect(window.get("#nothing-back")).to_be_visible()
        await check(window, f"not-there-{what}")


@pytest.mark.parametrize(("lang", "scheme"), EVERYTHING)
async def test_axe_finds_nothing_on_a_students_screens(
    open_windows: Windows, pair: Pair, lang: str, scheme: str
) -> None:
    for size in (PHONE, None):
        window = await open_window(open_windows, None, lang, scheme, size=size)
        what = f"{lang}-{scheme}-{'360' if size else '1280'}"
        await window.open()
        await window.page.press("#username", "Enter")
        await check(window, f"sign-in-{what}")
        await window.sign_in(pair.student.username, PASSWORD)
        await window.connected()
        await check(window, f"empty-{what}")
        await window.page.evaluate("draft.value = 'bad \0'; draft.dispatchEvent(new Event('input')); send.click()")
        await expect(window.get(".failure")).to_be_visible()
        await window.page.fill("#draft", "كلمة " * 801)
        await check(window, f"failed-{what}")
        await window.page.fill("#draft", "")
        await window.context.set_offline(True)
        await window.page.evaluate("dispatchEvent(new Event('offline'))")
        await window.say("offline")
        await check(window, f"sending-{what}")


async def test_a_mentor_answers_by_the_keyboard_alone(
    open_windows: Windows, pair: Pair, shared_cluster: Cluster
) -> None:
    async with pair.student.http(shared_cluster.servers[0]) as http:
        await http.post("chat/my-conversation/messages/", json={"content": "question"})
    window = await (await open_windows.new()).open()
    press = window.page.keyboard.press
    await expect(window.get("#username")).to_be_focused()
    await window.page.keyboard.type(pair.teacher.username)
    await press("Tab")
    await window.page.keyboard.type(PASSWORD)
    await press("Enter")
    await expect(window.rows).to_have_count(1)

    await press("Tab")
    await expect(window.get("#skip-to-inbox")).to_be_focused()
    await expect(window.get("#skip-to-inbox")).to_be_in_viewport()
    await press("Enter")
    await expect(window.get("#conversations a")).to_be_focused()
    await press("Enter")
    await expect(window.get("#draft")).to_be_focused()
    await expect(window.get("#waiting")).to_be_visible()
    await press("Shift+Tab")
    await expect(window.get("#done")).to_be_focused()
    await press("Tab")
    await expect(window.get("#draft")).to_be_focused()
    await window.page.keyboard.type("answer")
    await press("Enter")
    await expect(window.bubbles).to_have_text(["question", "answer"])
    await expect(window.get("#waiting")).to_be_hidden()
    await press("Shift+Tab")
    await expect(window.get(".message .report").first).to_be_focused()
    await press("Shift+Tab")
    await expect(window.get("#scroller")).to_be_focused()

    for _ in range(12):
        await press("Shift+Tab")
        if await window.page.evaluate("document.activeElement.classList.contains('menu-opener')"):
            break
    await press("Enter")
    await expect(window.get("#menu")).to_be_visible()
    await press("Escape")
    await expect(window.get("#menu")).to_be_hidden()
    await press("Enter")
    await expect(window.get("#menu .switch-language")).to_be_focused()
    for _ in ("sound", "notifications", "e-mails", "sign out"):
        await press("Tab")
    await expect(window.get("#sign-out")).to_be_focused()
    await press("Enter")
    await expect(window.get("#username")).to_be_focused()


async def test_the_arrow_keys_go_through_the_students(open_windows: Windows, page_data: PageData) -> None:
    window = await open_windows.of(page_data.people["mentor"])
    rows = window.get("#conversations a")
    await expect(rows.first).to_be_visible()
    await window.page.focus("#search")
    await window.page.keyboard.press("ArrowDown")
    await expect(rows.first).to_be_focused()
    await window.page.keyboard.press("ArrowDown")
    await expect(rows.nth(1)).to_be_focused()
    await window.page.keyboard.press("End")
    await expect(rows.last).to_be_focused()
    await window.page.keyboard.press("ArrowUp")
    await window.page.keyboard.press("Home")
    await expect(rows.first).to_be_focused()


async def test_the_buttons_of_the_messages_are_one_stop_of_the_tab_key(
    open_windows: Windows, pair: Pair, shared_cluster: Cluster
) -> None:
    await say_over_rest(pair, shared_cluster, "one", "two", "three")
    window = await open_windows.of(pair.teacher, f"/#/conversations/{pair.conversation_id}")
    await (await window.connected()).say("mine")
    await expect(window.bubbles).to_have_count(4)
    await expect(window.get("#waiting")).to_be_hidden()
    press, buttons, draft = window.page.keyboard.press, window.get(".message .report:visible"), window.get("#draft")
    await draft.focus()
    await press("Shift+Tab")
    await expect(buttons.nth(2)).to_be_focused()
    for key, there in (("ArrowUp", 1), ("Home", 0), ("ArrowUp", 0), ("ArrowDown", 1)):
        await press(key)
        await expect(buttons.nth(there)).to_be_focused()
    await press("Enter")
    await expect(window.get("#report-text")).to_have_text("two")
    await press("Escape")
    await expect(buttons.nth(1)).to_be_focused()
    await say_over_rest(pair, shared_cluster, "four")
    await expect(window.bubbles).to_have_count(5)
    await expect(buttons.nth(1)).to_be_focused()
    await expect(buttons.nth(1)).to_have_attribute("tabindex", "0")
    await draft.focus()
    await say_over_rest(pair, shared_cluster, "five")
    await expect(buttons).to_have_count(5)
    await expect(buttons.last).to_have_attribute("tabindex", "0")
    await expect(window.get(".message [tabindex='0']")).to_have_count(1)


async def test_the_focus_is_always_visible(open_windows: Windows, page_data: PageData) -> None:
    window = await open_windows.of(page_data.people["busy mentor"], f"/#/conversations/{page_data.ids['Ada Byron']}")
    await expect(window.rows).not_to_have_count(0)
    outline = """() => {
        const one = document.activeElement;
        const { outlineStyle } = getComputedStyle(one.id === "search" ? one.parentElement : one);
        return [one.id || one.className || one.localName, outlineStyle];
    }"""
    seen = {}
    for _ in range(40):
        await window.page.keyboard.press("Tab")
        name, style = await window.page.evaluate(outline)
        seen[name] = style
    assert {"search", "scroller", "row"} <= seen.keys()
    assert {name for name, style in seen.items() if style == "none"} <= {"body"}, seen


async def test_everything_is_visible_at_200_percent(open_windows: Windows, pair: Pair) -> None:
    window = await open_windows.of(pair.student, size={"width": 640, "height": 400}, device_scale_factor=2)
    await window.connected()
    await window.say("large")
    await expect(window.bubbles).to_be_in_viewport()
    await expect(window.get("#send")).to_be_in_viewport()
    await expect(window.get("#with")).to_be_in_viewport()
    await check(window, "zoomed-en-640")
