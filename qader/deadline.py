"""A deadline for HTTP: while the database is stopped, nothing but a clock on our side frees who waits."""

import asyncio
import json
import logging
from typing import Any

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 4.2  # of the 5 that the client has: the rest is for a busy machine
UNAVAILABLE = json.dumps({"detail": "Temporarily unavailable. Try again.", "code": "temporarily_unavailable"}).encode()


class HttpDeadline:
    """Answers 503 where `application` has not begun to answer within `ANSWER_SECONDS`.

    What it was doing may still be done, as with any 503; a repeated `client_id` settles that. It is left to run to
    its end: Django gives a request's connection back to the pool when the request ends, and loses it when cancelled.
    """

    def __init__(self, application: Any) -> None:
        self.application = application
        self._late: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        begun = False

        async def begin(message: dict[str, Any]) -> None:
            nonlocal begun
            begun = True
            if task not in self._late:
                await send(message)

        task = asyncio.create_task(self.application(scope, receive, begin))
        try:
            done, _ = await asyncio.wait([task], timeout=ANSWER_SECONDS)
            if done or begun:
                await task
                return
        except asyncio.CancelledError:
            task.cancel()
            raise
        logger.warning("no answer in time")
        self._late.add(task)
        task.add_done_callback(self._forget)
        headers = [(b"content-type", b"application/json"), (b"retry-after", b"5"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": UNAVAILABLE})

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._late.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.warning("a late answer failed: %s", type(error).__name__)
