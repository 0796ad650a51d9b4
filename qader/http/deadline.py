"""Limits the time of an HTTP answer: if the database hangs, only a timeout in our process can answer the client."""

import asyncio
import json
import logging
import time
from typing import Any

from accounts import tracing
from chat.errors import RETRY_SECONDS, UnavailableError
from qader.http.asgi import send_json

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 4.2  # of the 5 that a client waits; the rest is reserve for a busy machine
LEAST_SECONDS = 0.05  # between two looks at the clock


class HttpDeadline:
    """Answers 503 if the application has not begun to answer after `ANSWER_SECONDS`, not counting `Trace.waited`.

    The request may still take effect, as after any 503; a client repeats it with the same `client_id`. The
    application is not cancelled: Django returns a database connection to the pool only when its request ends, and a
    cancelled request would lose it.
    """

    def __init__(self, application: Any) -> None:
        self.application = application
        self._late: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        answered = False

        async def send_in_time(message: dict[str, Any]) -> None:
            nonlocal answered
            answered = True
            if task not in self._late:
                await send(message)

        task = asyncio.create_task(self.application(scope, receive, send_in_time))
        begin = time.monotonic()
        try:
            while not (task.done() or answered) and (left := _seconds_left(begin)) > 0:
                await asyncio.wait([task], timeout=max(left, LEAST_SECONDS))
            if task.done() or answered:
                await task
                return
        except asyncio.CancelledError:  # the server stops, and waits no longer
            task.cancel()
            if not answered:
                self._give_up(task)
                await _send_unavailable(send)  # the server itself would say 500
            raise
        logger.warning("a request timed out")
        self._give_up(task)
        await _send_unavailable(send)

    def _give_up(self, task: asyncio.Task[None]) -> None:
        self._late.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._late.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.warning("a request failed after its timeout: %s", type(error).__name__)


async def _send_unavailable(send: Any) -> None:
    error = UnavailableError()
    body = json.dumps({"detail": error.text, "code": error.code}).encode()
    headers = [(b"retry-after", b"%d" % RETRY_SECONDS), (b"cache-control", b"no-store")]
    await send_json(send, error.status, body, headers)


def _seconds_left(begin: float) -> float:
    return begin + ANSWER_SECONDS + tracing.trace().waited_until_now() - time.monotonic()
