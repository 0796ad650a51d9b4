"""Noticing new messages: title, icon, sound, notifications, and what a screen reader is told."""

import re
from itertools import pairwise
from typing import Any

import pytest
from playwright.async_api import expect

from tests.e2e.cluster import Pair
from tests.e2e.windows import PHONE, SOON, Window, Windows

pytestmark = pytest.mark.asyncio(loop_scope="session")

# A browser that grants what it is asked, and notes what it would show and play.
GRANTING = """() => {
    Object.assign(window, { asked: 0, told: [], played: 0 });
    const { createOscillator } = AudioContext.prototype;
    AudioContext.prototype.createOscillator = function () { played += 1; return createOscillator.call(this); };
    window.Notification = class { constructor() { throw new TypeError("Illegal constructor"); } }; // as on Android
    Notification.permission = sessionStorage.permission ?? "default";
    Notification.requestPermission = async () => {
        asked += 1;
        return (sessionStorage.permission = Notification.permission = "granted");
    };
    ServiceWorkerRegistration.prototype.showNotification = async (title, { body }) => void told.push([title, body]);
}"""
HEARD = """() => {
    window.heard = [];
    new MutationObserver(() => news.textContent && heard.push([performance.now(), news.textContent]))
        .observe(news, { childList: true });
}"""


