"""A mentor with ten students on the page: order, unread counts, waiting times, all live."""

from itertools import takewhile

import pytest
from playwright.async_api import Locator, Route, WebSocketRoute, expect

from tests.e2e.cluster import Cluster, PageData, Pair, Person
from tests.e2e.page_data import STUDENTS
from tests.e2e.windows import DESK, NETWORK, PHONE, Window, Windows

pytestmark = pytest.mark.asyncio(loop_scope="session")

# By their last message, newest first; those without one come last.
NEWEST_FIRST = sorted((name for name in STUDENTS if STUDENTS[name]), key=lambda name: abs(STUDENTS[name][-1]))
# Since when each has waited: their first message after the mentor's last one.
SINCE = {
    name: max(takewhile(lambda hours: hours > 0, reversed(hours)))
    for name, hours in STUDENTS.items()
    if hours and hours[-1] > 0
}
WAITING = sorted(SINCE, key=lambda name: -SINCE[name])


async def listed(window: Window, names: list[str]) -> None:
    await expect(window.rows).to_have_text(names)


# A device whose clock is wrong.
A_DAY_AHEAD = """{
    const RealDate = Date;
    const now = () => RealDate.now() + 25 * 3_600_000;
    window.Date = class extends RealDate {
        constructor(...parts) { super(...(parts.length ? parts : [now()])); }
        static now = now;
    };
}"""
# The timers that run every second.
TICKING = """{
    window.ticking = new Set();
    const { setInterval, clearInterval } = window;
    window.setInterval = (call, milliseconds) => {
        const timer = setInterval(call, milliseconds);
        if (milliseconds === 1000) ticking.add(timer);
        return timer;
    };
    window.clearInterval = (timer) => {
        ticking.delete(timer);
        clearInterval(timer);
    };
}"""


def chip_of(window: Window, name: str) -> Locator:
    return window.get(f"#conversations li:has(.name:text-is('{name}')) .chip")


async def send(person: Person, cluster: Cluster, path: str, text: str) -> None:
    async with person.http(cluster.servers[0]) as http:
        assert (await http.post(path, json={"content": text})).status_code == 201


async def test_students_are_listed_with_unread_counts_and_waiting_times(
    open_windows: Windows, page_data: PageData
) -> None:
    mentor = await open_windows.of(page_data.people["mentor"])
    await listed(mentor, [*NEWEST_FIRST, "Former Student", "خالد الحربي"])
    badges = (
        "rows => rows.map((row) => [row.querySelector('.name').textContent, row.querySelector('.number').textContent])"
    )
    assert {
        name: count for name, count in await mentor.get("#conversations li").evaluate_all(badges) if count != "0"
    } == {
        "سارة العتيبي": "1",
        "Omar Haddad": "2",
        "ليان القحطاني": "1",
        "Noah Weber": "1",
    }
    await expect(chip_of(mentor, "ليان القحطاني")).to_have_text("Waiting: \u20682 days\u2069")
    await expect(mentor.get("#longest")).to_have_text("Waiting longest: \u2068ليان القحطاني\u2069, \u20682 days\u2069")
    await expect(chip_of(mentor, "Omar Haddad")).to_have_text("Waiting: \u20682 hrs\u2069")
    await expect(chip_of(mentor, "Maya Lindgren")).to_be_hidden()
    await expect(chip_of(mentor, "Former Student")).to_have_text("Closed")
    await expect(mentor.page).to_have_title("(5) Qader chat")
    await mentor.shoot("students-en-1280")
    in_view = "rows => rows.filter((row) => row.getBoundingClientRect().bottom <= innerHeight).length"
    assert await mentor.get("#conversations li").evaluate_all(in_view) >= 10

    await mentor.page.click("[data-filter=waiting]")
    await listed(mentor, WAITING)
    await mentor.page.click("[data-filter=unread]")
    await listed(mentor, [name for name in NEWEST_FIRST if name in WAITING])
    await mentor.page.click("[data-filter=all]")
    await mentor.page.fill("#search", "ARA")
    await expect(mentor.get("#inbox-note")).to_have_text(
        "No student of this name here. Clear the search, or choose “All”."
    )
    await mentor.page.fill("#search", "ada")
    await listed(mentor, ["Ada Byron"])
    for written in ("ساره", "سَـارَة", "العتيبى", "سارة  العتيبي", "ساره\u200f العتيبى"):
        await mentor.page.fill("#search", written)
        await listed(mentor, ["سارة العتيبي"])
    await mentor.page.fill("#search", "")
    await mentor.page.set_viewport_size({"width": 1280, "height": 500})
    top = "conversations.getBoundingClientRect().top"
    before = await mentor.page.evaluate(top)
    await mentor.page.click("#longest")
    await expect(mentor.get("#with")).to_have_text("ليان القحطاني")
    # The list stays where it is, under the pointer, and shows the row that is open.
    assert await mentor.page.evaluate(top) == before
    await expect(mentor.get("#conversations [aria-current=page]")).to_be_in_viewport(ratio=1)


