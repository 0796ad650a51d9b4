"""docs/frontend.md, followed word for word, turns a fresh Next.js application into a chat in five minutes."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.e2e import nextjs_fresh
from tests.e2e.cluster import Cluster
from tests.e2e.nextjs_app import served
from tests.e2e.nextjs_tab import Tab, Tabs
from tests.people import PASSWORD
from tests.servers import free_port

pytestmark = [pytest.mark.proof, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

FIVE_MINUTES = 300
STUDENT, MENTOR = "student1", "teacher1"
QUESTION = "Is this the exam's formula?"


@pytest_asyncio.fixture(loop_scope="session")
async def tabs(browser: Browser) -> AsyncIterator[Tabs]:
    made = Tabs(browser)
    yield made
    await made.close()


async def sign_in(tabs: Tabs, url: str, name: str) -> Tab:
    tab = await tabs.open_tab(url)
    await tab.page.get_by_label("User name").fill(name)
    await tab.page.get_by_label("Password").fill(PASSWORD)
    await tab.page.get_by_role("button", name="Sign in").click()
    return tab


async def test_the_page_makes_a_chat_of_a_fresh_application(lone_cluster: Cluster, tmp_path: Path, tabs: Tabs) -> None:
    began = time.monotonic()
    env = nextjs_fresh.settings(tmp_path)
    application = await asyncio.to_thread(nextjs_fresh.follow, tmp_path, env)

    port = free_port()
    url = f"http://localhost:{port}"
    backend = await asyncio.to_thread(lone_cluster.start, DEBUG="1", CSRF_TRUSTED_ORIGINS=url)
    await asyncio.to_thread(lone_cluster.run, "manage.py", "seed_demo", "--force")
    # Ports that are free, instead of 3000 and 8000.
    env["CHAT_BACKEND_URL"], env["NEXT_PUBLIC_CHAT_SOCKET_URL"] = backend.url, f"http://localhost:{backend.port}"
    with served("dev", port, env, application):
        student = await sign_in(tabs, url, STUDENT)
        await student.is_connected()
        await student.write(QUESTION)
        mentor = await sign_in(tabs, url, MENTOR)
        await mentor.page.get_by_role("link").filter(has_text=QUESTION).click()
        await mentor.is_connected()
        await expect(mentor.texts.last).to_have_text(QUESTION)
        await mentor.write("نعم")
        await expect(student.texts.last).to_have_text("نعم")
        assert time.monotonic() - began < FIVE_MINUTES
        assert [student.own_lines, mentor.own_lines] == [[], []]

    await asyncio.to_thread(nextjs_fresh.type_in, application, env, "npm run lint -- --max-warnings 0")
    nextjs_fresh.add_component_of_v1(application)
    built = await asyncio.to_thread(nextjs_fresh.type_in, application, env, "npm run build && npx tsc --noEmit")
    assert "arning" not in built
    with served("start", port, env, application):
        await check_component_of_v1(tabs, url, student, mentor)


async def check_component_of_v1(tabs: Tabs, url: str, student: Tab, mentor: Tab) -> None:
    """The first document's component, with the page's four edits, in the browser of the student."""
    old = await tabs.open_tab(f"{url}/v1", student.page.context)
    await expect(old.page.get_by_text("Status: Connected")).to_be_visible()
    shown = old.page.locator(".message-list > div")
    await expect(shown.last).to_contain_text("نعم")  # history
    await mentor.page.reload()
    await mentor.is_connected()
    await old.page.locator("input").fill("from v1")
    await old.page.get_by_role("button", name="Send").click()
    await expect(mentor.texts.last).to_have_text("from v1")
    await mentor.write("to v1")
    await expect(shown.last).to_contain_text("to v1")
    texts = await shown.all_inner_texts()
    assert len(texts) == len(set(texts)) >= 4


async def test_the_example_runs_where_it_is_copied_to(tmp_path: Path) -> None:
    copy = nextjs_fresh.copy_example(tmp_path)
    env = nextjs_fresh.settings(tmp_path)
    del env["npm_config_before"]  # its lock says what is installed
    addresses = {"CHAT_BACKEND_URL": "http://127.0.0.1:8000", "NEXT_PUBLIC_CHAT_SOCKET_URL": ""}
    await asyncio.to_thread(nextjs_fresh.type_in, copy, env | addresses, "npm ci && npm run types && npm run build")
