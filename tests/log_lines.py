"""Helpers for the tests of the log."""

import re
from typing import Any

SECRET = "what nobody else may read"


def without_time(line: dict[str, Any]) -> dict[str, Any]:
    """Return what is no time of a line, whose time is well formed."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
    return {name: value for name, value in line.items() if name not in {"time", "seconds", "ms"}}
