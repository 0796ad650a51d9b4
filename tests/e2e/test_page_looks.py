"""How the page looks when it is translated, printed, in the user's own colours, and with odd texts."""

import pytest
from playwright.async_api import ViewportSize, expect

from tests.e2e.cluster import Cluster, PageData, Pair
from tests.e2e.test_page_moderation import hand_over
from tests.e2e.windows import DESK, PHONE, Window, Windows

pytestmark = pytest.mark.asyncio(loop_scope="session")

TOUCH = 44  # px
# As a browser does it: each text is replaced by elements with another text.
TRANSLATE = """() => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const texts = [];
    while (walker.nextNode()) {
        const { parentElement: parent, data } = walker.currentNode;
        if (data.trim() && !parent.closest("script, svg, [translate=no]")) texts.push(walker.currentNode);
    }
    for (const text of texts) {
        const font = document.createElement("font");
        font.append(document.createElement("font"));
        font.firstChild.textContent = `*${text.data.trim()}*`;
        text.replaceWith(font);
    }
}"""
PRESSED = "button, summary, a, textarea, input:not([type=checkbox]), label[for^=notice]"
SMALL = f"""(size) => [...document.querySelectorAll("{PRESSED}")]
    .filter((one) => one.checkVisibility() && !one.closest(".text, .unseen") && !one.matches(".skip"))
    .map((one) => [one.id || one.className, one.getBoundingClientRect()])
    .filter(([, box]) => Math.min(box.width, box.height) < size)
    .map(([name, box]) => [name, box.width, box.height])"""


LOAD = """async (wanted) => {
    while (document.querySelectorAll(".message").length < wanted) {
        scroller.scrollTop = scroller.scrollTop > 400 ? 400 : 401;
        await new Promise(requestAnimationFrame);
    }
}"""


async def say_over_rest(pair: Pair, cluster: Cluster, *texts: str) -> None:
    async with pair.student.http(cluster.servers[0]) as http:
        for text in texts:
            answer = await http.post("chat/my-conversation/messages/", json={"content": text})
            assert answer.status_code == 201


async def in_conversation(windows: Windows, pair: Pair, **options: object) -> Window:
    return await (await windows.of(pair.teacher, f"/#/conversations/{pair.conversation_id}", **options)).connected()


async def test_a_page_that_the_browser_translated_keeps_its_words(
    open_windows: Windows, shared_cluster: Cluster, pair: Pair
) -> None:
    mentor = await open_windows.of(pair.teacher)
    await expect(mentor.rows).to_have_count(1)
    await mentor.page.evaluate(TRANSLATE)
    await say_over_rest(pair, shared_cluster, "news")
    unread = mentor.get("[data-filter=unread]")
    await expect(unread).to_contain_text("1")
    await expect(unread).to_contain_text("*Unread*")
    await mentor.get("#conversations a").click()
    await mentor.connected()
    await expect(mentor.bubbles).to_have_text(["news"])
    await mentor.page.evaluate(TRANSLATE)
    await say_over_rest(pair, shared_cluster, "more")
    await expect(mentor.bubbles).to_have_text(["*news*", "more"])
    await expect(mentor.get("#with")).to_have_text(pair.student.username)
    await mentor.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(unread).to_contain_text("*Unread*")


async def test_with_reduced_motion_nothing_goes_on_moving(open_windows: Windows, pair: Pair) -> None:
    mentor = await in_conversation(open_windows, pair)
    await mentor.page.evaluate("beginning.classList.add('is-busy'); typing.hidden = false;")
    endless = "document.getAnimations().filter(({ effect }) => effect.getTiming().iterations === Infinity).length"
    assert await mentor.page.evaluate(endless) == 0


async def test_in_forced_colours_everything_that_has_a_meaning_is_visible(open_windows: Windows, pair: Pair) -> None:
    mentor = await in_conversation(open_windows, pair, forced_colors="active")
    await mentor.say("mine")
    await expect(mentor.bubbles).to_have_count(1)
    await mentor.page.evaluate("typing.hidden = false")
    await mentor.get("#conversations a").hover()
    await mentor.page.evaluate("document.querySelector('.chip').hidden = false")
    await mentor.shoot("forced-colours-en-1280")
    colours = await mentor.page.evaluate(
        """() => {
            const of = (one, name) => getComputedStyle(document.querySelector(one))[name];
            return {
                canvas: of("body", "backgroundColor"),
                dots: of(".typing span", "backgroundColor"),
                pressed: of("[aria-pressed=true]", "backgroundColor"),
                current: of("#conversations [aria-current=page]", "backgroundColor"),
                text: of("#conversations [aria-current=page] .chip", "color"),
                behind: of("#conversations [aria-current=page] .chip", "backgroundColor"),
                bubble: of(".bubble", "borderTopStyle"),
            };
        }"""
    )
    assert colours["bubble"] == "solid"
    assert colours["canvas"] not in {colours["dots"], colours["pressed"], colours["current"]}, colours
    assert colours["current"] == colours["pressed"] != colours["text"], colours
    assert colours["behind"] == "rgba(0, 0, 0, 0)"


