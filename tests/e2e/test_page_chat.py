"""Two people chat on the page: live, after a killed server, after sleep, in several tabs."""

import asyncio
import re

import pytest
from playwright.async_api import expect

from tests.e2e.cluster import Cluster, Pair
from tests.e2e.seed import PASSWORD
from tests.e2e.windows import NETWORK, PHONE, SOON, Window, Windows

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def both(open_windows: Windows, pair: Pair) -> tuple[Window, Window]:
    """The student in Arabic on a phone, the mentor in English at a desk, in their conversation."""
    student = await open_windows.of(pair.student, lang="ar", size=PHONE)
    mentor = await open_windows.of(pair.teacher, f"/#/conversations/{pair.conversation_id}")
    return await student.connected(), await mentor.connected()


async def test_two_people_sign_in_and_chat(open_windows: Windows, pair: Pair) -> None:
    student = await (await open_windows.new(lang="ar", size=PHONE)).open()
    mentor = await (await open_windows.new()).open()
    await student.shoot("sign-in-ar-360")
    await student.sign_in(pair.student.username, PASSWORD)
    await student.connected()
    await expect(student.get("#beginning-note")).to_have_text("لم يُكتب شيء بعد. اكتب الرسالة الأولى.")
    await mentor.sign_in(f"{pair.teacher.username}@example.com", PASSWORD)
    await expect(mentor.rows).to_have_text([pair.student.username])

    await student.say("مرحبا، عندي سؤال 😀")
    await expect(mentor.get("#conversations .excerpt")).to_have_text("مرحبا، عندي سؤال 😀")
    await expect(mentor.get(".badge .number")).to_have_text("1")
    await expect(mentor.page).to_have_title("(1) Qader chat")
    assert await student.states() == ["أُرسلت"]

    await mentor.rows.click()
    await expect(mentor.bubbles).to_have_text(["مرحبا، عندي سؤال 😀"])
    await expect(student.get(".message .state")).to_have_text(["قُرئت"])
    await expect(mentor.get(".badge")).to_be_hidden()
    await expect(student.get("#presence")).to_have_text("متصل الآن")

    await mentor.page.locator("#draft").press_sequentially("Hello")
    await expect(student.get("#presence")).to_have_text("جارٍ الكتابة…")
    await expect(student.get("#typing")).to_be_visible()
    await mentor.page.keyboard.press("Shift+Enter")
    await mentor.page.keyboard.type("What is it?")
    await mentor.page.keyboard.press("Enter")
    await expect(student.bubbles).to_have_text(["مرحبا، عندي سؤال 😀", "Hello\nWhat is it?"])
    await expect(student.get("#typing")).to_be_hidden()
    await expect(mentor.get(".message .state")).to_have_text(["", "Read"])
    await expect(student.get("#news")).to_have_text(f"{pair.teacher.username}: Hello\nWhat is it?")
    await student.shoot("chat-ar-360")
    await mentor.shoot("chat-en-1280")


# What iOS 15.4, Chrome 109 or Firefox 115 does not have. Node's tests of the client take more away.
OLD = """{
    const newer = [
        [AbortSignal, "timeout", "any"],
        [Array, "fromAsync"],
        [Array.prototype, "toSorted", "toReversed", "toSpliced", "with"],
        [Element.prototype, "checkVisibility", "scrollIntoViewIfNeeded", "setHTMLUnsafe", "moveBefore"],
        [HTMLElement.prototype, "popover", "showPopover", "hidePopover", "togglePopover", "inert"],
        [Intl, "DurationFormat", "Segmenter"],
        [Map, "groupBy"],
        [Object, "groupBy"],
        [Promise, "withResolvers", "try"],
        [Set.prototype, "union", "difference", "intersection"],
        [String.prototype, "isWellFormed", "toWellFormed"],
        [URL, "canParse", "parse"],
        [Crypto.prototype, "randomUUID"], // over http
        [Navigator.prototype, "setAppBadge", "locks", "userAgentData", "serviceWorker"],
        [window, "Notification", "navigation", "scheduler", "requestIdleCallback", "trustedTypes", "CloseWatcher"],
    ];
    for (const [owner, ...names] of newer) for (const name of names) delete owner[name];
    const { supports } = CSS;
    CSS.supports = (name, ...value) => name !== "field-sizing" && supports.call(CSS, name, ...value);
}"""


