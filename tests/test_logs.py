"""The format of a log line: one event, without message texts or personal data."""

import asyncio
import json
import logging
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvloop
from django.db import IntegrityError, OperationalError

from chat.store.drafts import Draft
from qader.observability.log_format import JsonLine, ReadableLine
from tests.conftest import Lines
from tests.log_lines import SECRET, without_time

ROOT = Path(__file__).resolve().parent.parent


def record(message: str, *args: Any, error: BaseException | None = None, **extra: Any) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("chat.test", logging.INFO, "file.py", 1, message, args, exc_info)
    vars(made).update(extra)
    return made


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


def test_an_event_is_one_json_object_in_one_line() -> None:
    given = record("healed conversation %s", 7, fields={"kind": "conversation", "seconds": 1.5})
    text = JsonLine().format(given)
    assert "\n" not in text
    line = json.loads(text)
    assert line.pop("seconds") == 1.5
    assert without_time(line) == {
        "level": "INFO",
        "logger": "chat.test",
        "event": "healed conversation 7",
        "kind": "conversation",
    }


def test_extra_attributes_of_a_record_are_left_out() -> None:
    given = record("answered", request=f"<Request {SECRET}>", status_code=500)
    assert without_time(json.loads(JsonLine().format(given))) == {
        "level": "INFO",
        "logger": "chat.test",
        "event": "answered",
    }


def test_an_exception_is_logged_with_type_and_trace_but_without_text() -> None:
    error = raised(OperationalError(SECRET), raised(IntegrityError(f"DETAIL: Failing row contains ({SECRET})")))
    text = JsonLine().format(record("a batch failed", error=error))
    assert SECRET not in text
    assert "\n" not in text
    line = json.loads(text)
    assert line["error"] == "IntegrityError > OperationalError"
    assert [re.sub(r"^.*/|:\d+", "", place) for place in line["stack"]] == ["test_logs.py raised"] * 2


def test_asyncio_context_is_left_out() -> None:
    given = record(f"Task exception was never retrieved\nfuture: <Task exception=ValueError('{SECRET}')>")
    assert json.loads(JsonLine().format(given))["event"] == "Task exception was never retrieved"


def test_exception_text_is_left_out_of_the_event_too() -> None:
    error = raised(ValueError(SECRET))
    line = JsonLine().format(record("Exception inside application: %s", error, error=error))  # as daphne has it
    assert json.loads(line)["event"] == "Exception inside application: ValueError"
    assert SECRET not in line


@pytest.mark.parametrize("make_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_arguments_of_a_failed_callback_are_left_out(lines: Lines, make_loop: Any) -> None:
    def fail(*_: Any) -> None:
        raise ValueError

    async def call() -> None:
        asyncio.get_running_loop().call_soon(partial(fail, [Draft(1, 2, SECRET, None)]), Draft(1, 2, SECRET, None))
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(call())
    (line,) = (line for line in lines() if line["logger"] == "asyncio")
    assert line["event"].startswith("Exception in callback ")
    assert line["error"] == "ValueError"
    assert SECRET not in json.dumps(line)


def test_in_development_lines_are_text_with_the_full_traceback() -> None:
    given = record("socket opened", fields={"kind": "inbox"}, error=raised(ValueError("why")))
    first, *rest = ReadableLine().format(given).splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} INFO    chat\.test socket opened kind=inbox", first)
    assert (rest[0], rest[-1]) == ("Traceback (most recent call last):", "ValueError: why")


@pytest.mark.parametrize(
    ("debug", "formatter"),
    [("0", "qader.observability.log_format.JsonLine"), ("1", "qader.observability.log_format.ReadableLine")],
)
def test_debug_decides_which_format_is_used(debug: str, formatter: str) -> None:
    program = "from qader.settings import LOGGING; print(LOGGING['formatters']['line']['()'])"
    environment = {"DEBUG": debug, "SECRET_KEY": "k" * 50}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True, capture_output=True)
    assert done.stdout.decode().strip() == formatter


def test_uncaught_exceptions_and_warnings_are_log_lines_too() -> None:
    program = f"""
import logging, sys, threading, warnings
from qader.observability.log_format import JsonLine, log_uncaught
handler = logging.StreamHandler()
handler.setFormatter(JsonLine())
logging.basicConfig(handlers=[handler], level=logging.INFO)
log_uncaught()
warnings.warn("old", DeprecationWarning)
def fail():
    raise ValueError("{SECRET}")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
class Falling:
    def __del__(self):
        fail()
Falling()
fail()
"""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", program], cwd=ROOT, check=False, capture_output=True, text=True
    )
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["level"], line["logger"], line.get("error")) for line in told] == [
        ("WARNING", "py.warnings", None),
        ("ERROR", "qader.observability.log_format", "ValueError"),
        ("ERROR", "qader.observability.log_format", "ValueError"),
        ("CRITICAL", "qader.observability.log_format", "ValueError"),
    ]
    assert SECRET not in done.stderr
    assert done.returncode == 1
