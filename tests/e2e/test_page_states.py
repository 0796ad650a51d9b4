"""Errors, drafts and limits on the page."""

import re

import pytest
from playwright.async_api import Route, expect

from tests.e2e.cluster import Cluster, PageData, Pair
from tests.e2e.seed import PASSWORD
from tests.e2e.windows import NETWORK, PHONE, Window, Windows

pytestmark = pytest.mark.asyncio(loop_scope="session")

REFUSED = re.compile("the server responded with a status of (400|429)")


async def test_sign_in_errors_are_shown_at_their_field(open_windows: Windows, pair: Pair) -> None:
    window = await (await open_windows.new()).open()
    window.may_fail = REFUSED
    error = window.get("#sign-in-error")
    await window.page.press("#username", "Enter")
    await expect(error).to_have_text("User name and password are both needed.")
    await expect(window.get("#username")).to_be_focused()
    await window.sign_in(pair.student.username, "wrong")
    await expect(error).to_have_text("Wrong user name or password.")
    await window.shoot("sign-in-wrong-en-1280")
    await window.page.set_viewport_size({"width": 360, "height": 400})  # above a keyboard
    await window.page.evaluate("scrollTo(0, 0)")
    await window.page.press("#password", "Enter")
    await expect(error).to_be_in_viewport()
    for _ in range(9):
        await window.sign_in(pair.student.username, "wrong")
        await expect(window.get("#sign-in-form")).to_have_attribute("aria-busy", "false")
    await window.sign_in(pair.student.username, PASSWORD)
    await expect(error).to_have_text(re.compile(r"^Too many failed tries\. Try again at \S+\.$"))


async def test_sign_in_without_a_server_shows_an_error(open_windows: Windows, pair: Pair) -> None:
    window = await (await open_windows.new(lang="ar", size=PHONE)).open()
    window.may_fail = NETWORK
    await window.context.set_offline(True)
    await window.sign_in(pair.student.username, PASSWORD)
    await expect(window.get("#sign-in-error")).to_have_text("تعذّر الوصول إلى الخادم. حاول مجددًا بعد لحظات.")
    await window.context.set_offline(False)
    await window.page.press("#password", "Enter")
    await window.connected()


async def test_a_student_without_a_mentor_waits_until_there_is_one(
    open_windows: Windows, shared_cluster: Cluster, page_data: PageData
) -> None:
    alone = page_data.people["alone"]
    window = await open_windows.new(alone, lang="ar", size=PHONE)
    window.may_fail = re.compile("status of 404")
    await window.open()
    await expect(window.get("#nothing-title")).to_have_text("لا مرشد بعد")
    await window.shoot("no-mentor-ar-360")
    code = f"p = UserProfile.objects.get(user={alone.user_id})\n"
    code += f"p.assigned_mentor = UserProfile.objects.get(user={page_data.people['third mentor'].user_id})\np.save()"
    shared_cluster.run("manage.py", "shell", "--verbosity", "0", "-c", code)
    await window.page.click("#check-again")
    await window.connected()


async def test_a_user_who_is_neither_student_nor_mentor_sees_an_explanation(
    open_windows: Windows, page_data: PageData
) -> None:
    window = await open_windows.of(page_data.people["admin"])
    await expect(window.get("#nothing-text")).to_have_text("This page is for students and their mentors.")
    await window.page.click("#nothing-menu")
    await window.page.click("#sign-out")
    await expect(window.get("#sign-in")).to_be_visible()


async def test_staff_without_a_conversation_are_led_to_the_admin(open_windows: Windows, page_data: PageData) -> None:
    window = await open_windows.new(page_data.people["staff"])
    window.may_fail = re.compile("status of 404")  # the admin has no icon
    await window.open()
    await window.page.wait_for_url("**/admin/")
    await expect(window.get("#user-tools")).to_be_visible()


async def test_the_password_can_be_shown(open_windows: Windows, pair: Pair) -> None:
    window = await (await open_windows.new(lang="ar", size=PHONE)).open()
    await window.page.fill("#password", "secret")
    await expect(window.get("#password")).to_have_attribute("type", "password")
    await window.page.click("#show-password")
    await expect(window.get("#password")).to_have_attribute("type", "text")
    await expect(window.get("#show-password")).to_have_attribute("aria-pressed", "true")
    await window.page.click("#show-password")
    await expect(window.get("#password")).to_have_attribute("type", "password")
    await window.page.click("#show-password")
    await window.sign_in(pair.student.username, PASSWORD)
    await window.connected()
    await window.page.click("#conversation-menu")
    await window.page.click("#sign-out")
    await expect(window.get("#password")).to_have_attribute("type", "password")  # for the next person
    await expect(window.get("#show-password")).to_have_attribute("aria-pressed", "false")


