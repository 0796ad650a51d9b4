"""How the log tells of requests that are refused: what any client can cause, in one line and without an alarm."""

import logging

# Django's loggers of what it refuses, each with a traceback through Django, and mostly as an error.
LOGGERS = (
    "django.request",
    "django.security.DisallowedHost",
    "django.security.RequestDataTooBig",
    "django.security.SuspiciousOperation",
    "django.security.TooManyFieldsSent",
    "django.security.TooManyFilesSent",
)


class OneLine(logging.Filter):
    """Makes a warning without a traceback of what is the client's doing."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record pass, as it is where the server failed."""
        if getattr(record, "status_code", 500) < 500:
            record.exc_info = record.exc_text = None
            record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        return True
