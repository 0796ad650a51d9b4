"""The pages of the admin and the API documents work in a browser under their content security policy."""

from functools import partial

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Route, expect

from chat.management.commands.seed_demo import PASSWORD
from qader.http.headers import CONTENT_SECURITY_POLICY
from tests.e2e.cluster import Cluster
from tests.e2e.windows import ARTIFACTS, DESK, PHONE

in_session = pytest.mark.asyncio(loop_scope="session")


def watched(page: Page) -> list[str]:
    """What the browser complains of from now on: what a policy stopped, scripts that failed, files that are missing."""
    complaints: list[str] = []

    def received(message: ConsoleMessage) -> None:
        nobody_asked = message.location["url"].endswith("/favicon.ico")
        if message.type in {"error", "warning"} and not nobody_asked:
            complaints.append(f"{page.url}: {message.text}")

    page.on("console", received)
    page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
    return complaints


@pytest.mark.slow
@in_session
async def test_the_admin_works_under_its_policy(cluster: Cluster, browser: Browser) -> None:
    cluster.run("manage.py", "seed_demo", "--force")
    server = cluster.start()
    context = await browser.new_context(base_url=server.url, locale="en-US")
    page = await context.new_page()
    complaints = watched(page)
    await page.goto("/admin/login/")
    await page.fill("#id_username", "admin")
    await page.fill("#id_password", PASSWORD)
    await page.click("input[type=submit]")
    await expect(page.locator("#user-tools")).to_contain_text("admin")

    for path in (
        "/admin/accounts/user/",
        "/admin/accounts/user/?role=STUDENT&q=student",
        "/admin/accounts/user/add/",
        "/admin/accounts/userprofile/",
        "/admin/chat/conversation/",
        "/admin/chat/message/?q=a",
        "/admin/password_change/",
    ):
        await page.goto(path)
        await expect(page.locator("#content")).to_be_visible()

    await page.goto("/admin/accounts/user/?q=student6")
    await page.click("th.field-username a")
    await page.click("fieldset.collapse summary")  # permissions
    await page.click(".select2-selection")
    await page.fill(".select2-search__field", "teacher1")
    await page.click(".select2-results__option")
    await page.click("[name=_continue]")
    await expect(page.locator(".messagelist .success")).to_be_visible()
    await expect(page.locator("#id_profile-0-assigned_mentor option[selected]")).to_have_count(1)
    await page.click(".deletelink")
    await expect(page.locator("h1, h2").first).to_be_visible()
    await _transcripts_read_like_the_chat(cluster, page)
    assert complaints == []
    await context.close()


MOST_LINES = 3  # of a text in a list
NAME_PIXELS = 140  # as wide as a name may be in a list
LONGEST = "\u200fمحمد" + "ـ" * 60 + " W" + "w" * 80  # 150 letters, in two directions, with hardly a place to break
RENAME = f"""
from accounts.models import UserProfile
from chat.models import Conversation, Message
UserProfile.objects.filter(user__username="student1").update(full_name={LONGEST[:150]!r})
talk = Conversation.objects.get(student__user__username="student1")
for side in (talk.student, talk.teacher):
    Message.objects.create(conversation=talk, sender=side.user, content={"n" * 500!r} + "\\n" * 60 + "سطر جديد")
"""


async def _transcripts_read_like_the_chat(cluster: Cluster, page: Page) -> None:
    """Neither a long name nor a long word makes a page wider than the window, in either language."""
    cluster.run("manage.py", "shell", "--verbosity", "0", "-c", RENAME)
    await page.set_viewport_size(DESK)
    for language, title in (("en", "Transcript"), ("ar", "نص المحادثة")):
        await page.context.add_cookies(
            [{"name": "django_language", "value": language, "url": page.url.partition("admin")[0]}]
        )
        for name in ("accounts/user", "accounts/userprofile", "chat/message", "chat/conversation"):
            await page.goto(f"/admin/{name}/")
            await shoot(page, f"admin-{name.replace('/', '-')}-{language}-1280")
            overflow = "document.documentElement.scrollWidth - innerWidth"
            assert await page.evaluate(overflow) <= 0, (name, language)
            results = page.locator(".results")
            assert await results.evaluate("list => list.scrollWidth <= list.clientWidth"), (name, language)
            lines = "all => all.map((one) => one.offsetHeight / parseFloat(getComputedStyle(one).lineHeight))"
            assert all(count < MOST_LINES + 0.5 for count in await page.locator(".excerpt").evaluate_all(lines))
            names = page.locator("#result_list .name")
            widest = await names.evaluate_all("names => Math.max(...names.map((name) => name.offsetWidth))")
            assert widest <= NAME_PIXELS, (name, language)
        await page.click("tr:has(.field-student [title^='\u200f']) .field-messages a")
        await expect(page.locator("#content > h1")).to_have_text(title)
        for side in ("student", "mentor"):
            await expect(page.locator(f".transcript .{side}").last).to_contain_text("سطر جديد")
        begin = "item => [getComputedStyle(item).direction, item.getBoundingClientRect().left]"
        (direction, student), (_, mentor) = [
            await page.locator(f".transcript .{side}").last.evaluate(begin) for side in ("student", "mentor")
        ]
        assert (direction, student < mentor) == (("rtl", False) if language == "ar" else ("ltr", True))
        for size in (DESK, PHONE):
            await page.set_viewport_size(size)
            assert await page.evaluate(overflow) <= 0, (size, language)
            await shoot(page, f"admin-transcript-{language}-{size['width']}")
        await page.set_viewport_size(DESK)
        icon = await page.locator("link[rel=icon]").get_attribute("href")
        assert (await page.request.get(str(icon))).status == 200


