"""Reports to Sentry: what failed, where, and ids; no text that anyone wrote."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sentry_server import sentry_server

ROOT = Path(__file__).resolve().parent.parent
SECRET = "what nobody else may read"

BEGIN = """
import logging, sys
import django
django.setup()
from accounts import tracing
from qader.observability import sentry
sentry.start()
logger = logging.getLogger("chat.test")
"""


def run(program: str, dsn: str) -> str:
    """Run a program in a process of its own; return what it printed."""
    environment = os.environ | {"SENTRY_DSN": dsn, "DJANGO_SETTINGS_MODULE": "qader.settings"}
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout


def test_without_a_dsn_sentry_is_not_imported() -> None:
    assert run("print(any(name.startswith('sentry_sdk') for name in sys.modules))", "") == "False\n"


def test_an_error_is_reported_with_type_trace_and_ids() -> None:
    with sentry_server() as reported:
        run(
            f"""
def fail(content):
    raise ValueError("invalid literal: " + content)
tracing.begin("connection", "abc").user_id = 7
logger.info("{SECRET}")
try:
    fail("{SECRET}")
except ValueError as error:
    try:
        raise RuntimeError("{SECRET}") from error
    except RuntimeError:
        logger.exception("conversation %s failed", 5, extra={{"content": "{SECRET}", "cookies": "{SECRET}"}})
""",
            reported.dsn,
        )
        event = reported.event()
        assert reported.empty
        assert SECRET not in reported.received
    assert set(event) == {
        "event_id",
        "timestamp",
        "platform",
        "level",
        "logger",
        "server_name",
        "release",
        "environment",
        "sdk",
        "logentry",
        "exception",
        "tags",
        "user",
    } - ({"release"} - set(event))
    assert (event["level"], event["logger"]) == ("error", "chat.test")
    assert event["logentry"] == {"message": "conversation 5 failed"}
    assert (event["tags"], event["user"]) == ({"connection": "abc"}, {"id": "7"})
    values = event["exception"]["values"]
    assert [(value["type"], value.get("value")) for value in values] == [("ValueError", None), ("RuntimeError", None)]
    frames = [frame["function"] for value in values for frame in value["stacktrace"]["frames"]]
    assert frames == ["<module>", "fail", "<module>"]
    assert not any("vars" in frame for value in values for frame in value["stacktrace"]["frames"])


def test_failures_of_unawaited_tasks_are_reported_too() -> None:
    with sentry_server() as reported:
        run(
            f"""
import asyncio, gc
async def main():
    async def fail():
        raise ValueError("{SECRET}")
    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()
asyncio.run(main())
""",
            reported.dsn,
        )
        event = reported.event()
        assert SECRET not in reported.received
    assert event["logentry"] == {"message": "Task exception was never retrieved"}
    assert [value["type"] for value in event["exception"]["values"]] == ["ValueError"]


def test_warnings_are_not_reported() -> None:
    with sentry_server() as reported:
        run('logger.warning("channel layer away")', reported.dsn)
        assert reported.received == ""


@pytest.mark.parametrize("dsn", ["sentry.example.org", "https://sentry.example.org/1", "https://key@host"])
def test_an_invalid_dsn_stops_the_start(dsn: str) -> None:
    environment = os.environ | {"SENTRY_DSN": dsn}
    command = [sys.executable, "-m", "qader.serve", "--port", "0"]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "qader: SENTRY_DSN must be an address such as https://key@host/1.\n")


@pytest.mark.parametrize("token", ["short", "with a space in between", "höchst geheim und lang"])
def test_a_weak_or_unusable_token_stops_the_start(token: str) -> None:
    environment = os.environ | {"METRICS_TOKEN": token}
    command = [sys.executable, "-m", "qader.serve", "--port", "0"]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert re.fullmatch(r"qader: METRICS_TOKEN must have at least 16 characters, none of them a space\.\n", done.stderr)
    assert token not in done.stderr