async def test_the_list_is_updated_live(open_windows: Windows, shared_cluster: Cluster, page_data: PageData) -> None:
    mentor = await open_windows.of(page_data.people["busy mentor"])
    student = await open_windows.of(page_data.people["student"], lang="ar", size=PHONE)
    await student.connected()
    await student.say("أنا هنا")
    first = mentor.get("#conversations li >> nth=0")
    await expect(first.locator(".name")).to_have_text("سارة العتيبي")
    await expect(first.locator(".excerpt")).to_have_text("أنا هنا")
    await expect(first.locator(".number")).to_have_text("2")

    await first.click()
    await expect(mentor.bubbles.last).to_have_text("أنا هنا")
    await expect(first.locator(".badge")).to_be_hidden()
    await expect(first.locator(".chip")).to_be_visible()
    await mentor.say("I see")
    await expect(first.locator(".chip")).to_be_hidden()
    await expect(first.locator(".excerpt")).to_have_text("I see")
    await expect(first.locator(".state")).to_have_text("Read")

    await mentor.page.click("[data-filter=waiting]")
    await listed(mentor, [name for name in WAITING if name != "سارة العتيبي"])
    path = f"chat/teacher/conversations/{page_data.ids['ليان القحطاني']}/messages/"
    await send(page_data.people["busy mentor"], shared_cluster, path, "answered elsewhere")
    await listed(mentor, [name for name in WAITING if name not in {"سارة العتيبي", "ليان القحطاني"}])
    await expect(mentor.get("#longest")).to_contain_text("Omar Haddad")


async def test_on_a_phone_list_and_conversation_are_two_screens(open_windows: Windows, page_data: PageData) -> None:
    mentor = await open_windows.of(page_data.people["busy mentor"], size=PHONE)
    await expect(mentor.rows).to_have_count(len(STUDENTS))
    await expect(mentor.get("#conversation")).to_be_hidden()
    await expect(mentor.get("#nothing")).to_be_hidden()
    await mentor.shoot("students-en-360")
    await mentor.page.set_viewport_size({"width": 360, "height": 400})
    await mentor.page.evaluate("conversations.scrollTop = 100")
    await mentor.get("#conversations a:has-text('Maya')").scroll_into_view_if_needed()
    place = await mentor.page.evaluate("conversations.scrollTop")
    assert place >= 100
    await mentor.get("#conversations a:has-text('Maya')").click()
    await mentor.connected()
    await expect(mentor.get("#inbox")).to_be_hidden()
    await expect(mentor.get("#with")).to_have_text("Maya Lindgren")
    path = f"#/conversations/{page_data.ids['Maya Lindgren']}"
    assert (await mentor.page.evaluate("location.hash")) == path

    length = await mentor.page.evaluate("history.length")
    await mentor.page.click("#back")
    await expect(mentor.get("#inbox")).to_be_visible()
    await expect(mentor.get("#conversations a:has-text('Maya')")).to_be_focused()
    assert await mentor.page.evaluate("conversations.scrollTop") == place
    await mentor.page.go_forward()
    await expect(mentor.get("#with")).to_have_text("Maya Lindgren")
    await mentor.page.go_back()
    await expect(mentor.get("#inbox")).to_be_visible()
    assert await mentor.page.evaluate("history.length") == length

    await mentor.open(f"/{path}")
    mentor.may_fail = NETWORK  # a connection that had just begun
    await mentor.page.reload()
    await expect(mentor.get("#with")).to_have_text("Maya Lindgren")
    await mentor.page.click("#back")
    await expect(mentor.get("#inbox")).to_be_visible()