async def test_a_draft_is_kept_for_each_conversation_until_it_is_sent(
    open_windows: Windows, page_data: PageData
) -> None:
    ada, maya = page_data.ids["Ada Byron"], page_data.ids["Maya Lindgren"]
    mentor = await open_windows.of(page_data.people["busy mentor"], f"/#/conversations/{ada}")
    await mentor.connected()
    await mentor.page.fill("#draft", "half a sentence")
    await mentor.page.evaluate("(id) => (location.hash = `#/conversations/${id}`)", maya)
    await expect(mentor.get("#with")).to_have_text("Maya Lindgren")
    await expect(mentor.get("#draft")).to_have_value("")
    await mentor.page.reload()
    await mentor.page.evaluate("(id) => (location.hash = `#/conversations/${id}`)", ada)
    await expect(mentor.get("#draft")).to_have_value("half a sentence")
    await mentor.page.click("#send")
    await expect(mentor.bubbles.last).to_have_text("half a sentence")
    await mentor.page.reload()
    await mentor.connected()
    await expect(mentor.get("#draft")).to_have_value("")


async def test_the_remaining_length_is_shown_near_the_limit(open_windows: Windows, pair: Pair) -> None:
    student = await open_windows.of(pair.student)
    await student.connected()
    note, send = student.get("#composer-note"), student.get("#send")
    await student.page.fill("#draft", "😀" * 3599)
    await expect(note).to_have_text("")
    await student.page.fill("#draft", "😀" * 3600)
    await expect(note).to_have_text("\u20683,600\u2069 of \u20684,000\u2069 characters")
    await student.page.fill("#draft", "😀" * 4001)
    await expect(note).to_have_text("\u20681\u2069 character too many")
    await expect(send).to_be_disabled()
    await student.shoot("too-long-en-1280")
    await student.page.fill("#draft", " \n ")
    await expect(send).to_be_disabled()
    await student.page.fill("#draft", "😀" * 4000)
    await student.page.press("#draft", "Enter")
    await expect(student.bubbles).to_have_text(["😀" * 4000])
    await expect(student.get(".message .state")).to_have_text(["Sent"])


async def test_a_message_that_was_refused_can_be_sent_again_or_discarded(open_windows: Windows, pair: Pair) -> None:
    student = await open_windows.of(pair.student, lang="ar", size=PHONE)
    await student.connected()
    await student.page.evaluate("document.body.dataset.limit = 5000")
    for text in ("one \0", "two \0"):
        await student.page.evaluate(
            "(text) => { draft.value = text; draft.dispatchEvent(new Event('input')); send.click(); }", text
        )
    failures = student.get(".failure .why")
    await expect(failures).to_have_text(["لم تُرسل: فيها أحرف لا يمكن إرسالها."] * 2)
    await student.shoot("failed-ar-360")
    await student.page.click(".retry >> nth=0")
    await expect(student.bubbles).to_have_text(["two \0", "one \0"])
    await expect(failures).to_have_count(2)
    await student.page.click(".discard >> nth=0")
    await expect(student.bubbles).to_have_text(["one \0"])
    await expect(student.get("#draft")).to_be_focused()


async def test_a_message_that_was_refused_can_be_edited_and_copied(open_windows: Windows, pair: Pair) -> None:
    student = await open_windows.of(pair.student, permissions=["clipboard-read", "clipboard-write"])
    await student.connected()
    await student.page.evaluate("draft.value = 'bad \0'; draft.dispatchEvent(new Event('input')); send.click()")
    await expect(student.get("#news")).to_have_text("Not sent: it contains characters that cannot be sent.")
    await student.page.click(".copy")
    await expect(student.get("#news")).to_have_text("Copied")
    assert await student.page.evaluate("navigator.clipboard.readText()") == "bad \0"
    await student.page.fill("#draft", "what I had begun")
    await student.page.click(".edit")
    await expect(student.bubbles).to_have_count(0)
    await expect(student.get("#draft")).to_have_value("what I had begun\nbad \0")
    await expect(student.get("#draft")).to_be_focused()
    await student.page.reload()
    await student.connected()
    await expect(student.bubbles).to_have_count(0)
    await expect(student.get("#draft")).to_have_value("what I had begun\nbad \0")


async def test_the_enter_that_ends_a_composition_does_not_send(open_windows: Windows, pair: Pair) -> None:
    """Safari's order: the composition has ended before the key is told, with the code 229."""
    student = await open_windows.of(pair.student)
    await student.connected()
    await student.page.fill("#draft", "日本")
    await student.page.evaluate(
        """() => {
            draft.dispatchEvent(new CompositionEvent("compositionend", { data: "日本" }));
            draft.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", keyCode: 229, cancelable: true }));
        }"""
    )
    await expect(student.get("#draft")).to_have_value("日本")
    await student.page.press("#draft", "Enter")
    await expect(student.bubbles).to_have_text(["日本"])


