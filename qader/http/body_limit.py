"""Bodies of requests: limits of their size, escapes and parts; one that is sent in chunks is read like any other."""

import json
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from qader.http.asgi import send_json

MAX_DIGITS = 20  # of a Content-Length; Python refuses to convert thousands
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
MAX_PARTS = 100  # of a multipart body: a thousand take Django 40 ms
ESCAPES_PER_CHARACTER = 4  # the bytes of a character in UTF-8: any message that may be sent as JSON fits into a form
SPARE_ESCAPES = 2000  # for all other fields
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


def bodies(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Note the length of a body that was sent in chunks: DRF and multipart forms take a missing one for no body.

    A form with too many escapes or parts is answered with 413.
    """
    return lambda request: _refusal(request) or get_response(_with_length(request))


def _refusal(request: HttpRequest) -> HttpResponse | None:
    """Refuse a form that takes long to read: 250,000 percent signs are 0.1 s, and no other thread runs meanwhile."""
    if not _takes_long(request):
        return None
    return HttpResponse(TOO_LARGE, status=413, content_type="application/json")


def _takes_long(request: HttpRequest) -> bool:
    if request.content_type == URLENCODED:
        allowed = ESCAPES_PER_CHARACTER * settings.CHAT_MAX_MESSAGE_LENGTH + SPARE_ESCAPES
        return request.body.count(b"%") > allowed
    boundary = (request.content_params or {}).get("boundary", "").encode()
    return request.content_type == MULTIPART and bool(boundary) and request.body.count(b"--" + boundary) > MAX_PARTS


def _with_length(request: HttpRequest) -> HttpRequest:
    if not request.META.get("CONTENT_LENGTH", "").isdecimal():
        request.META.pop("CONTENT_LENGTH", None)  # else Django would read it, even if it is no number
        request.META["CONTENT_LENGTH"] = str(len(request.body))
    return request