async def test_on_a_phone_the_way_back_says_how_many_others_are_unread(
    open_windows: Windows, shared_cluster: Cluster, page_data: PageData
) -> None:
    mentor = await open_windows.of(page_data.people["mobile mentor"], size=PHONE)
    length = await mentor.page.evaluate("history.length")
    await mentor.page.click("#longest")
    await mentor.connected()
    await expect(mentor.get("#with")).to_have_text("Third")
    await expect(mentor.get("#back")).to_have_attribute("data-elsewhere", "1")
    await mentor.page.click("#back")
    await expect(mentor.get("#inbox")).to_be_visible()
    assert await mentor.page.evaluate("history.length") == length + 1  # the phone's own way back leaves the page
    await mentor.page.go_forward()
    await send(page_data.people["third"], shared_cluster, "chat/my-conversation/messages/", "here")
    await expect(mentor.bubbles.last).to_have_text("here")
    await expect(mentor.get("#back")).to_have_attribute("data-elsewhere", "1")


async def test_a_search_shows_what_it_found_above_the_keyboard_of_a_phone_that_lies_on_its_side(
    open_windows: Windows, page_data: PageData
) -> None:
    mentor = await open_windows.of(page_data.people["busy mentor"], size={"width": 740, "height": 220})
    await expect(mentor.rows).to_have_count(len(STUDENTS))
    await mentor.page.fill("#search", "maya")
    await expect(mentor.rows).to_have_count(1)
    await mentor.get(".inbox").hover()
    await mentor.page.mouse.wheel(0, 500)
    await expect(mentor.rows).to_be_in_viewport(ratio=1)
    await mentor.shoot("search-en-740")


async def test_on_a_touch_screen_the_focus_goes_to_what_was_opened(open_windows: Windows, pair: Pair) -> None:
    mentor = await open_windows.of(pair.teacher, size=PHONE, has_touch=True, is_mobile=True)
    mentor.may_fail = NETWORK
    await mentor.get("#conversations a").tap()
    await mentor.connected()
    await expect(mentor.get("#with")).to_be_focused()
    await mentor.page.evaluate("location.hash = '#/conversations/1000000'")
    await expect(mentor.get("#nothing-title")).to_have_text("No such conversation")
    await expect(mentor.get("#nothing-title")).to_be_focused()


async def test_a_row_that_is_open_already_leads_nowhere_else(open_windows: Windows, pair: Pair) -> None:
    mentor = await open_windows.of(pair.teacher)
    for _ in range(2):
        await mentor.get("#conversations a").click()
        await mentor.connected()
    await mentor.page.evaluate("location.hash = '#/'")
    await expect(mentor.get("#nothing-title")).to_have_text("Choose a conversation")
    assert await mentor.page.evaluate("history.state") is None  # not as if the list were behind it


async def test_waiting_times_and_days_do_not_depend_on_this_devices_clock(
    open_windows: Windows, pair: Pair, shared_cluster: Cluster
) -> None:
    await send(pair.student, shared_cluster, "chat/my-conversation/messages/", "question")
    mentor = await open_windows.new(pair.teacher)
    mentor.may_fail = NETWORK
    await mentor.page.add_init_script(A_DAY_AHEAD)
    await mentor.open(f"/#/conversations/{pair.conversation_id}")
    await mentor.connected()
    await expect(mentor.get("#waiting-text")).to_have_text("Waiting: \u20681 minute\u2069")
    await expect(mentor.get("#conversations .chip")).to_have_text("Waiting: \u20681 min\u2069")
    await expect(mentor.get("#longest")).to_contain_text("1 minute")
    await mentor.context.set_offline(True)
    await mentor.say("answer")
    await expect(mentor.bubbles).to_have_text(["question", "answer"])
    await expect(mentor.get(".day:visible")).to_have_text(["Today"])