async def test_sending_too_fast_is_shown_and_loses_nothing(open_windows: Windows, pair: Pair) -> None:
    student = await open_windows.of(pair.student)
    await student.connected()
    await student.page.evaluate(
        """() => {
            for (let number = 0; number < 26; number++) {
                draft.value = `${number}`;
                draft.dispatchEvent(new Event("input"));
                send.click();
            }
        }"""
    )
    await expect(student.get("#composer-note")).to_have_text("Too many messages at once. Sending goes on in a moment.")
    await expect(student.get("[href='#icon-sent']")).to_have_count(26)
    assert await student.texts() == [str(number) for number in range(26)]
    await expect(student.get("#composer-note")).to_have_text("")


async def test_message_text_is_never_read_as_html(open_windows: Windows, pair: Pair) -> None:
    mentor = await open_windows.of(pair.teacher, f"/#/conversations/{pair.conversation_id}")
    student = await open_windows.of(pair.student)
    await mentor.connected()
    await student.connected()
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script> javascript:alert(3)"
    await student.say(evil)
    await student.say('see (https://example.org/a?b=c&d="e), http://x.example/ü؟ and https:// or http://[')
    for window in (mentor, student):
        await expect(window.bubbles).to_have_count(2)
        assert (await window.texts())[0] == evil
        assert await window.get(".bubble img, .bubble script").count() == 0
        links = "all => all.map((one) => [one.textContent, one.getAttribute('href'), one.rel, one.target])"
        assert await window.get(".text a").evaluate_all(links) == [
            [address, address, "noopener nofollow ugc", "_blank"]
            for address in ("https://example.org/a?b=c&d=", "http://x.example/ü")
        ]
    await expect(mentor.get(".excerpt")).to_contain_text("see (https")


async def test_the_language_is_switched_and_remembered(open_windows: Windows, pair: Pair) -> None:
    mentor = await open_windows.of(pair.teacher, f"/#/conversations/{pair.conversation_id}")
    await mentor.connected()
    await mentor.page.click(".inbox .menu-opener")
    await mentor.page.click("#menu .switch-language")
    await expect(mentor.get("html")).to_have_attribute("dir", "rtl")
    await mentor.connected()
    await expect(mentor.get("#inbox-title")).to_have_text("الطلاب")
    await expect(mentor.get("#with")).to_have_text(pair.student.username)
    await (await mentor.tab()).get("html[lang=ar]").wait_for()


async def test_on_a_touch_screen_enter_begins_a_new_line(open_windows: Windows, pair: Pair) -> None:
    student = await open_windows.of(pair.student, size=PHONE, has_touch=True, is_mobile=True)
    await student.connected()
    await student.page.tap("#draft")
    await student.page.keyboard.type("one")
    await student.page.keyboard.press("Enter")
    await student.page.keyboard.type("two")
    await expect(student.get("#draft")).to_have_value("one\ntwo")
    await student.page.tap("#send")
    await expect(student.bubbles).to_have_text(["one\ntwo"])


async def test_an_invalid_response_is_shown_as_an_error(open_windows: Windows, pair: Pair) -> None:
    window = await open_windows.new()
    window.may_fail = re.compile("status of 503")

    async def busy(route: Route) -> None:
        await route.fulfill(status=503, body="<h1>Bad gateway</h1>")

    await window.page.route("**/auth/login/", busy)
    await window.open()
    await window.sign_in(pair.student.username, PASSWORD)
    await expect(window.get("#sign-in-error")).to_have_text(re.compile("The server could not do that .*503"))


EVERYTHING_KEPT = "() => JSON.stringify(Object.entries(localStorage))"


async def leave_texts(window: Window) -> None:
    """Leave a draft, a message that was refused, and one that waits for the network."""
    await window.page.evaluate(
        "draft.value = 'a refused secret \0'; draft.dispatchEvent(new Event('input')); send.click()"
    )
    await expect(window.get(".failure")).to_be_visible()
    await window.page.fill("#draft", "a half secret")


async def test_signing_out_names_what_is_not_sent_and_leaves_no_text_behind(open_windows: Windows, pair: Pair) -> None:
    student = await open_windows.new(size=PHONE)
    student.may_fail = NETWORK
    await student.open()
    await student.sign_in(pair.student.username, PASSWORD)
    await student.connected()
    await leave_texts(student)
    other = await student.tab()
    await other.connected()
    await expect(other.get("#draft")).to_have_value("a half secret")
    await student.page.click("#conversation-menu")
    await student.page.click("#sign-out")
    await expect(student.get("#unsent-title")).to_have_text("\u20682\u2069 texts are not sent yet:")
    await expect(student.get("#unsent-texts li")).to_have_text([re.compile("a refused secret"), "a half secret"])
    await expect(student.get("#stay")).to_be_focused()
    await student.shoot("unsent-en-360")
    await student.page.click("#stay")
    await expect(student.get("#menu")).to_be_hidden()
    assert "secret" in await student.page.evaluate(EVERYTHING_KEPT)
    await student.page.click("#conversation-menu")
    await student.page.click("#sign-out")
    await student.page.click("#sign-out-anyway")
    for window in (student, other):
        await expect(window.get("#sign-in")).to_be_visible()
        assert await window.page.evaluate(EVERYTHING_KEPT) == "[]"
        assert await window.get("#draft").input_value() == ""
    await student.sign_in(pair.student.username, PASSWORD)
    await student.connected()
    await expect(student.get("#draft")).to_have_value("")
    await expect(student.bubbles).to_have_count(0)