async def test_the_whole_loaded_conversation_is_printed_without_controls(
    open_windows: Windows, page_data: PageData
) -> None:
    window = await open_windows.of(page_data.people["reader"], color_scheme="dark")
    await window.connected()
    await window.page.evaluate(LOAD, 450)
    await window.page.evaluate("scroller.scrollTop = scroller.scrollHeight")
    await expect(window.bubbles.last).to_be_in_viewport()
    await window.page.emulate_media(media="print")
    await window.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert await window.bubbles.count() >= 450
    await window.shoot("printed-en-1280")
    controls = "#composer, #conversation-menu, #to-end, #older"
    for control in await window.get(controls).all():
        await expect(control).to_be_hidden()
    cut = "[...document.querySelectorAll('*')].filter((one) => one.scrollHeight > one.clientHeight + 2"
    cut += " && /auto|scroll|hidden/.test(getComputedStyle(one).overflowY) && one.checkVisibility()"
    cut += " && !one.matches('.unseen')).map((one) => one.id || one.className)"
    assert await window.page.evaluate(cut) == []
    assert await window.page.evaluate("document.documentElement.scrollHeight > 40 * 50")
    assert await window.page.evaluate("getComputedStyle(document.body).color") == "rgb(23, 33, 29)"


async def to_the_newest(window: Window) -> None:
    await window.page.evaluate("scroller.scrollTop = 0")
    await window.page.click("#to-end")
    await expect(window.bubbles.last).to_be_in_viewport()


async def test_a_text_of_thousands_of_lines_is_folded(
    open_windows: Windows, shared_cluster: Cluster, pair: Pair
) -> None:
    await say_over_rest(pair, shared_cluster, "\n" * 3900 + "end", "short")
    mentor = await in_conversation(open_windows, pair, size=PHONE)
    long = mentor.get(".bubble").first
    more = mentor.get(".more:visible")
    height = "one => one.getBoundingClientRect().height"
    assert await long.evaluate(height) < PHONE["height"]
    await expect(mentor.get("#waiting")).to_be_visible()
    await to_the_newest(mentor)
    await expect(more).to_have_text("Show more")
    inside = "one => one.querySelector('time').getBoundingClientRect().bottom <= one.getBoundingClientRect().bottom"
    await expect(long.locator("time")).to_be_visible()
    assert await long.evaluate(inside)
    await more.click()
    assert await long.evaluate(height) > 50 * PHONE["height"]
    await to_the_newest(mentor)
    await more.click()
    assert await long.evaluate(height) < PHONE["height"]


async def test_letters_with_many_marks_do_not_cover_their_neighbours(
    open_windows: Windows, shared_cluster: Cluster, pair: Pair
) -> None:
    zalgo = "Z" + "\u0300\u0316" * 150
    await say_over_rest(pair, shared_cluster, "above", zalgo, "below")
    mentor = await in_conversation(open_windows, pair, size=PHONE)
    await expect(mentor.bubbles).to_have_count(3)
    await mentor.shoot("zalgo-en-360")
    clipped = "all => all.map((one) => getComputedStyle(one).overflowY)"
    for where in (".bubble", "#conversations .excerpt"):
        assert set(await mentor.get(where).evaluate_all(clipped)) == {"hidden"}, where


async def test_the_sign_in_stands_in_the_middle(open_windows: Windows) -> None:
    window = await (await open_windows.new()).open()
    sides = "(form) => [form.getBoundingClientRect().left, innerWidth - form.getBoundingClientRect().right]"
    left, right = await window.get("#sign-in-form").evaluate(sides)
    assert abs(left - right) < 20  # px