async def test_what_counts_the_seconds_ends_with_its_conversation(open_windows: Windows, pair: Pair) -> None:
    mentor = await open_windows.new(pair.teacher, size=PHONE)
    mentor.may_fail = NETWORK
    await mentor.page.add_init_script(TICKING)
    await mentor.open(f"/#/conversations/{pair.conversation_id}")
    await mentor.connected()
    await mentor.context.set_offline(True)
    await expect(mentor.get("#conversation-connection p")).to_contain_text("You are offline since")
    assert await mentor.page.evaluate("ticking.size") == 2  # and the list's
    await mentor.page.click("#back")
    await expect(mentor.get("#inbox-connection")).to_be_visible()
    assert await mentor.page.evaluate("ticking.size") == 1


async def test_pending_messages_are_sent_after_switching_conversations(
    open_windows: Windows, page_data: PageData
) -> None:
    mentor = await open_windows.of(page_data.people["busy mentor"], f"/#/conversations/{page_data.ids['Ada Byron']}")
    await mentor.connected()
    async with mentor.page.expect_websocket() as opened:
        await mentor.page.click("#conversations a:has-text('Ines')")
    await mentor.connected()
    await mentor.page.evaluate(
        """() => {
            for (const text of ["one", "two", "three"]) { // each waits for the answer to the one before
                draft.value = text;
                draft.dispatchEvent(new Event("input"));
                send.click();
            }
            const links = [...document.querySelectorAll("#conversations a:has([data-hue])")];
            location.hash = links.find((link) => !link.textContent.includes("Ines")).hash;
        }"""
    )
    await expect(mentor.get("#conversations a:has-text('Ines') .excerpt")).to_have_text("three")
    await expect(mentor.get("#with")).not_to_have_text("Ines Costa")
    socket = await opened.value
    if not socket.is_closed():
        await socket.wait_for_event("close")


async def test_a_closed_conversation_is_readable_and_explains_itself(
    open_windows: Windows, page_data: PageData
) -> None:
    mentor = await open_windows.of(page_data.people["mentor"], f"/#/conversations/{page_data.closed}")
    await expect(mentor.bubbles).to_have_count(2)
    await expect(mentor.get("#composer")).to_be_hidden()
    await expect(mentor.get("#closed")).to_contain_text("has another mentor now")
    await mentor.shoot("closed-en-1280")


@pytest.mark.parametrize("where", ["history", "nowhere"])
async def test_a_foreign_conversation_looks_like_a_missing_one(
    open_windows: Windows, page_data: PageData, where: str
) -> None:
    mentor = await open_windows.new(page_data.people["mentor"], lang="ar", size=PHONE)
    mentor.may_fail = NETWORK
    await mentor.open(f"/#/conversations/{page_data.history if where == 'history' else 10**9}")
    await expect(mentor.get("#nothing-title")).to_have_text("لا توجد هذه المحادثة")
    await mentor.page.click("#nothing-back")
    await expect(mentor.get("#inbox")).to_be_visible()


async def test_a_second_question_keeps_the_place_of_the_first(
    open_windows: Windows, shared_cluster: Cluster, page_data: PageData
) -> None:
    mentor = await open_windows.of(page_data.people["patient mentor"])
    await mentor.page.click("[data-filter=waiting]")
    await listed(mentor, ["First", "Second"])
    await send(page_data.people["first"], shared_cluster, "chat/my-conversation/messages/", "and another one")
    await expect(mentor.get("#conversations .excerpt").first).to_have_text("and another one")
    for _ in range(2):
        await listed(mentor, ["First", "Second"])
        await expect(chip_of(mentor, "First")).to_have_text("Waiting: \u20683 hrs\u2069")
        await mentor.page.reload()
        await mentor.page.click("[data-filter=waiting]")


@pytest.mark.parametrize("lang", ["en", "ar"])
async def test_a_mentor_says_that_no_reply_is_needed(
    open_windows: Windows, shared_cluster: Cluster, pair: Pair, lang: str
) -> None:
    size = PHONE if lang == "ar" else DESK
    await send(pair.student, shared_cluster, "chat/my-conversation/messages/", "thank you!")
    mentor = await open_windows.of(pair.teacher, lang=lang, size=size)
    await mentor.get("#conversations a").click()
    await mentor.connected()
    words = {
        "en": ("Waiting: \u20681 minute\u2069", "No reply needed"),
        "ar": ("انتظار: \u2068دقيقة\u2069", "لا حاجة إلى رد"),
    }
    await expect(mentor.get("#waiting-text")).to_have_text(words[lang][0])
    await expect(mentor.get("#done")).to_have_text(words[lang][1])
    await mentor.shoot(f"waiting-{lang}-{size['width']}")
    await mentor.page.click("#done")
    await expect(mentor.get("#waiting")).to_be_hidden()
    await expect(mentor.get("#draft")).to_be_focused()
    await expect(mentor.get("#conversations .chip")).to_be_hidden()
    await send(pair.student, shared_cluster, "chat/my-conversation/messages/", "and one more question")
    await expect(mentor.get("#waiting")).to_be_visible()
    await mentor.say("answer")
    await expect(mentor.get("#waiting")).to_be_hidden()


