"""Errors that a client is told, with the machine-readable codes of the contract."""

import logging
import math
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

logger = logging.getLogger(__name__)


class ClientError(Exception):
    """Something a client is told: a sentence, a `code` to translate it by, and its HTTP status.

    `field` names the field of a POST that is wrong; `retry_after` is in seconds.
    """

    def __init__(
        self, code: str, text: str, status: int = 400, *, field: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(text)
        self.code, self.text, self.status, self.field, self.retry_after = code, text, status, field, retry_after


class UnavailableError(ClientError):
    """The database did not answer in time; whether something was stored is not known."""

    def __init__(self) -> None:
        super().__init__("temporarily_unavailable", "Temporarily unavailable. Try again.", 503)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer REST: DRF's own errors as DRF does, ours as `{"detail": ..., "code": ...}` or as a field list."""
    if isinstance(error, (OperationalError, InterfaceError)):
        logger.warning("database error over REST: %s", type(error).__name__)
        error = UnavailableError()
    if isinstance(error, RecursionError):
        error = ClientError("invalid_json", "The JSON is nested too deeply.")
    if isinstance(error, RequestDataTooBig):
        error = ClientError("message_too_long", "The request is too large.", 413)
    if not isinstance(error, ClientError):
        return drf_exception_handler(error, context)
    body: dict[str, Any] = {error.field: [error.text]} if error.field else {"detail": error.text}
    response = Response(body | {"code": error.code}, status=error.status)
    if error.retry_after is not None:
        response["Retry-After"] = str(math.ceil(error.retry_after))
    return response
