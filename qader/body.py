"""A limit for the bodies of requests: Django writes what it reads to the disk before it looks how much it was."""

import json
from typing import Any

from django.conf import settings

TOO_LARGE = json.dumps({"detail": "The request is too large.", "code": "message_too_long"}).encode()


class BodyLimit:
    """Answers 413 to more than DATA_UPLOAD_MAX_MEMORY_SIZE bytes, whether they are announced or come all the same."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        left = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        begun = False

        async def limited() -> dict[str, Any]:
            nonlocal left
            message: dict[str, Any] = await receive()
            left -= len(message.get("body", b""))
            return message if left >= 0 else {"type": "http.disconnect"}

        async def begin(message: dict[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(message)

        if _announced(scope) > left:
            left = -1
        else:
            await self.application(scope, limited, begin)
        if left < 0 and not begun:
            headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 413, "headers": headers})
            await send({"type": "http.response.body", "body": TOO_LARGE})


def _announced(scope: dict[str, Any]) -> int:
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return max((int(length) for length in lengths if length.isdigit()), default=0)