async def test_the_oldest_browsers_supported_chat(open_windows: Windows, pair: Pair) -> None:
    student = await open_windows.new(size=PHONE)
    mentor = await open_windows.new(pair.teacher)
    for window in (student, mentor):
        await window.page.add_init_script(OLD)
    await student.open()
    await student.sign_in(pair.student.username, PASSWORD)
    await student.connected()
    assert await student.page.evaluate("[URL.canParse, document.body.popover, window.Notification]") == [None] * 3
    await student.say("see https://example.org/a")
    await mentor.open()
    await mentor.get("#conversations a").click()
    await mentor.connected()
    await expect(mentor.get(".bubble a")).to_have_text("https://example.org/a")
    await mentor.say("answer")
    await expect(student.bubbles).to_have_text(["see https://example.org/a", "answer"])
    await expect(student.get(".message .state").first).to_have_text("Read")
    await mentor.page.fill("#search", pair.student.username)
    await expect(mentor.rows).to_have_count(1)
    await student.page.click("#conversation-menu")
    await student.page.click("label[for=notice-notify]")
    await expect(student.get("#notice-hint")).to_have_text("This browser cannot show notifications.")
    await student.page.click("#sign-out")
    await expect(student.get("#sign-in")).to_be_visible()


async def test_what_is_written_or_pasted_elsewhere_goes_into_the_field(open_windows: Windows, pair: Pair) -> None:
    mentor = await open_windows.new(pair.teacher, permissions=["clipboard-read", "clipboard-write"])
    await (await mentor.open(f"/#/conversations/{pair.conversation_id}")).connected()
    draft, keyboard = mentor.get("#draft"), mentor.page.keyboard
    await mentor.page.evaluate("navigator.clipboard.writeText(' pasted')")
    await mentor.page.click("#scroller")
    await keyboard.press("Space")  # scrolls
    await expect(draft).to_have_value("")
    await keyboard.type("written")
    await mentor.page.click("#scroller")
    await keyboard.press("Control+V")
    await expect(draft).to_have_value("written pasted")

    await mentor.page.focus("#search")
    await keyboard.type("a name")
    await mentor.page.click(".inbox .menu-opener")
    await keyboard.type("x")
    await expect(mentor.get("#search")).to_have_value("a name")
    await expect(draft).to_have_value("written pasted")


GIVE_FILE = """(type) => {
    const files = new DataTransfer();
    files.items.add(new File(["picture"], "picture.png", { type: "image/png" }));
    const options = { bubbles: true, cancelable: true, clipboardData: files, dataTransfer: files };
    const given = type === "paste" ? new ClipboardEvent(type, options) : new DragEvent(type, options);
    return !document.querySelector("#scroller").dispatchEvent(given);
}"""


async def test_files_are_refused_in_words_and_do_not_replace_the_page(open_windows: Windows, pair: Pair) -> None:
    student = await (await open_windows.of(pair.student)).connected()
    note = student.get("#composer-note")
    await student.page.fill("#draft", "a draft")
    for given in ("paste", "drop"):
        assert await student.page.evaluate(GIVE_FILE, "dragover")
        assert await student.page.evaluate(GIVE_FILE, given)
        await expect(note).to_have_text("Only text can be sent here, no files.")
        await student.page.press("#draft", "x")
        await expect(note).to_have_text("")
    await expect(student.get("#draft")).to_have_value("a draftxx")


async def test_each_message_has_the_direction_of_its_own_text(open_windows: Windows, pair: Pair) -> None:
    student, mentor = await both(open_windows, pair)
    for window in (student, mentor):
        await window.say("עברית? No: English first" if window is mentor else "العربية first, then English")
    for window in (student, mentor):
        await expect(window.bubbles).to_have_count(2)
        directions = await window.bubbles.evaluate_all(
            "all => all.map((one) => [one.dir, getComputedStyle(one).direction])"
        )
        assert directions == [["auto", "rtl"], ["auto", "rtl"]]
    assert await student.page.evaluate("document.dir") == "rtl"
    assert await mentor.page.evaluate("document.dir") == "ltr"


async def test_a_killed_server_loses_nothing_that_was_being_sent(
    open_windows: Windows, shared_cluster: Cluster, pair: Pair
) -> None:
    student, mentor = await both(open_windows, pair)
    student.may_fail = mentor.may_fail = NETWORK
    said = {student: [f"سؤال {number}" for number in range(8)], mentor: [f"answer {number}" for number in range(8)]}

    async def talk(window: Window) -> None:
        for text in said[window]:
            await window.say(text)
            await asyncio.sleep(0.1)

    async def fail() -> None:
        await asyncio.sleep(0.3)
        shared_cluster.servers[0].kill()
        await asyncio.sleep(1)
        await asyncio.to_thread(shared_cluster.servers[0].start)

    await asyncio.gather(talk(student), talk(mentor), fail())
    for window in (student, mentor):
        await window.hurry()
    for window in (student, mentor):
        await expect(window.bubbles).to_have_count(16, timeout=2 * SOON)
        await expect(window.get("#conversation-connection")).to_be_hidden()
        for texts in said.values():
            assert [text for text in await window.texts() if text in texts] == texts
    await expect(student.get("[href='#icon-sending']")).to_have_count(0)
    assert await student.texts() == await mentor.texts()
    await student.page.reload()
    await student.connected()
    assert await student.texts() == await mentor.texts()