async def until(window: Window, condition: str) -> None:
    """Wait until this is true on the page, whose policy lets Playwright evaluate nothing by itself."""
    for _ in range(SOON // 50):
        if await window.page.evaluate(condition):
            return
        await window.page.wait_for_timeout(50)
    raise AssertionError(f"never true: {condition}, {await window.page.evaluate('window.heard')}")


async def chatting(windows: Windows, pair: Pair, script: str = "") -> tuple[Window, Window]:
    student = await windows.new(pair.student, size=PHONE)
    if script:
        await student.page.add_init_script(f"({script})()")
    await student.open()
    mentor = await windows.of(pair.teacher, f"/#/conversations/{pair.conversation_id}")
    return await student.connected(), await mentor.connected()


async def test_title_and_icon_show_how_many_messages_are_unread(open_windows: Windows, pair: Pair) -> None:
    student, mentor = await chatting(open_windows, pair)
    icon = student.get("link[rel=icon]")
    plain = await icon.get_attribute("href")
    await student.hide()
    await mentor.say("one")
    await mentor.say("two")
    await expect(student.page).to_have_title("(2) Qader chat")
    assert ">2</text>" in str(await icon.evaluate("(link) => decodeURIComponent(link.href)"))
    await student.hide(False)
    await expect(student.page).to_have_title("Qader chat")
    assert str(await icon.evaluate("(link) => link.href")).endswith(str(plain))

    await mentor.hide()
    await student.say("three")
    await expect(mentor.page).to_have_title("(1) Qader chat")
    assert ">1</text>" in str(await mentor.get("link[rel=icon]").evaluate("(link) => decodeURIComponent(link.href)"))


async def test_a_sound_and_a_notification_come_if_the_user_switched_them_on(open_windows: Windows, pair: Pair) -> None:
    student, mentor = await chatting(open_windows, pair, GRANTING)

    async def state() -> Any:
        return await student.page.evaluate("[asked, told, played]")

    async def choose(name: str) -> None:
        await student.page.click("#conversation-menu")
        await student.page.click(f"label[for=notice-{name}]")
        await student.page.keyboard.press("Escape")

    await student.hide()
    await mentor.say("nobody wanted to know")
    await expect(student.bubbles).to_have_count(1)
    await student.page.wait_for_timeout(1200)
    assert await state() == [0, [], 0]
    await student.hide(False)
    await expect(student.page).to_have_title("Qader chat")

    await choose("notify")
    await choose("sound")
    assert await state() == [1, [], 1]  # played once to try it
    await mentor.say("seen at once")
    await expect(student.bubbles).to_have_count(2)
    await student.hide()
    await mentor.say("news")
    await until(student, "told.length")
    name = pair.teacher.username
    assert await state() == [1, [[name, "news"]], 2]

    await student.hide(False)
    await choose("hide")
    await student.page.reload()
    await student.connected()
    await student.hide()
    await mentor.say("secret")
    await until(student, "told.length")
    assert await state() == [0, [[name, "New message"]], 1]

    await student.hide(False)
    await expect(student.page).to_have_title("Qader chat")
    await student.page.evaluate("() => { document.hasFocus = () => false; }")  # another window has it
    await mentor.say("beside")
    await until(student, "told.length === 2 && played === 2")


REFUSALS = {
    "() => { delete window.Notification; }": "This browser cannot show notifications.",
    "() => { Notification.requestPermission = async () => 'denied'; }": (
        "The browser does not allow it. You can allow it in the browser's settings for this page."
    ),
    "() => { Notification.requestPermission = async () => 'default'; }": (
        "The browser has no permission for notifications. Switch them on again, and allow them when it asks."
    ),
    """() => {
        Notification.requestPermission = async () => "granted";
        navigator.serviceWorker.register = async () => { throw new TypeError("failed to fetch"); };
    }""": "The browser could not prepare notifications. Reload this page and try again.",
}


@pytest.mark.parametrize(("script", "hint"), REFUSALS.items())
async def test_notifications_that_cannot_be_switched_on_stay_off_and_the_page_says_why(
    open_windows: Windows, pair: Pair, script: str, hint: str
) -> None:
    student = await open_windows.new(pair.student, size=PHONE)
    await student.page.add_init_script(f"({script})()")
    await (await student.open()).connected()
    await student.page.click("#conversation-menu")
    for _ in range(2):  # the second try says the same
        await student.page.click("label[for=notice-notify]")
        await expect(student.get("#notice-hint")).to_have_text(hint)
        await expect(student.get("#notice-notify")).not_to_be_checked()
        await expect(student.get("#notice-hide")).to_be_disabled()
    assert await student.page.evaluate(f"localStorage['notices:{pair.student.user_id}'] ?? ''") == ""
    await student.shoot("notices-en-360")


async def test_notifications_that_the_browser_does_not_allow_any_more_are_not_claimed(
    open_windows: Windows, pair: Pair
) -> None:
    student, _ = await chatting(open_windows, pair, GRANTING)
    await student.page.click("#conversation-menu")
    await student.page.click("label[for=notice-notify]")
    await expect(student.get("#notice-hide")).to_be_enabled()
    await student.page.evaluate("sessionStorage.clear()")
    await student.page.reload()
    await student.connected()
    await student.page.click("#conversation-menu")
    await expect(student.get("#notice-notify")).not_to_be_checked()
    await expect(student.get("#notice-hide")).to_be_disabled()
    await expect(student.get("#notice-hint")).to_contain_text("The browser has no permission for notifications.")
    assert await student.page.evaluate("asked") == 0  # at a start nobody is asked


async def test_a_notification_comes_although_no_sound_can_be_played(open_windows: Windows, pair: Pair) -> None:
    student, mentor = await chatting(open_windows, pair, GRANTING)
    await student.page.click("#conversation-menu")
    await student.page.click("label[for=notice-notify]")
    await student.page.click("label[for=notice-sound]")
    await student.page.keyboard.press("Escape")
    await student.page.evaluate(
        "void (AudioContext.prototype.createOscillator = () => { played += 1; throw new DOMException('no device'); })"
    )
    student.may_fail = re.compile("no device")
    await student.hide()
    await mentor.say("news")
    await until(student, "told.length && played === 2")
    student.faults.clear()


async def test_a_screen_reader_is_told_of_equal_messages_and_not_of_each_key(open_windows: Windows, pair: Pair) -> None:
    student, mentor = await chatting(open_windows, pair)
    await student.page.evaluate(HEARD)
    for _ in range(2):
        await mentor.say("yes")
        await expect(mentor.get("#draft")).to_have_value("")
    await until(student, "heard.map(([, text]) => text).join('\\n').split('yes').length === 3")

    await student.page.fill("#draft", "x" * 3599)
    await student.page.evaluate("heard.length = 0")
    await student.page.press("#draft", "End")
    await student.page.keyboard.type("y" * 30)
    await until(student, "heard.some(([, text]) => text.includes('3,629'))")
    times = [at for at, _ in await student.page.evaluate("heard")]
    assert all(later - earlier > 2_500 for earlier, later in pairwise(times))
