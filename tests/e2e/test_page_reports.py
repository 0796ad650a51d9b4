"""Somebody reports a message on the page, on a phone and in Arabic; staff find it in the admin."""

import re

import pytest
from playwright.async_api import expect

from tests.e2e.cluster import Cluster, Pair
from tests.e2e.test_page_looks import SMALL, TOUCH, say_over_rest
from tests.e2e.windows import NETWORK, PHONE, Windows

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_message_is_reported_with_a_reason(open_windows: Windows, pair: Pair, shared_cluster: Cluster) -> None:
    async with pair.teacher.http(shared_cluster.servers[0]) as http:
        path = f"chat/teacher/conversations/{pair.conversation_id}/messages/"
        for text in ("لا تقل هذا لأحد.", "A second one, in English, that is a little longer than the first."):
            assert (await http.post(path, json={"content": text})).status_code == 201
    await say_over_rest(pair, shared_cluster, "رسالتي أنا")
    student = await (await open_windows.of(pair.student, lang="ar", size=PHONE)).connected()
    await expect(student.bubbles).to_have_count(3)
    await expect(student.get(".message .report:visible")).to_have_count(2)  # not beside one's own
    assert await student.page.evaluate(SMALL, TOUCH) == []
    assert await student.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await student.get(".message .report").first.click()
    await expect(student.get("#report-text")).to_have_text("لا تقل هذا لأحد.")
    assert await student.page.evaluate(SMALL, TOUCH) == []
    await student.get("#report-reason").fill("هذا يخيفني")
    await student.shoot("report-ar-360")
    async with student.page.expect_response(re.compile("/report/")) as answer:
        await student.get("#report-send").click()
    assert (await answer.value).status == 201
    await expect(student.get("#report-done")).to_be_visible()
    await expect(student.get("#report-close")).to_be_focused()
    await student.page.keyboard.press("Escape")
    await expect(student.get("#report")).to_be_hidden()

    await student.get(".message .report").first.click()  # again: the first report stands
    await expect(student.get("#report-reason")).to_have_value("")
    async with student.page.expect_response(re.compile("/report/")) as answer:
        await student.get("#report-send").click()
    assert (await answer.value).status == 200


async def test_a_report_that_was_not_sent_says_so_and_keeps_the_reason(open_windows: Windows, pair: Pair) -> None:
    student = await (await open_windows.of(pair.student)).connected()
    mentor = await open_windows.of(pair.teacher, f"/#/conversations/{pair.conversation_id}")
    await (await mentor.connected()).say("Hello")
    student.may_fail = NETWORK
    await student.page.route("**/report/", lambda route: route.abort())
    await student.get(".message .report").click()
    await student.get("#report-reason").fill("Because")
    await student.get("#report-send").click()
    await expect(student.get("#report-error")).to_have_text("The server cannot be reached: nothing was reported.")
    await expect(student.get("#report-reason")).to_have_value("Because")
    await student.get("#report-cancel").click()
    await expect(student.get("#report")).to_be_hidden()
