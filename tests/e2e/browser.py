"""Finds a Chromium to test pages in: an installed one, else npm's, else Debian's; Playwright drives it.

`TEST_CHROMIUM=/path` names another. Without a browser the tests that need one are skipped and listed; with CI=true
they fail.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from subprocess import SubprocessError

from playwright.async_api import Browser, async_playwright

from tests.node import MODULES, environment, installed, node

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
MAC = ("Google Chrome", "Chromium")
ASK_SECONDS = 20  # the first start of all reads 200 MB
UNPACK_SECONDS = 60
APT_SECONDS = 300
FLAGS = [
    "--headless",
    "--no-sandbox",  # which needs more rights than a container gives
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Unpacks into TMPDIR: the browser, its fonts, and libraries for systems that have no desktop.
UNPACK = """
import chromium, { inflate } from "@sparticuz/chromium";
await chromium.executablePath();
await inflate(process.argv[1]);
"""
NO_BROWSER = "no browser: Chromium is not installed, and neither npm's nor Debian's is to be had"


@dataclass(frozen=True)
class Chromium:
    """A browser that starts, and what its environment needs beside ours."""

    path: str
    environment: dict[str, str] = field(default_factory=dict)

    def starts(self) -> bool:
        """Whether it says its version."""
        command, env = [self.path, "--version"], os.environ | self.environment
        try:
            done = subprocess.run(command, check=False, capture_output=True, timeout=ASK_SECONDS, env=env)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0


@cache
def find() -> Chromium | None:
    """Return the first one that starts."""
    sources = [from_environment] if "TEST_CHROMIUM" in os.environ else [from_system, from_npm, from_apt]
    return next((chromium for source in sources for chromium in source() if chromium.starts()), None)


def from_environment() -> Iterator[Chromium]:
    """The one that the caller named."""
    yield Chromium(os.environ["TEST_CHROMIUM"])


def from_system() -> Iterator[Chromium]:
    """What is installed."""
    for name in NAMES:
        if path := shutil.which(name):
            yield Chromium(path)
    for name in MAC:
        yield Chromium(f"/Applications/{name}.app/Contents/MacOS/{name}")


def from_npm() -> Iterator[Chromium]:
    """The one inside the npm package `@sparticuz/chromium`, unpacked once; needs no root."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return
    unpacked = installed() / ".chromium"
    if not unpacked.exists():
        with (
            tempfile.TemporaryDirectory(dir=MODULES, ignore_cleanup_errors=True) as new,
            suppress(OSError, SubprocessError),
        ):
            package = str(MODULES / "@sparticuz/chromium/bin/al2023.tar.br")
            command = [node(), "--input-type=module", "--eval", UNPACK, package]
            env = environment() | {"TMPDIR": new}
            subprocess.run(command, check=True, cwd=MODULES, env=env, timeout=UNPACK_SECONDS)
            Path(new).rename(unpacked)
    fonts = {} if Path("/etc/fonts/fonts.conf").exists() else {"FONTCONFIG_PATH": str(unpacked / "fonts")}
    yield Chromium(str(unpacked / "chromium"), fonts)
    yield Chromium(str(unpacked / "chromium"), fonts | {"LD_LIBRARY_PATH": str(unpacked / "al2023/lib")})


def from_apt() -> Iterator[Chromium]:
    """Debian's, for root, as in a container."""
    if not shutil.which("apt-get") or os.geteuid() != 0:
        return
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "--quiet"], ["install", "--quiet", "--yes", "--no-install-recommends", "chromium"]):
        subprocess.run(["apt-get", *arguments], check=False, env=env, timeout=APT_SECONDS, stdout=sys.stderr)
    yield from from_system()


@asynccontextmanager
async def launched(chromium: Chromium) -> AsyncIterator[Browser]:
    """The browser, running; each test takes contexts of its own, `await browser.new_context(...)`."""
    env: dict[str, str | float | bool] = {**os.environ, **chromium.environment}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium.path, args=FLAGS, env=env)
        yield browser
        await browser.close()
