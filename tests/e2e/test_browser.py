"""The browsers in which the page can be tested."""

import os
import subprocess
import sys
from platform import machine

import pytest
from playwright.async_api import Browser

from tests.e2e import browser as browsers

in_session = pytest.mark.asyncio(loop_scope="session")


async def shows_a_page(browser: Browser) -> None:
    page = await browser.new_page()
    await page.set_content("<title>Title</title><h1>مرحبا</h1>")
    assert (await page.title(), await page.inner_text("h1")) == ("Title", "مرحبا")
    await page.close()


@in_session
async def test_the_browser_that_was_found_shows_a_page(browser: Browser) -> None:
    await shows_a_page(browser)


@pytest.mark.skipif((sys.platform, machine()) != ("linux", "x86_64"), reason="npm has none for this machine")
@in_session
async def test_the_browser_from_npm_shows_a_page() -> None:
    chromium = next(chromium for chromium in browsers.from_npm() if chromium.starts())
    async with browsers.launched(chromium) as browser:
        await shows_a_page(browser)


def left_out(**environment: str) -> subprocess.CompletedProcess[str]:
    """Run a test of this file where there is no browser."""
    name = f"{__file__}::{test_the_browser_that_was_found_shows_a_page.__name__}"
    command = [sys.executable, "-m", "pytest", "-q", name]
    env = {**os.environ, "TEST_CHROMIUM": "/nowhere", **environment}
    return subprocess.run(command, check=False, env=env, capture_output=True, text=True)


def test_without_a_browser_tests_are_skipped_and_named() -> None:
    done = left_out(CI="")
    assert done.returncode == 0, done.stdout
    name = "tests/e2e/test_browser.py::test_the_browser_that_was_found_shows_a_page"
    assert f"left out: {name}" in done.stdout.splitlines()


def test_without_a_browser_tests_fail_in_ci() -> None:
    done = left_out(CI="true")
    assert done.returncode == 1, done.stdout
    assert browsers.NO_BROWSER in done.stdout
