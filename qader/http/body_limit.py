"""Limits the size of request bodies: Django stores the whole body on disk before it checks the size."""

import json
from typing import Any

from django.conf import settings

from qader.http.asgi import send_json

TOO_LARGE = json.dumps({"detail": "The request is too large.", "code": "message_too_long"}).encode()


class BodyLimit:
    """Answers 413 if a body is, or by its Content-Length would be, longer than DATA_UPLOAD_MAX_MEMORY_SIZE bytes."""

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
            await send_json(send, 413, TOO_LARGE, [(b"connection", b"close")])


def _content_length(scope: dict[str, Any]) -> int:
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return max((int(length) for length in lengths if length.isdigit()), default=0)