async def test_what_is_pressed_is_large_enough_for_a_finger(
    open_windows: Windows, pair: Pair, shared_cluster: Cluster
) -> None:
    hand_over(shared_cluster, pair)
    window = await (await open_windows.new(size=PHONE)).open()
    assert await window.page.evaluate(SMALL, TOUCH) == []
    mentor = await open_windows.of(pair.teacher, size=PHONE)
    await expect(mentor.rows).to_have_count(1)
    assert await mentor.page.evaluate(SMALL, TOUCH) == []
    await mentor.page.click(".inbox .menu-opener")
    assert await mentor.page.evaluate(SMALL, TOUCH) == []
    await mentor.page.keyboard.press("Escape")
    await mentor.get("#conversations a").click()
    await mentor.connected()
    await mentor.page.evaluate("draft.value = 'bad \0'; draft.dispatchEvent(new Event('input')); send.click()")
    await expect(mentor.get(".failure")).to_be_visible()
    await expect(mentor.get("#handoff summary")).to_be_visible()
    assert await mentor.page.evaluate(SMALL, TOUCH) == []


async def test_the_time_stands_in_the_last_line(open_windows: Windows, shared_cluster: Cluster, pair: Pair) -> None:
    texts = ["short", "قصير", "first line\nثم العربية", "العربية أولا\nthen this", "😀"]
    await say_over_rest(pair, shared_cluster, *texts)
    mentor = await in_conversation(open_windows, pair)
    await expect(mentor.bubbles).to_have_count(len(texts))
    await mentor.shoot("times-en-1280")
    beside = """bubbles => bubbles.map((one) => {
        const range = document.createRange();
        range.selectNodeContents(one.querySelector(".text"));
        const line = [...range.getClientRects()].pop();
        const time = one.querySelector("time").getBoundingClientRect();
        const isBeside = time.right <= line.left || time.left >= line.right;
        return isBeside && time.top < line.bottom && time.bottom > line.top;
    })"""
    assert await mentor.get(".bubble").evaluate_all(beside) == [True] * len(texts)
    size = "one => getComputedStyle(one).fontSize"
    assert await mentor.bubbles.last.evaluate(size) == "40px"
    assert await mentor.bubbles.first.evaluate(size) == "16px"


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
async def test_the_filters_keep_to_one_line_and_the_note_stands_below_them(
    open_windows: Windows, page_data: PageData, size: ViewportSize
) -> None:
    mentor = await open_windows.of(page_data.people["missed"], lang="ar", size=size)
    await expect(mentor.get("[data-filter=unread] .count")).to_have_text("١")
    await mentor.page.evaluate("for (const one of document.querySelectorAll('.count')) one.textContent = '٢٢٢'")
    for button in await mentor.get("#filters button").all():
        await button.evaluate("one => one.setAttribute('aria-pressed', 'true')")
        fits = await button.evaluate("one => one.clientHeight <= 44 && one.scrollWidth <= one.clientWidth")
        assert fits, await button.inner_text()
    await mentor.page.fill("#search", "nobody")
    await expect(mentor.get("#inbox-note")).to_be_visible()
    gap = "document.querySelector('#inbox-note').getBoundingClientRect().top - longest.getBoundingClientRect().bottom"
    assert await mentor.page.evaluate(gap) < TOUCH


async def test_long_names_are_cut_at_their_end(open_windows: Windows, pair: Pair) -> None:
    mentor = await in_conversation(open_windows, pair, size=PHONE)
    for name in ("محمد " * 40, "Maximilian " * 20):
        await mentor.page.evaluate("(name) => { document.querySelector('#with-name').textContent = name }", name)
        first, box = await mentor.page.evaluate(
            """() => {
                const name = document.querySelector("#with-name");
                const range = document.createRange();
                range.setStart(name.firstChild, 0);
                range.setEnd(name.firstChild, 1);
                const [letter, whole] = [range, name].map((one) => one.getBoundingClientRect());
                return [[letter.left, letter.right], [whole.left, whole.right, innerWidth]];
            }"""
        )
        assert box[0] <= first[0] and first[1] <= box[1] <= box[2], name


async def test_the_button_to_the_end_covers_no_message(
    open_windows: Windows, shared_cluster: Cluster, pair: Pair
) -> None:
    await say_over_rest(pair, shared_cluster, *("line\n" * 12 for _ in range(5)))
    mentor = await in_conversation(open_windows, pair, size=PHONE)
    await mentor.page.evaluate("scroller.scrollTop = 0")
    await expect(mentor.get("#to-end")).to_be_visible()
    edges = "() => [scroller, document.querySelector('#to-end')].map((one) => one.getBoundingClientRect())"
    messages, button = await mentor.page.evaluate(edges)
    assert button["top"] >= messages["bottom"]
