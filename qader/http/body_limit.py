"""Bodies of requests: their size is limited, and one that is sent in chunks is read like any other."""

import json
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from qader.http.asgi import send_json

MAX_DIGITS = 20  # of a Content-Length; Python refuses to convert thousands
TOO_LARGE = json.dumps({"detail": "The request is too large.", "code": "message_too_long"}).encode()


class BodyLimit:
    """Answers 413 if a body is, or by its Content-Length would be, longer than DATA_UPLOAD_MAX_MEMORY_SIZE bytes.

    Django stores the whole body on disk before it checks the size, and checks none that is sent in chunks.
    """

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        left = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        answered = False

        async def receive_limited() -> dict[str, Any]:
            nonlocal left
            message: dict[str, Any] = await receive()
            left -= len(message.get("body", b""))
            return message if left >= 0 else {"type": "http.disconnect"}

        async def send_noted(message: dict[str, Any]) -> None:
            nonlocal answered
            answered = True
            await send(message)

        if _content_length(scope) > left:
            left = -1
        else:
            await self.application(scope, receive_limited, send_noted)
        if left < 0 and not answered:
            await send_json(send, 413, TOO_LARGE, [(b"connection", b"close"), (b"cache-control", b"no-store")])


def _content_length(scope: dict[str, Any]) -> int:
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return max((int(length[:MAX_DIGITS]) for length in lengths if length.isdigit()), default=0)


def body_length(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Note the length of a body that was sent in chunks: DRF and multipart forms take a missing one for no body."""
    return lambda request: get_response(_with_length(request))


def _with_length(request: HttpRequest) -> HttpRequest:
    if not request.META.get("CONTENT_LENGTH", "").isdecimal():
        request.META.pop("CONTENT_LENGTH", None)  # else Django would read it, even if it is no number
        request.META["CONTENT_LENGTH"] = str(len(request.body))
    return request