@pytest.mark.slow
@in_session
@pytest.mark.parametrize(
    ("language", "title"), [("en", "Give students another mentor"), ("ar", "تعيين مرشد آخر للطلاب")]
)
async def test_students_are_reassigned_on_a_page_that_says_what_will_happen(
    cluster: Cluster, browser: Browser, language: str, title: str
) -> None:
    cluster.run("manage.py", "seed_demo", "--force")
    server = cluster.start()
    context = await browser.new_context(base_url=server.url, viewport=DESK)
    await context.add_cookies([{"name": "django_language", "value": language, "url": server.url}])
    page = await context.new_page()
    complaints = watched(page)
    await page.goto("/admin/login/?next=/admin/accounts/user/%3Fprofile__role%3DSTUDENT")
    await page.fill("#id_username", "admin")
    await page.fill("#id_password", PASSWORD)
    await page.click("input[type=submit]")
    await page.click("#action-toggle")
    await page.select_option("select[name=action]", "reassign")
    await page.click("button[name=index]")
    await expect(page.locator("#content > h1")).to_have_text(title)
    await shoot(page, f"admin-reassign-{language}-{DESK['width']}")
    await page.set_viewport_size(PHONE)
    assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    await shoot(page, f"admin-reassign-{language}-{PHONE['width']}")
    await page.set_viewport_size(DESK)
    await page.click("#reassign_form input[type=submit]")
    await expect(page.locator(".errorlist")).to_be_visible()
    await page.click(".select2-selection")
    await page.fill(".select2-search__field", "trainer1")
    await page.click(".select2-results__option")
    await page.fill("[name=note]", "ملاحظة")
    await shoot(page, f"admin-reassign-filled-{language}-{DESK['width']}")
    await page.click("#reassign_form input[type=submit]")
    await expect(page.locator(".messagelist .success")).to_be_visible()
    await page.goto("/admin/chat/assignment/")
    await expect(page.locator("#result_list tbody tr").first).to_contain_text("ملاحظة")
    await shoot(page, f"admin-assignments-{language}-{DESK['width']}")
    assert complaints == []
    await context.close()


async def shoot(page: Page, name: str) -> None:
    """Keep a picture."""
    ARTIFACTS.mkdir(exist_ok=True)
    await page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)


@in_session
async def test_the_api_documents_work_under_their_policy(cluster: Cluster, browser: Browser) -> None:
    server = cluster.start()
    context = await browser.new_context(base_url=server.url)
    page = await context.new_page()
    complaints = watched(page)
    await page.goto("/api/docs/")
    await page.click("text=/api/v1/auth/csrf/")
    await page.click("text=Try it out")
    await page.click(".execute")
    await expect(page.locator(".live-responses-table .response .response-col_status")).to_contain_text("200")
    assert complaints == []
    await context.close()


@in_session
@pytest.mark.parametrize(
    "what", ["<script>document.title = 'ran'</script>", "<img src=x onerror=\"document.title='ran'\">"]
)
async def test_a_script_that_got_into_a_page_would_not_run(browser: Browser, what: str) -> None:
    """The admin's policy put on a page with a hole, and, so that the test can fail, none."""
    for headers, title in (({"Content-Security-Policy": CONTENT_SECURITY_POLICY}, "page"), ({}, "ran")):
        page = await browser.new_page()
        answer = partial(Route.fulfill, body=f"<title>page</title>{what}", content_type="text/html", headers=headers)
        await page.route("**/*", answer)
        await page.goto("http://a.page/")
        assert await page.title() == title
        await page.close()
