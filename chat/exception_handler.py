"""Turns every exception of a REST view into an HTTP answer."""

import logging
import math
from typing import Any

from django.core.exceptions import RequestDataTooBig
from rest_framework.exceptions import ParseError
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from accounts.hashers import HashQueueFullError
from chat.errors import RETRY_SECONDS, STATUS_CODES, ClientError, UnavailableError
from chat.runtime import metrics
from chat.runtime.database import note_refusal
from chat.runtime.database_errors import temporary_trouble

logger = logging.getLogger(__name__)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Return the answer to an error: `detail` or errors by field, and always a `code`."""
    if trouble := temporary_trouble(error, "http"):
        logger.warning("database error over REST: %s", trouble)
        note_refusal(trouble)
        error = UnavailableError()
    if isinstance(error, HashQueueFullError):
        error = UnavailableError()
    if isinstance(error, RecursionError):
        error = ClientError("invalid_json", "The JSON is nested too deeply.")
    if isinstance(error, UnicodeEncodeError):  # JSON can name lone surrogates, also where no text is expected
        error = ClientError("invalid_characters", "The text has characters that cannot be stored.")
    if isinstance(error, RequestDataTooBig):
        error = ClientError("message_too_long", "The request is too large.", 413)
    if not isinstance(error, ClientError):
        return _with_code(error, drf_exception_handler(error, context))
    metrics.ERRORS_TOLD.labels(error.code, "rest").inc()
    body: dict[str, Any] = {error.field: [error.text]} if error.field else {"detail": error.text}
    response = Response(body | {"code": error.code}, status=error.status)
    if error.retry_after is not None:
        response["Retry-After"] = str(math.ceil(error.retry_after))
    elif error.status == 503:
        response["Retry-After"] = str(RETRY_SECONDS)
    return response


def _with_code(error: Exception, response: Response | None) -> Response | None:
    """Add the `code` to an answer of DRF's own, which has `detail` or errors by field."""
    if response is not None:
        response.data["code"] = "invalid_json" if isinstance(error, ParseError) else STATUS_CODES[response.status_code]
    return response
