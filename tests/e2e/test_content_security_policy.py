"""The pages of the admin and the API documents work in a browser under their content security policy."""

from functools import partial

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Route, expect

from chat.management.commands.seed_demo import PASSWORD
from qader.http.headers import CONTENT_SECURITY_POLICY
from tests.e2e.cluster import Cluster

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
    assert complaints == []
    await context.close()


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