async def test_without_a_connection_the_page_says_so_and_keeps_what_is_written(
    open_windows: Windows, shared_cluster: Cluster, pair: Pair
) -> None:
    student, mentor = await both(open_windows, pair)
    student.may_fail = mentor.may_fail = NETWORK
    shared_cluster.servers[0].kill()
    try:
        await expect(mentor.get("#conversation-connection p")).to_have_text(
            re.compile(r"^No connection since \S*\d:\d\d\S*\.$")
        )
        await student.say("لا شبكة")
        assert await student.states() == ["قيد الإرسال"]
        await student.shoot("offline-ar-360")
        await mentor.shoot("offline-en-1280")
        await mentor.page.click("#conversation-connection button")  # which is too early
        await expect(mentor.get("#conversation-connection")).to_be_visible()
    finally:
        await asyncio.to_thread(shared_cluster.servers[0].start)
    for window in (student, mentor):
        await window.hurry()
    await expect(mentor.bubbles).to_have_text(["لا شبكة"])
    await expect(student.get("#conversation-connection")).to_be_hidden()


async def test_the_page_recovers_after_sleep(open_windows: Windows, shared_cluster: Cluster, pair: Pair) -> None:
    student, mentor = await both(open_windows, pair)
    student.may_fail = mentor.may_fail = NETWORK
    await mentor.say("before")
    await expect(mentor.get(".message .state")).to_have_text(["Read"])

    await student.hide()
    await student.context.set_offline(True)
    shared_cluster.servers[0].kill()
    await asyncio.to_thread(shared_cluster.servers[0].start)
    await mentor.hurry()
    await expect(mentor.get("#conversation-connection")).to_be_hidden()
    await mentor.say("while it was closed")
    await expect(mentor.get(".message .state")).to_have_text(["Read", "Sent"])
    await asyncio.sleep(0.5)
    assert await student.texts() == ["before"]

    await student.context.set_offline(False)
    await student.hide(False)
    await expect(student.bubbles).to_have_text(["before", "while it was closed"], timeout=3_000)
    await expect(mentor.get(".message .state")).to_have_text(["Read", "Read"])


async def test_a_hidden_tab_marks_nothing_as_read(open_windows: Windows, pair: Pair) -> None:
    student, mentor = await both(open_windows, pair)
    await student.hide()
    await mentor.say("seen?")
    await expect(student.bubbles).to_have_text(["seen?"])
    await asyncio.sleep(0.5)
    assert await mentor.states() == ["Sent"]
    await expect(student.get(".divider")).to_be_visible()
    await student.hide(False)
    await expect(mentor.get(".message .state")).to_have_text(["Read"])


# Another window has the focus, or this one has it again. Browsers that tests drive say that each window has it.
FOCUS = "(has) => { document.hasFocus = () => has; dispatchEvent(new Event(has ? 'focus' : 'blur')); }"


async def test_a_window_beside_the_one_in_use_marks_nothing_as_read(open_windows: Windows, pair: Pair) -> None:
    student, mentor = await both(open_windows, pair)
    await student.page.evaluate(FOCUS, False)
    await mentor.say("look here")
    await expect(student.page).to_have_title("(١) محادثات قادر")
    await expect(student.get(".divider:visible")).to_have_count(1)
    await student.say("I answer another question")  # which marks nothing, either
    await expect(mentor.bubbles).to_have_count(2)
    await expect(mentor.get(".message .state >> nth=0")).to_have_text("Sent")
    await student.page.evaluate(FOCUS, True)
    await expect(mentor.get(".message .state >> nth=0")).to_have_text("Read")
    await expect(student.page).to_have_title("محادثات قادر")


async def test_two_tabs_of_one_student_show_the_same(open_windows: Windows, pair: Pair) -> None:
    student, mentor = await both(open_windows, pair)
    other = await (await student.tab()).connected()
    await student.say("from one")
    await other.say("from the other")
    await mentor.say("to both")
    for window in (student, other, mentor):
        await expect(window.bubbles).to_have_count(3)
        assert sorted(await window.texts()) == ["from one", "from the other", "to both"]
    assert await student.texts() == await other.texts() == await mentor.texts()
    for window in (student, other):
        await expect(window.get(".message .state")).to_contain_text(["قُرئت", "قُرئت", ""])


async def test_signing_out_in_another_tab_ends_this_one(open_windows: Windows, pair: Pair) -> None:
    student, _ = await both(open_windows, pair)
    student.may_fail = NETWORK
    other = await (await student.tab()).connected()
    other.may_fail = NETWORK
    await other.page.click("#conversation-menu")
    await other.page.click("#sign-out")
    await expect(other.get("#sign-in")).to_be_visible()
    await expect(other.get("#sign-in-notice")).to_have_text("")
    await expect(student.get("#sign-in")).to_be_visible(timeout=3_000)
    await expect(student.get("#sign-in-notice")).to_have_text("سُجّل خروجك.")
    assert await student.texts() == []
