"""The format of log lines: one JSON object in production, readable text in development.

A line must never contain message texts, personal data or credentials. So of `extra` it has only our own
`extra={"fields": {...}}`, and of an exception only types and stack: an exception's text may quote what a client sent
("Failing row contains ...").
"""

import json
import logging
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import Any

from accounts import tracing


def event_of(record: logging.LogRecord) -> str:
    """Return the first line of the log message; asyncio's further lines contain tasks and exceptions.

    Removed are the texts of exceptions, the path at the end of Django's lines about a request, and the arguments of a
    failed callback in lines of asyncio and uvloop, which may be chat messages.
    """
    text = str(record.msg)
    if isinstance(record.args, tuple) and any(isinstance(arg, BaseException) for arg in record.args):
        text %= tuple(type(arg).__name__ if isinstance(arg, BaseException) else arg for arg in record.args)
    else:
        text = record.getMessage()
    text = text.partition("\n")[0]
    if text.startswith("Exception in callback "):
        text = text.partition("(")[0]
    if hasattr(record, "request") and isinstance(record.args, tuple) and record.args:
        text = text.removesuffix(f": {record.args[-1]}")
    return text


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return the id of the request or connection, the user id, and the caller's `extra={"fields": {...}}`."""
    fields: dict[str, Any] = {}
    if trace := tracing.current():
        fields[trace.kind] = trace.id
        if trace.user_id is not None:
            fields["user"] = trace.user_id
    return fields | getattr(record, "fields", {})


def error_of(error: BaseException) -> dict[str, Any]:
    """Return the types and the stack of an exception and its causes, the first cause first."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.insert(0, cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    places = [
        f"{frame.filename}:{frame.lineno} {frame.name}"
        for link in chain
        for frame in traceback.extract_tb(link.__traceback__)
    ]
    return {"error": " > ".join(type(link).__name__ for link in chain), "stack": places}


class JsonLine(logging.Formatter):
    """One JSON object in one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": event_of(record),
            **fields_of(record),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line |= error_of(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)


class ReadableLine(logging.Formatter):
    """A line for developers, followed by the traceback if there is one."""

    default_time_format = "%H:%M:%S"
    default_msec_format = "%s.%03d"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = "".join(f" {name}={value}" for name, value in fields_of(record).items())
        line = f"{self.formatTime(record)} {record.levelname:7} {record.name} {record.getMessage()}{fields}"
        if record.exc_info and record.exc_info[1] is not None:
            line += f"\n{self.formatException(record.exc_info)}"
        return line


def log_uncaught() -> None:
    """Log Python warnings and uncaught exceptions, so that they become log lines, too."""
    logger = logging.getLogger(__name__)
    logging.captureWarnings(True)

    def uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return sys.__excepthook__(kind, error, trace)
        logger.critical("uncaught exception", exc_info=error)

    def uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_type is not SystemExit:
            logger.error("uncaught exception in a thread", exc_info=args.exc_value)

    def unraisable(args: Any) -> None:
        logger.error("exception that could not be raised", exc_info=args.exc_value)

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, uncaught_in_thread, unraisable