async def test_signing_out_with_nothing_unsent_asks_nothing(open_windows: Windows, pair: Pair) -> None:
    student = await open_windows.new(size=PHONE)
    await student.open()
    await student.sign_in(pair.student.username, PASSWORD)
    await student.connected()
    await student.say("sent")
    await expect(student.get(".message .state")).to_have_text(["Sent"])
    await student.page.click("#conversation-menu")
    await student.page.click("#sign-out")
    await expect(student.get("#sign-in")).to_be_visible()
    assert await student.page.evaluate(EVERYTHING_KEPT) == "[]"


async def test_a_failed_sign_out_deletes_nothing(open_windows: Windows, pair: Pair) -> None:
    student = await open_windows.new(size=PHONE)
    student.may_fail = NETWORK
    await student.open()
    await student.sign_in(pair.student.username, PASSWORD)
    await student.connected()
    await student.page.fill("#draft", "a half secret")
    await student.context.set_offline(True)
    await student.page.click("#conversation-menu")
    await student.page.click("#sign-out")
    await student.page.click("#sign-out-anyway")
    await expect(student.get("#sign-out-error")).to_have_text("The server cannot be reached: you are still signed in.")
    await student.context.set_offline(False)
    await student.page.reload()
    await expect(student.get("#draft")).to_have_value("a half secret")


async def lose_the_answer(route: Route) -> None:
    await route.fetch()
    await route.abort()


async def test_a_sign_out_whose_answer_is_lost_is_one(open_windows: Windows, pair: Pair) -> None:
    student = await open_windows.new(size=PHONE)
    student.may_fail = NETWORK
    await student.open()
    await student.sign_in(pair.student.username, PASSWORD)
    await student.connected()
    await student.page.fill("#draft", "a half secret")
    await student.page.route("**/auth/logout/", lose_the_answer)
    await student.page.click("#conversation-menu")
    await student.page.click("#sign-out")
    await student.page.click("#sign-out-anyway")
    await expect(student.get("#sign-in")).to_be_visible()
    assert await student.page.evaluate(EVERYTHING_KEPT) == "[]"


async def test_a_session_that_ended_while_nothing_could_be_known_is_noticed(open_windows: Windows, pair: Pair) -> None:
    mentor = await open_windows.new(size=PHONE)
    mentor.may_fail = NETWORK
    await mentor.open()
    async with mentor.page.expect_websocket() as opened:
        await mentor.sign_in(pair.teacher.username, PASSWORD)
    socket = await opened.value
    await expect(mentor.rows).to_have_count(1)

    async def lose_it_after_the_socket_is_closed(route: Route) -> None:
        async with socket.expect_event("close"):
            await route.fetch()
        await route.abort()

    await mentor.page.route("**/auth/logout/", lose_it_after_the_socket_is_closed)
    await mentor.page.route("**/auth/me/", lambda route: route.abort())
    await mentor.page.click(".inbox .menu-opener")
    await mentor.page.click("#sign-out")
    await expect(mentor.get("#chat")).to_be_hidden()
    await mentor.page.unroute("**/auth/me/")
    await mentor.hurry()
    await expect(mentor.get("#sign-in-notice")).to_have_text("You were signed out.")


async def test_who_signs_in_after_somebody_finds_none_of_their_texts(
    open_windows: Windows, pair: Pair, shared_cluster: Cluster
) -> None:
    """The first one's session ended without a log-out: they would find their texts again, but somebody else comes."""
    student = await open_windows.new(size=PHONE)
    student.may_fail = NETWORK
    await student.open()
    await student.sign_in(pair.student.username, PASSWORD)
    await student.connected()
    await leave_texts(student)
    await student.context.clear_cookies()
    await student.page.reload()
    await expect(student.get("#sign-in")).to_be_visible()
    assert "secret" in await student.page.evaluate(EVERYTHING_KEPT)
    await student.sign_in(pair.teacher.username, PASSWORD)
    await expect(student.get("#inbox")).to_be_visible()
    assert "secret" not in await student.page.evaluate(EVERYTHING_KEPT)
