"""Filters for Django's own log records about requests: errors of clients are one-line warnings."""

import logging


def make_warning(record: logging.LogRecord) -> None:
    """Turn a record into a warning without a traceback."""
    record.exc_info = record.exc_text = None
    record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)


class ClientErrorsAsWarnings(logging.Filter):
    """Django logs some client errors as errors with a traceback; this makes them warnings."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass; one with a status of 500 or above stays unchanged."""
        if getattr(record, "status_code", 500) < 500:
            make_warning(record)
        return True


class WithoutStatusLines(logging.Filter):
    """Drops Django's line "status: path" about each answer with status 400 or above; the access log has its own."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is anything else."""
        return bool(record.exc_info) or record.msg != "%s: %s"