async def test_where_that_does_not_work_it_can_be_tried_again(
    open_windows: Windows, shared_cluster: Cluster, pair: Pair
) -> None:
    await send(pair.student, shared_cluster, "chat/my-conversation/messages/", "thank you!")
    mentor = await open_windows.of(pair.teacher)
    mentor.may_fail = NETWORK
    await mentor.get("#conversations a").click()
    await mentor.page.route("**/done/", lambda route: route.abort())
    await mentor.page.click("#done")
    await expect(mentor.get("#waiting-error")).to_have_text("That did not work. Try again.")
    await mentor.page.unroute("**/done/")
    await mentor.page.click("#done")
    await expect(mentor.get("#waiting")).to_be_hidden()
    student = await open_windows.of(pair.student)
    await student.connected()
    await expect(student.get("#waiting")).to_be_hidden()


@pytest.mark.parametrize("name", ["unread", "waiting"])
async def test_an_opened_conversation_stays_in_a_filtered_list_until_the_filter_is_left(
    open_windows: Windows, shared_cluster: Cluster, pair: Pair, name: str
) -> None:
    await send(pair.student, shared_cluster, "chat/my-conversation/messages/", "question")
    mentor = await open_windows.of(pair.teacher, size=PHONE)
    await mentor.page.click(f"[data-filter={name}]")
    await mentor.get("#conversations a").click()
    await mentor.connected()
    await mentor.say("answer")
    await expect(mentor.get(".message .state").last).to_have_text("Sent")
    await expect(mentor.page).to_have_title("Qader chat")
    await mentor.page.click("#back")
    await expect(mentor.get("#conversations a")).to_be_focused()
    await expect(mentor.get("#conversations .excerpt")).to_have_text("answer")
    await expect(mentor.get("#conversations .badge")).to_be_hidden()
    await mentor.page.click("[data-filter=all]")
    await mentor.page.click(f"[data-filter={name}]")
    await listed(mentor, [])


async def test_the_list_names_drafts_and_what_is_not_sent(open_windows: Windows, pair: Pair) -> None:
    mentor = await open_windows.new(pair.teacher, size=PHONE)
    mentor.may_fail = NETWORK
    is_reachable = True

    async def on_the_way(socket: WebSocketRoute) -> None:
        if is_reachable:
            socket.connect_to_server()
        else:
            await socket.close(code=1012)

    async def over_rest(route: Route) -> None:
        await (route.continue_() if is_reachable or route.request.method == "GET" else route.abort())

    await mentor.page.route_web_socket("**/ws/chat/conversations/**", on_the_way)
    await mentor.page.route("**/messages/**", over_rest)
    await mentor.open()
    await mentor.get("#conversations a").click()
    await mentor.connected()
    await mentor.page.fill("#draft", "half a sentence")
    await mentor.page.click("#back")
    await expect(mentor.get("#conversations .label")).to_have_text("Draft:")
    await expect(mentor.get("#conversations .excerpt")).to_have_text("half a sentence")
    is_reachable = False
    await mentor.get("#conversations a").click()
    await mentor.page.click("#send")
    await expect(mentor.get(".message .state")).to_have_text(["Being sent"])
    await mentor.page.reload()
    await mentor.page.click("#back")
    await expect(mentor.get("#conversations .label")).to_have_text("Not sent:")
    await expect(mentor.get("#conversations .excerpt")).to_have_text("half a sentence")
    is_reachable = True
    await mentor.get("#conversations a").click()
    await expect(mentor.get(".message .state")).to_have_text(["Sent"])
    await mentor.page.click("#back")
    await expect(mentor.get("#conversations .label")).to_have_text("")
